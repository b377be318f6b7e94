"""How the wait for the next attempt ends before its time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from calls import Gate, error_of, fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Retry,
    RunnerClosed,
    SequentialTaskRunner,
    State,
)
from retrying import MAKES, SLOWLY, Attempts, Flaky, FlakyError, submit, until_failed

pytestmark = pytest.mark.anyio

each_runner = pytest.mark.parametrize("make", MAKES, ids=["unbounded", "bounded", "limited", "paced"])


@each_runner
@pytest.mark.parametrize("kind", ["on_loop", "half", "plain"])
@pytest.mark.usefixtures("real_time")
async def test_it_is_cancelled_at_once(make: Callable[..., Any], kind: str) -> None:
    """By its key, a group, a drain that runs out; the origin says by what."""
    async with make().start() as runner:
        flaky, grouped, drained = Flaky(), Flaky(), Flaky()
        with anyio.fail_after(20):
            slot = submit(runner, "k", getattr(flaky, kind))
            await until_failed(flaky)
            runner.cancel("k", reason="not needed")
            with pytest.raises(CallCancelled, match="not needed"):
                await slot
            assert (slot.origin, slot.attempt) == ("cancel", 1)
            async with runner.group() as group:
                member = group.submit_nowait("g", getattr(grouped, kind), retry=SLOWLY)
                await until_failed(grouped)
                group.cancel("stopped")
            assert (member.origin, member.reason) == ("cancel", "stopped")
            last = submit(runner, "d", getattr(drained, kind))
            await until_failed(drained)
            assert await runner.drain(timeout=0.01) == ["d"]
            assert last.origin == "closed"
    assert (flaky.calls, grouped.calls, drained.calls) == (1, 1, 1)


@each_runner
@pytest.mark.parametrize("grace", [0, 1000])
async def test_the_run_is_cut_short(make: Callable[..., Any], grace: float) -> None:
    """By a scope around it, also with grace: there is nothing to be finished; or by its own block."""
    flaky = Flaky()
    runner = make(grace=grace)
    with anyio.fail_after(20), anyio.CancelScope() as scope:
        async with runner.start():
            slot = submit(runner, "k", flaky.on_loop)
            await until_failed(flaky)
            scope.cancel()
            await anyio.sleep_forever()
    assert (slot.origin, slot.attempt, flaky.calls) == ("outer", 1, 1)
    flaky = Flaky()
    with anyio.fail_after(20), pytest.raises(ZeroDivisionError):
        async with runner.start():
            slot = submit(runner, "k", flaky.on_loop)
            await until_failed(flaky)
            raise ZeroDivisionError
    assert (slot.origin, slot.attempt, flaky.calls) == ("closed", 1, 1)


@pytest.mark.parametrize("make", MAKES[1:], ids=["bounded", "limited", "paced"])
@pytest.mark.parametrize("end", ["key", "scope", "body", "stop"])
async def test_the_end_comes_while_it_waits_for_its_place(make: Callable[..., Any], end: str) -> None:
    """Its time is over, and its place or limit is not there yet: the same, and it is told of once."""
    heard, flaky = Attempts(), Flaky()
    runner = make(instruments=[heard])
    with anyio.fail_after(20), anyio.CancelScope() as scope, suppress(ZeroDivisionError):
        async with runner.start():
            policy = Retry(9, delay=0.02, factor=1, jitter="none")
            slot = submit(runner, "k", flaky.on_loop, policy)
            blocker = submit(runner, "blocker", forever)
            waiting = submit(runner, "waiting", give)
            await until_failed(flaky)
            await anyio.sleep(0.1)
            assert (slot.attempt, flaky.calls) == (1, 1)
            if end == "key":
                runner.cancel("k")
                assert await runner.wait("k", timeout=5) is not None
                runner.cancel(blocker)
                assert await waiting == 1
            elif end == "stop":
                runner._running("k").stop_taking("it is enough")
                assert await runner.wait("k", timeout=5) is not None
                runner.cancel(blocker)
            elif end == "scope":
                scope.cancel()
                await anyio.sleep_forever()
            else:
                raise ZeroDivisionError
    assert slot.origin == {"key": "cancel", "scope": "outer"}.get(end, "closed")
    assert runner.statistics().cancelled == (2 if end == "key" else 3)
    assert heard.of("k") == [("admitted", 1), ("started", 1), ("retrying", 1), ("finished", 1)]


@pytest.mark.parametrize("limits", [[], ["db"]])
async def test_it_is_cancelled_in_the_moment_in_which_it_may_go_on(limits: list[str]) -> None:
    """It does not go on, and gives back what it has been given."""
    flaky = Flaky()
    policy = Retry(9, delay=0.02, factor=1, jitter="none")
    async with ConcurrentTaskRunner(1, limits={"db": 1}).start() as runner:
        slot = runner.submit_nowait("k", flaky.on_loop, retry=policy, limits=limits)
        runner.submit_nowait("blocker", forever)
        await until_failed(flaky)
        await anyio.sleep(0.1)
        runner.set_max_workers(2)
        runner.cancel("k")
        with anyio.fail_after(5):
            await runner.wait("k")
            assert (slot.origin, flaky.calls) == ("cancel", 1)
            assert await runner.submit_nowait("next", give, limits=["db"]) == 1
        runner.cancel("blocker")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_its_task_is_cancelled_in_that_moment() -> None:
    """By asyncio's own means, which tell nobody: it ends, and gives back what it has been given."""
    tasks: list[asyncio.Task[Any] | None] = []

    async def keep_task() -> None:
        tasks.append(asyncio.current_task())
        raise FlakyError

    async with ConcurrentTaskRunner(1, limits={"db": 1}).start() as runner:
        policy = Retry(9, delay=0.02, factor=1, jitter="none")
        slot = runner.submit_nowait("k", keep_task, retry=policy, limits=["db"])
        runner.submit_nowait("blocker", forever)
        await anyio.sleep(0.1)
        runner.set_max_workers(2)
        (task,) = tasks
        assert task is not None
        task.cancel()
        with anyio.fail_after(5):
            await runner.wait("k")
            assert (slot.origin, len(tasks)) == ("foreign", 1)
            assert await runner.submit_nowait("next", give, limits=["db"]) == 1
        runner.cancel("blocker")


