"""Plain callables: they run in worker threads, and what they give is what the call gives."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.from_thread
import pytest
import trio
from outcome import Error

from calls import forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, State

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


class Caller:
    """Things that can be called, in every way there is."""

    async def method(self, n: int) -> int:
        return n

    def plain_method(self, n: int) -> tuple[int, bool]:
        return n, threading.current_thread() is threading.main_thread()

    async def __call__(self, n: int) -> int:
        return n


def wrapped(fn: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """A decorator that hides that the function is async."""

    @functools.wraps(fn)
    def inner(*args: Any) -> Awaitable[int]:
        return fn(*args)

    return inner


async def test_what_is_called_where(runner: ConcurrentTaskRunner) -> None:
    """Async callables run on the loop, seen through partials, methods and objects; plain ones do not."""
    caller = Caller()
    async with runner.start():
        for fn in (
            give,
            caller.method,
            caller,
            functools.partial(give),
            functools.partial(functools.partial(caller.method)),
            lambda n: give(n),  # noqa: PLW0108 - that is the point: it hides that it is async
            wrapped(give),
        ):
            assert await runner.submit_nowait(None, fn, 3) == 3
        assert await runner.submit_nowait(None, caller.plain_method, 3) == (3, False)
        assert await runner.submit_nowait(None, functools.partial(int, "11", base=2)) == 3


@pytest.mark.parametrize("kind", [StopIteration, ValueError, StopAsyncIteration])
async def test_exceptions_cross_the_thread(
    runner: ConcurrentTaskRunner, kind: Callable[[], Exception]
) -> None:
    """The original object arrives, also one that no coroutine lets through."""
    error = kind()

    def fail() -> None:
        raise error

    async with runner.start():
        slot = runner.submit_nowait(1, fail)
        await runner.wait(1)
    assert slot.state is State.FAILED
    assert isinstance(slot.outcome, Error)
    assert slot.outcome.error is error


async def test_context_variables_reach_the_thread(runner: ConcurrentTaskRunner) -> None:
    """The thread sees a copy of the submitter's."""

    def look() -> str:
        before = VAR.get()
        VAR.set("leak")
        return before

    VAR.set("mine")
    async with runner.start():
        assert await runner.submit_nowait(1, look) == "mine"
        assert await runner.submit_nowait(2, look) == "mine"
    assert VAR.get() == "mine"


