"""The kit finds what is planted in `planted_pairs`, names the line, and is silent on the twins."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from types import coroutine
from typing import Any

import anyio
import pytest
import trio

import planted_pairs as planted
from creche.testing import (
    CancelReport,
    ExploreError,
    HungError,
    cancel_everywhere,
    explore,
    run_virtual,
)
from creche.testing._ending import end
from creche.testing._on_trio import TRIO

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])
WORKERS = [
    (planted.works_on, "works on", "trio"),
    (planted.works_on_natively, "works on natively", "asyncio"),
]


def kinds(report: CancelReport) -> set[str]:
    """What was found."""
    return {found.kind for point in report.failures for found in point.findings}


@both
@pytest.mark.parametrize(
    ("make", "how", "line", "kind"),
    [
        (planted.enters, "scope", "enters", "held"),
        (planted.rolls_back, "scope", "rolls back", "held"),
        (planted.reads, "task", "reads", "hung"),
    ],
)
def test_a_pair(make: Any, how: Any, line: str, kind: str, backend: Any) -> None:
    """The bug is found, and a line of its is suspected, whoever waits there; the twin is fine."""
    report = cancel_everywhere(make(careful=False), backend=backend, how=how, check=False)
    assert kind in kinds(report), report
    number = planted.line_of(line)
    assert f"planted_pairs.py:{number} in" in str(report)
    if line != "reads":  # there it is one of two that the bug leaves behind
        assert number in {place.line for place in report.suspects}, report
    again = cancel_everywhere(
        make(careful=False), backend=backend, how=how, only=report.failures[0].number, check=False
    )
    assert kinds(again) == {found.kind for found in report.failures[0].findings}
    assert cancel_everywhere(make(careful=True), backend=backend, how=how).failures == ()


@both
def test_who_awaits_a_helper(backend: Any) -> None:
    """A point in a helper names the lines that wait for it, and only the wrong one is suspected."""
    report = cancel_everywhere(planted.enters(careful=False), backend=backend, check=False)
    number = planted.line_of("enters")
    assert {place.line for place in report.suspects} == {number}
    point = next(one for one in report.failures if one.callers and one.callers[0].line == number)
    assert point.place is not None
    assert point.place.function == "Gate.say"
    assert f"\n  awaited at tests/planted_pairs.py:{number} in Gate.enter" in str(point)
    assert "_on_trio" not in str(report)
    assert "_everywhere.py" not in str(report)


@pytest.mark.parametrize(("fn", "line", "backend"), WORKERS)
def test_a_worker_that_nothing_ends(fn: Any, line: str, backend: Any) -> None:
    """It is told of, and the kit itself gets rid of it."""
    how: Any = "scope" if backend == "trio" else "native"
    report = cancel_everywhere(fn, backend=backend, how=how, max_points=3, check=False)
    assert kinds(report) <= {"hung", "swallowed"}
    assert report.failures
    assert f"planted_pairs.py:{planted.line_of(line)} in" in str(report)


@both
def test_a_hung_worker_that_catches_everything(backend: Any) -> None:
    """Neither virtual time nor `explore` goes on for ever with it, and nothing is heard of it later."""

    async def fn() -> None:
        send, receive = anyio.create_memory_object_stream[int]()

        async def work() -> None:
            while True:
                with suppress(BaseException):
                    await receive.receive()

        with send, receive:
            await work()

    with pytest.raises(HungError, match="nothing can run any more"):
        run_virtual(fn, backend=backend)
    with pytest.raises(ExploreError, match="HungError"):
        explore(fn, backend=backend)
    gc.collect()


@coroutine
def stop() -> Any:
    """Wait for whoever steps the coroutine."""
    yield


async def catches() -> None:
    while True:
        with suppress(BaseException):
            await stop()


async def catches_in_turns() -> None:
    while True:
        try:
            while True:
                try:
                    await stop()
                    raise OSError
                except BaseException:
                    print(end="")  # noqa: T201 - what the program says
        except BaseException:
            print(end="")  # noqa: T201 - what the program says


async def raises() -> None:
    first = True
    while True:
        with suppress(BaseException):
            if first:
                first = False
                await stop()
            raise OSError


@pytest.mark.parametrize("fn", [catches, catches_in_turns, raises])
def test_an_end_that_is_refused(fn: Callable[[], Any]) -> None:
    """It comes all the same; who traces and profiles does so afterwards."""
    coro = fn()
    coro.send(None)
    before = sys.gettrace(), sys.getprofile()
    end(coro)
    assert coro.cr_frame is None
    assert (sys.gettrace(), sys.getprofile()) == before


def test_an_end_that_is_wanted() -> None:
    """What is to be done then is done, be it much; what is no coroutine is closed."""
    told: list[int] = []

    async def fn() -> None:
        try:
            await stop()
        finally:
            for n in range(1_000):
                told.append(n)  # noqa: PERF402 - it is about lines

    coro = fn()
    coro.send(None)
    end(coro)
    assert len(told) == 1_000
    generator: Any = stop()
    generator.send(None)
    end(generator)
    assert generator.gi_frame is None


@pytest.mark.parametrize("how", ["scope", "fail_after", "native"])
def test_a_cleanup_that_takes_time(how: Any) -> None:
    """Virtual time goes on while anyio does nothing but cancel once more who is cancelled."""
    report = cancel_everywhere(planted.takes_its_time, backend="asyncio", how=how)
    assert max(point.seconds for point in report.points) <= 2


@both
def test_a_cleanup_of_many_steps(backend: Any) -> None:
    """It may take as many as it needs for what there is to clean up."""

    async def fn() -> None:
        async def one() -> None:
            try:
                await anyio.sleep(1)
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(5):
                        await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(one)

    assert cancel_everywhere(fn, backend=backend, max_points=2).failures == ()


@both
@pytest.mark.parametrize("make", [planted.adds, planted.is_up])
def test_one_that_falls_behind(make: Any, backend: Any) -> None:
    """Orders in which a task is put off are tried, told in words and replayed."""
    with pytest.raises(ExploreError, match="not yet") as caught:
        explore(make(careful=False), backend=backend)
    line = planted.line_of("adds" if make is planted.adds else "is up")
    assert f"planted_pairs.py:{line} in" in str(caught.value)
    with pytest.raises(ExploreError) as again:
        explore(make(careful=False), backend=backend, replay=caught.value.replay)
    assert again.value.order == caught.value.order
    assert explore(make(careful=True), backend=backend, seeds=50).runs == 51


@both
def test_one_that_asks_for_ever(backend: Any) -> None:
    """It is told of as one that hangs."""
    with pytest.raises(ExploreError, match="it goes on and on") as caught:
        explore(planted.asks(careful=False, pause=0), backend=backend)
    assert f"planted_pairs.py:{planted.line_of('asks')} in" in str(caught.value)
    assert explore(planted.asks(careful=True, pause=0), backend=backend, seeds=20).runs == 21


@both
def test_an_injected_error_is_a_new_one_each_time(backend: Any) -> None:
    """What it went through in one run is no part of the next."""
    error = OSError("broken")

    async def fn() -> None:
        for _ in range(4):
            await anyio.sleep(1)

    cancel_everywhere(fn, backend=backend, how=error)
    depth = 0
    frame = error.__traceback__
    while frame is not None:
        depth, frame = depth + 1, frame.tb_next
    assert depth < 30
    assert error.__context__ is None or error.__context__.__context__ is None


def test_a_point_that_is_not_reached() -> None:
    """Its report says so: what an earlier run left behind is in the way."""
    left: list[int] = []

    async def fn() -> None:
        if left:
            raise OSError
        try:
            await anyio.sleep(1)
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            left.append(1)
            raise

    report = cancel_everywhere(fn, check=False, allow=["swallowed"])
    points = [point for point in report.points if not point.reached]
    assert points
    assert all("not reached this time" in str(point) for point in points)


def test_a_run_within_a_thread() -> None:
    """It is left in peace by the order of the run around it."""

    async def fn() -> None:
        async def inner() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(trio.sleep, 0)

        await trio.to_thread.run_sync(trio.run, inner)

    assert explore(fn, seeds=3).runs == 4
    assert cancel_everywhere(fn).failures == ()


def test_callbacks_before_who_waits() -> None:
    """What a future calls first has been done when the task that waits for it goes on, in any order."""

    async def fn() -> None:
        async def wait() -> None:
            future = asyncio.get_running_loop().create_future()
            done: list[int] = []
            future.add_done_callback(lambda _: done.append(1))
            asyncio.get_running_loop().call_soon(future.set_result, None)
            await future
            assert done

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(wait())
            for _ in range(4):
                group.create_task(asyncio.sleep(0))

    assert explore(fn, backend="asyncio", seeds=50).runs == 51


def test_insides_of_trio_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found by them is not found then; the rest goes on."""

    class Nursery:
        """One of which trio tells nothing."""

    async def fn() -> None:
        task = trio.lowlevel.current_task()
        task._next_send = None
        assert not TRIO.is_hit(task)
        with monkeypatch.context() as patch:
            patch.setattr(type(task), "child_nurseries", [Nursery()])
            assert not TRIO.is_hit(task)
            patch.setattr(Nursery, "_closed", True, raising=False)
            assert not TRIO.is_hit(task)
            patch.setattr(Nursery, "_pending_excs", [KeyboardInterrupt()], raising=False)
            assert TRIO.is_hit(task)
            assert TRIO.is_reached(task, trio.CancelScope())

    trio.run(fn)