async def test_a_deadline_around_a_sequential_submit() -> None:
    """It ends the wait, and travels on."""
    flaky = Flaky()
    async with SequentialTaskRunner().start() as runner:
        with anyio.move_on_after(0.02) as scope:
            await runner.submit("k", flaky.on_loop, retry=SLOWLY)
        assert scope.cancelled_caught
        slot = runner.slots["k"]
        assert (slot.state, slot.origin, flaky.calls) == (State.CANCELLED, "outer", 1)
        with pytest.raises(RunnerClosed):
            await runner.drain()
            await runner.submit("l", give)


async def test_one_that_fails_under_a_cancelled_scope() -> None:
    """Is the last one, and its failure is what became of the call: there is no wait to be cancelled."""
    calls = 0
    with anyio.CancelScope() as scope:

        async def fails() -> None:
            nonlocal calls
            calls += 1
            scope.cancel()
            raise FlakyError

        async with SequentialTaskRunner().start() as runner:
            with pytest.raises(FlakyError):
                await (await runner.submit("k", fails, retry=SLOWLY))
    slot = runner.slots["k"]
    assert (slot.state, slot.origin, calls) == (State.FAILED, None, 1)


async def test_grace_is_for_an_attempt_under_way() -> None:
    """It may end; if it fails then, it has failed."""
    ended: list[str] = []

    async def slow(fails: bool) -> str:
        await anyio.sleep(0.05)
        ended.append("ended")
        if fails or len(ended) < 2:
            raise FlakyError
        return "stored"

    runner = ConcurrentTaskRunner(grace=1000)
    for fails in (False, True):
        ended.clear()
        with anyio.fail_after(20), anyio.CancelScope() as scope:
            async with runner.start():
                policy = Retry(5, delay=0.01, factor=1, jitter="none")
                slot = runner.submit_nowait("k", slow, fails, retry=policy)
                while slot.attempt < 2:  # noqa: ASYNC110 - nothing tells of it
                    await anyio.sleep(0.005)
                scope.cancel()
                await anyio.sleep_forever()
        assert slot.attempt == 2
        assert slot.state is (State.FAILED if fails else State.COMPLETED)