async def test_a_cancelled_call_in_a_thread_is_waited_for(runner: ConcurrentTaskRunner) -> None:
    """A thread cannot be stopped: its value beats the cancel, also one from outside."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go_on.wait()
        return 5

    async with runner.start():
        slot = runner.submit_nowait(1, work)
        await anyio.to_thread.run_sync(begun.wait)
        runner.cancel(1)
        await settle_down()
        assert slot.state is State.RUNNING
        go_on.set()
        assert await slot == 5

    begun.clear()
    go_on.clear()
    with anyio.CancelScope() as scope:
        async with runner.start():
            slot = runner.submit_nowait(1, work)
            await anyio.to_thread.run_sync(begun.wait)
            scope.cancel()
            go_on.set()
    assert slot.result() == 5


async def test_an_awaitable_that_is_cancelled_gives_no_value(runner: ConcurrentTaskRunner) -> None:
    """What a plain callable returned is awaited; cancelled there, the call is cancelled."""
    async with runner.start():
        slot = runner.submit_nowait(1, lambda: anyio.sleep_forever())  # noqa: PLW0108 - a plain function that gives a coroutine
        await runner.wait(1, timeout=0.05)
        runner.cancel(1)
        await runner.wait(1)
    assert (slot.state, slot.origin) == (State.CANCELLED, "cancel")


async def test_a_call_that_waits_for_a_thread_can_be_cancelled() -> None:
    """There are no more threads than places; who waits for one is not stuck."""
    runner = ConcurrentTaskRunner(max_workers=1)
    go_on = threading.Event()
    async with runner.start():
        first = runner.submit_nowait(1, go_on.wait)
        second = runner.submit_nowait(2, go_on.wait)
        await settle_down()
        assert second.state is State.PENDING
        runner.cancel(2)
        go_on.set()
        assert await first is True
        assert second.origin == "cancel"


async def test_threads_of_an_unbounded_runner_are_bounded(runner: ConcurrentTaskRunner) -> None:
    """A hundred plain calls have forty threads; the rest waits, and can be cancelled."""
    go_on = threading.Event()
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        go_on.wait()
        with lock:
            inside -= 1

    async with runner.start():
        for n in range(100):
            runner.submit_nowait(n, work)
        while inside < 40 or runner.statistics().running < 100:  # noqa: ASYNC110 - no events of the loop
            await anyio.sleep(0.001)
        for n in range(100):
            runner.cancel(n)
        await settle_down()
        go_on.set()
    states = [runner.slots[n].state for n in range(100)]
    assert states.count(State.COMPLETED) == 40
    assert states.count(State.CANCELLED) == 60
    assert most == 40


@pytest.mark.parametrize("body_raises", [False, True])
async def test_a_thread_that_waits_for_a_reservation(
    runner: ConcurrentTaskRunner, *, body_raises: bool
) -> None:
    """At the end it is lost as any other, and the thread is told: the exit waits for the thread."""
    with suppress(LookupError):
        async with runner.start():
            reserved = runner.reserve("never")
            slot = runner.submit_nowait("t", reserved.result)
            if body_raises:
                await runner.wait("t", timeout=0.05)
                raise LookupError
    assert reserved.origin == "lost"
    error = slot.outcome.error  # type: ignore  # it has failed
    assert isinstance(error, CallCancelled)


async def test_a_thread_that_waits_with_a_limit_goes_on(runner: ConcurrentTaskRunner) -> None:
    """It is not one that nothing can end, so that the reservation is kept for it."""

    def wait_and_fill() -> Any:
        with pytest.raises(TimeoutError):
            reserved.result(timeout=0.05)
        return anyio.from_thread.run(runner.submit, "late", give, 5)

    async with runner.start():
        reserved = runner.reserve("late")
        runner.submit_nowait("t", wait_and_fill)
    assert reserved.result() == 5


async def test_a_thread_that_waits_for_itself(runner: ConcurrentTaskRunner) -> None:
    """It is refused, as it is on the loop."""
    async with runner.start():
        slot = runner.submit_nowait("t", lambda: runner.slots["t"].result())  # noqa: PLW0108 - later
        with pytest.raises(RuntimeError, match="'t' waits for itself"):
            await slot


async def test_a_thread_must_not_touch_the_loop(runner: ConcurrentTaskRunner) -> None:
    """What belongs to the loop is refused in another thread, before anything is done."""
    refused: list[str] = []

    def touch() -> None:
        for fn in (
            lambda: runner.submit_nowait("b", give),
            lambda: runner.reserve("b"),
            runner.cancel_all,
        ):
            with pytest.raises(RuntimeError, match=r"another thread's loop.*from_thread") as caught:
                fn()
            refused.append(str(caught.value))

    async with runner.start():
        runner.submit_nowait("open", forever)
        await runner.submit_nowait("t", touch)
        assert "b" not in runner
        assert await runner.submit_nowait("b", give, 1) == 1
        runner.cancel("open")
    assert len(refused) == 3


async def test_as_completed_on_the_loop_of_another_thread(runner: ConcurrentTaskRunner) -> None:
    """In a loop that a plain call runs in its thread, too."""

    async def read() -> list[Any]:
        async with runner.as_completed(["a", "b"]) as slots:
            return [slot.key async for slot in slots]

    async with runner.start():
        runner.submit_nowait("a", give)
        runner.submit_nowait("b", give)
        assert sorted(await runner.submit_nowait("t", trio.run, read)) == ["a", "b"]


async def test_a_thread_and_asyncios_own_cancel(
    runner: ConcurrentTaskRunner, anyio_backend_name: str
) -> None:
    """`Task.cancel` of the task that waits for it: the thread is waited for, and its value counts."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        return 7 if go_on.wait(10) else 0

    async with runner.start():
        slot = runner.submit_nowait("t", work, timeout=1000)  # else it has no task
        await settle_down()
        await anyio.to_thread.run_sync(begun.wait)
        task: Any = slot.carrying.task  # type: ignore  # it runs
        for _ in range(2):
            task.cancel()
            await settle_down()
        assert not slot.done
        go_on.set()
        assert await slot == 7


async def test_a_thread_that_was_cancelled_before_it_began(
    runner: ConcurrentTaskRunner, anyio_backend_name: str
) -> None:
    """Then it never begins."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    called: list[int] = []
    async with runner.start():
        slot = runner.submit_nowait("t", called.append, 1, timeout=1000)  # else it has no task
        await asyncio.sleep(0)
        task: Any = slot.carrying.task  # type: ignore  # it runs
        task.cancel()
        await runner.wait("t")
        assert (slot.state, slot.origin) == (State.CANCELLED, "foreign")
    assert called == []


async def test_anyio_in_a_thread(runner: ConcurrentTaskRunner) -> None:
    """Code in a plain call reaches the loop through `anyio.from_thread`, on trio too."""
    async with runner.start():
        slot = runner.submit_nowait("t", anyio.from_thread.run, give, 3)
        assert await slot == 3
