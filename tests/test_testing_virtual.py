"""Virtual time: hours cost nothing, threads are waited for, a run that hangs is ended with a tree."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing

from creche.testing import HungError, VirtualClock, VirtualTimeLoop, run_virtual, virtual_time

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@both
def test_an_hour_costs_nothing(backend: Any) -> None:
    """And timers come in their order."""
    order: list[int] = []

    async def later(seconds: int) -> None:
        await anyio.sleep(seconds)
        order.append(seconds)

    async def main(first: int, second: int) -> float:
        begin = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(later, first)
            group.start_soon(later, second)
        with anyio.move_on_after(10):
            await anyio.sleep_forever()
        return anyio.current_time() - begin

    real = time.monotonic()
    assert run_virtual(main, 3600, 60, backend=backend) == 3610
    assert order == [60, 3600]
    assert time.monotonic() - real < 60


@both
def test_a_thread_is_waited_for(backend: Any) -> None:
    """Time does not jump over one that is at work, unless it works for long."""

    async def short() -> bool:
        with anyio.move_on_after(5) as scope:
            await anyio.to_thread.run_sync(time.sleep, 0.02)
        return scope.cancelled_caught

    assert run_virtual(short, backend=backend) is False

    async def long() -> bool:
        go = threading.Event()
        with anyio.move_on_after(5) as scope:
            await anyio.to_thread.run_sync(go.wait, abandon_on_cancel=True)
        go.set()
        return scope.cancelled_caught

    assert run_virtual(long, backend=backend) is True

    async def without_a_timer() -> None:
        await anyio.to_thread.run_sync(time.sleep, 0.2)

    run_virtual(without_a_timer, backend=backend)


def test_a_thread_that_does_something_else_by_now_is_waited_for() -> None:
    """One of trio's that was at work before, ended that, and was given to somebody in the run."""
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()
    idents: list[int] = []

    def before() -> None:
        idents.append(threading.get_ident())
        begun.set()
        go.wait()

    def work() -> None:
        idents.append(threading.get_ident())
        time.sleep(0.3)

    async def main() -> None:
        go.set()
        ended.wait()
        time.sleep(0.05)  # noqa: ASYNC251 - until it can be had again
        await trio.to_thread.run_sync(work)

    trio.lowlevel.start_thread_soon(before, lambda _: ended.set(), name="one")
    begun.wait()
    run_virtual(main)
    assert idents == idents[:1] * 2


@both
def test_a_run_that_hangs(backend: Any) -> None:
    """It is ended, with who waits for what; nothing of it is heard afterwards."""

    async def stuck() -> None:
        try:
            await anyio.Event().wait()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stuck, name="the stuck one")
            group.start_soon(anyio.sleep_forever)

    with pytest.raises(HungError) as caught:
        run_virtual(main, backend=backend)
    told = str(caught.value)
    assert told.startswith("nothing can run any more, and no timer is set:\n")
    assert "the stuck one: waits in Event.wait, at tests/test_testing_virtual.py:" in told
    assert "sleep_forever" in told


def test_the_tree_on_asyncio() -> None:
    """A task that waits for another one stands above it; a generator is looked into."""

    async def numbers() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async def reads() -> None:
        async for _ in numbers():
            pass

    async def main() -> None:
        await asyncio.create_task(reads(), name="reader")

    with pytest.raises(HungError) as caught:
        run_virtual(main, backend="asyncio")
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  main: waits in a future")
    assert lines[2].startswith("    reader: waits in Event.wait")
    assert "numbers" in lines[2]


@both
def test_it_waits_for_those_that_are_idle_first(backend: Any) -> None:
    """`wait_all_tasks_blocked` comes before the next timer."""
    idle: Any = anyio if backend == "asyncio" else trio.testing
    when: list[float] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            await idle.wait_all_tasks_blocked()
            when.append(anyio.current_time())

    run_virtual(main, backend=backend)
    assert when[0] < 5


@both
def test_other_errors_come_out(backend: Any) -> None:
    """As they are."""

    async def main() -> None:
        await anyio.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtual(main, backend=backend)


def test_an_error_of_trios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is none of ours goes on as it is."""

    def broken(*args: Any, **options: Any) -> None:
        raise trio.TrioInternalError

    monkeypatch.setattr(trio, "run", broken)
    with pytest.raises(trio.TrioInternalError):
        run_virtual(trio.sleep, 1)


def test_what_is_left_on_asyncio_is_ended() -> None:
    """Tasks that the function leaves are cancelled; those that do not end then are left alone."""
    seen: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def kind() -> None:
        try:
            await asyncio.sleep(3)
        finally:
            seen.append("kind")

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("stubborn")

    async def main() -> None:
        tasks.extend([asyncio.create_task(kind()), asyncio.create_task(stubborn())])
        await asyncio.sleep(0)

    run_virtual(main, backend="asyncio")
    assert sorted(seen) == ["kind", "stubborn"]


def test_for_anyios_plugin() -> None:
    """The name and the options of a backend; another one is refused."""
    name, options = virtual_time("trio")
    assert name == "trio"
    assert isinstance(options["clock"], VirtualClock)
    assert virtual_time("asyncio") == ("asyncio", {"loop_factory": VirtualTimeLoop})
    other: Any = "curio"
    with pytest.raises(ValueError, match="backend"):
        virtual_time(other)


def test_a_clock_by_itself() -> None:
    """It stands still outside of a run."""
    assert VirtualClock().current_time() == 0
