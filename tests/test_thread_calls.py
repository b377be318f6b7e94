"""Plain calls that have no task: limits, cancellations of every origin, and what they give to await."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from calls import forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, Slot, State
from creche.instruments import Instrument

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


class Work:
    """A plain function that waits in its thread until it may go on, then gives or raises something."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.value = value
        self.error = error

    def __call__(self) -> Any:
        self.begun.set()
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error
        return self.value() if callable(self.value) else self.value

    async def until_begun(self) -> None:
        await anyio.to_thread.run_sync(self.begun.wait, 10)


async def a_cancellation() -> BaseException:
    """The loop's own exception, as it was raised in a scope that is over."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class() as exc:
            caught.append(exc)
            raise
    return caught[0]


async def settled(slot: Slot[Any]) -> tuple[State, str | None]:
    await slot.wait(10)
    return slot.state, slot.origin


async def test_a_named_limit_holds() -> None:
    """And is free again when the thread comes back."""
    runner = ConcurrentTaskRunner(limits={"one": 1})
    first, second = Work(1), Work(2)
    second.go_on.set()
    async with runner.start():
        runner.submit_nowait("first", first, limits=["one"])
        slot = runner.submit_nowait("second", second, limits=["one"])
        await first.until_begun()
        await settle_down()
        assert not second.begun.is_set()
        first.go_on.set()
        assert await slot == 2


async def test_a_cancellation_that_belongs_to_nobody_is_contained() -> None:
    runner = ConcurrentTaskRunner()
    work = Work(error=await a_cancellation())
    work.go_on.set()
    async with runner.start():
        assert await settled(runner.submit_nowait("k", work)) == (State.CANCELLED, "foreign")
        assert await runner.submit_nowait("next", len, "abc") == 3


async def test_a_cancelled_call_whose_thread_raises_that() -> None:
    runner = ConcurrentTaskRunner()
    work = Work(error=await a_cancellation())
    async with runner.start():
        slot = runner.submit_nowait("k", work)
        await work.until_begun()
        runner.cancel("k", reason="not needed")
        await settle_down()
        assert slot.state is State.RUNNING
        work.go_on.set()
        assert await settled(slot) == (State.CANCELLED, "cancel")
        assert slot.reason == "not needed"


@pytest.mark.parametrize("raises", [False, True])
async def test_a_run_that_closes_waits_for_the_thread(*, raises: bool) -> None:
    """Its value counts; a cancellation that comes out of it has the origin of the closing."""
    runner = ConcurrentTaskRunner()
    work = Work(7, await a_cancellation() if raises else None)
    with pytest.raises(LookupError):
        async with runner.start():
            slot = runner.submit_nowait("k", work)
            await work.until_begun()
            threading.Timer(0.01, work.go_on.set).start()
            raise LookupError
    assert (slot.state, slot.origin) == (
        (State.CANCELLED, "closed") if raises else (State.COMPLETED, None)
    )


@pytest.mark.parametrize("raises", [False, True])
async def test_a_scope_that_the_body_does_not_see(*, raises: bool) -> None:
    """When the thread comes back it is seen; nothing new starts."""
    runner = ConcurrentTaskRunner(max_workers=1)
    work = Work(7, await a_cancellation() if raises else None)
    with anyio.CancelScope() as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", work)
            late = runner.submit_nowait("late", len, "abc")
            await work.until_begun()
            with anyio.CancelScope(shield=True):
                scope.cancel()
                work.go_on.set()
                await slot.wait(10)
                await late.wait(10)
            assert (slot.state, slot.origin) == (
                (State.CANCELLED, "outer") if raises else (State.COMPLETED, None)
            )
            assert (late.state, late.origin) == (State.CANCELLED, "closed")
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_what_it_gives_is_not_begun_after_a_cancel() -> None:
    """A call that was cancelled while it was in its thread, and gives a coroutine all the same."""
    runner = ConcurrentTaskRunner()
    work = Work(forever)
    async with runner.start():
        slot = runner.submit_nowait("k", work)
        await work.until_begun()
        runner.cancel("k")
        work.go_on.set()
        assert await settled(slot) == (State.CANCELLED, "cancel")


async def test_what_it_gives_is_cancelled_from_outside() -> None:
    runner = ConcurrentTaskRunner()
    begun = anyio.Event()

    async def wait() -> None:
        begun.set()
        await anyio.sleep_forever()

    def make() -> Awaitable[None]:
        return wait()

    with anyio.CancelScope() as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", make)
            await begun.wait()
            scope.cancel()
            await anyio.sleep_forever()
    assert (slot.state, slot.origin) == (State.CANCELLED, "outer")


async def test_a_limit_that_is_set_while_one_waits_for_a_thread() -> None:
    """The forty threads of a run without a limit are busy; it has a place of the new ones, too."""
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(40)]
    last = Work(give)
    last.go_on.set()
    async with runner.start():
        for n, work in enumerate(works):
            runner.submit_nowait(n, work)
        for work in works:
            await work.until_begun()
        slot = runner.submit_nowait("last", last)
        await settle_down()
        assert (slot.state, last.begun.is_set()) == (State.RUNNING, False)
        runner.set_max_workers(50)
        for work in works:
            work.go_on.set()
        assert await slot == 1
        again = Work(5)
        again.go_on.set()
        assert await runner.submit_nowait("again", again) == 5
    assert runner.statistics().completed == 42


async def test_one_that_waits_for_a_thread_ends_at_once() -> None:
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(40)]
    async with runner.start():
        for n, work in enumerate(works):
            runner.submit_nowait(n, work)
        for work in works:
            await work.until_begun()
        slot = runner.submit_nowait("last", len, "abc")
        await settle_down()
        runner.cancel("last")
        assert (slot.state, slot.origin) == (State.CANCELLED, "cancel")
        with pytest.raises(CallCancelled):
            slot.result()
        for work in works:
            work.go_on.set()


async def test_a_call_that_completes_while_another_has_lost_its_key() -> None:
    """The one that was replaced takes its time; the other is as settled as ever."""
    runner = ConcurrentTaskRunner()
    go_on = anyio.Event()

    async def linger() -> int:
        with anyio.CancelScope(shield=True):
            await go_on.wait()
        return 4

    async with runner.start():
        old = runner.submit_nowait("k", linger)
        await settle_down()
        new = runner.submit_nowait("k", give, 2, on_collision="replace")
        other = runner.submit_nowait("other", give, 3)
        assert await other == 3
        assert not old.done
        go_on.set()
        assert (await new, await old) == (2, 4)
    assert runner.slots["k"] is new


class Canceller(Instrument):
    """An instrument that cancels every second call as soon as it hears of it."""

    def __init__(self) -> None:
        self.runner: ConcurrentTaskRunner | None = None
        self.heard = 0

    def call_submitted(self, event: Any) -> None:
        assert self.runner is not None
        self.heard += 1
        if self.heard % 2 == 0:
            self.runner.cancel(event.key)


@pytest.mark.parametrize("workers", [None, 2])
async def test_a_map_whose_calls_are_cancelled_as_they_are_submitted(workers: int | None) -> None:
    canceller = Canceller()
    runner = canceller.runner = ConcurrentTaskRunner(workers, instruments=[canceller])
    async with runner.start():
        outcomes = await runner.map(give, range(6), return_outcomes=True)
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == ["Value", "Error"] * 3