async def test_one_that_is_called_off_as_it_is_told_of() -> None:
    """An instrument, or a call that has a place at last, cancels it in that very moment."""

    class CallingOff(Attempts):
        def call_retrying(self, event: Any) -> None:
            super().call_retrying(event)
            runner.cancel(event.key)

    heard = CallingOff()
    runner = ConcurrentTaskRunner(1, instruments=[heard])
    flaky = Flaky()
    with anyio.fail_after(20):
        async with runner.start():
            slot = runner.submit_nowait("k", flaky.on_loop, retry=SLOWLY)
    assert (slot.origin, flaky.calls) == ("cancel", 1)


@pytest.mark.usefixtures("real_time")
async def test_threads_are_free_meanwhile() -> None:
    """Plain calls of an unbounded runner share forty threads: a hundred that wait hold none."""
    calls = [Flaky() for _ in range(100)]
    async with ConcurrentTaskRunner().start() as runner:
        for number, call in enumerate(calls):
            runner.submit_nowait(number, call.plain, retry=SLOWLY)
        await until_failed(*calls)
        assert await runner.submit_nowait("k", threading.get_ident) != threading.get_ident()
        for number in range(100):
            runner.cancel(number)


async def test_the_number_of_attempts_has_no_end() -> None:
    """Hundreds at once neither starve the others nor grow anything."""
    flaky = Flaky(300)
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", flaky.on_loop, retry=Retry(10**9, delay=0))
        other = runner.submit_nowait("other", give)
        assert await other == 1
        assert flaky.calls < 100
        assert await slot == 301


def test_a_wait_that_ends_while_others_wait() -> None:
    """A place that was taken for a call which does not need it is given back."""
    from creche._carrier import NOBODY, Carrier  # noqa: PLC0415 - private, and of this test only
    from creche._places import Places  # noqa: PLC0415 - as above

    places = Places(2)
    carrier = Carrier(None, NOBODY)
    assert places.take()
    carrier.occupy(places)
    carrier.begin_wait()
    carrier.begin_wait()
    assert places.taken == 0
    assert places.take()
    carrier.receive(places)
    assert (carrier.waiting, carrier.has_place, places.taken) == (1, False, 0)
    assert places.take()
    carrier.receive(places)
    assert (carrier.waiting, carrier.has_place, places.taken) == (0, True, 1)


async def test_a_run_that_starts_nothing_more() -> None:
    """As at the first Ctrl-C of `creche run`: no attempt begins, and one that has begun may end."""
    gate = Gate()

    async def fail_late() -> None:
        await gate()
        raise ValueError

    async with ConcurrentTaskRunner().start() as runner:
        waits = runner.submit_nowait("waits", fail, retry=Retry(3, delay=20, jitter="none"))
        works = runner.submit_nowait("works", fail_late, retry=Retry(3, delay=20, jitter="none"))
        await settle_down()
        run = runner._running("a test")
        run.stop_taking("it is enough")
        await runner.wait(waits)
        assert (waits.origin, waits.reason, waits.attempt) == ("closed", "it is enough", 1)
        assert works.state is State.RUNNING
        gate.open.set()
        assert isinstance(error_of(await runner.wait(works)), ValueError)
        assert works.attempt == 1
