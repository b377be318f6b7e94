"""Protection from Ctrl-C ends where code of the user's begins: a call that never ends can be stopped.

On trio only: on asyncio nothing is protected, and nothing needs to be.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import trio

from creche import ConcurrentTaskRunner, SequentialTaskRunner, State, flow, task
from creche._call import close_unbegun
from creche._ki import await_openly, call_openly, protected
from creche.instruments import CallEvent, Instrument


class Openness:
    """Where code of the user's was called, and whether it could be interrupted there."""

    def __init__(self) -> None:
        self.seen: dict[str, bool] = {}

    def note(self, where: str) -> None:
        """Here."""
        is_open = not trio.lowlevel.currently_ki_protected()
        self.seen[where] = self.seen.get(where, True) and is_open

    def noting(self, where: str) -> Callable[..., Any]:
        """A function that notes that it was called."""

        def note(*args: object) -> str:
            self.note(where)
            return where

        return note

    def calling(self, where: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A call that notes where it is, before and after it has waited."""

        async def call(*args: object, task_status: Any = None) -> None:
            self.note(where)
            await trio.lowlevel.checkpoint()
            self.note(where)
            if task_status is not None:
                task_status.started()
                self.note(where)

        return call


@pytest.fixture
def openness() -> Openness:
    """A new one."""
    return Openness()


def check(openness: Openness, *places: str) -> None:
    """Whether it was in all these places, and open everywhere."""
    assert openness.seen == dict.fromkeys(places, True)


@pytest.mark.trio
async def test_calls(openness: Openness) -> None:
    """On the loop, in child tasks, what a plain one gives, what comes back from a thread."""

    async def with_children() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(openness.calling("child"))
            openness.note("nursery")

    def gives() -> Awaitable[Any]:
        return openness.calling("given")()

    def from_thread() -> None:
        trio.from_thread.run_sync(openness.note, "from thread")
        trio.from_thread.run(openness.calling("from thread"))

    for runner in (ConcurrentTaskRunner(2), SequentialTaskRunner()):
        async with runner.start():
            for n, call in enumerate([openness.calling("call"), with_children, gives, from_thread]):
                await runner.submit(n, call)
                assert await runner.submit(("again", n), call) is not None
        assert {slot.state for slot in runner.slots.values()} == {State.COMPLETED}
        check(openness, "call", "child", "nursery", "given", "from thread")
        openness.seen.clear()


@pytest.mark.trio
async def test_a_body_that_is_protected_itself(openness: Openness) -> None:
    """The calls that it submits are open all the same."""

    @trio.lowlevel.enable_ki_protection
    async def body() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            await runner.submit("k", openness.calling("call"))

    await body()
    check(openness, "call")


@pytest.mark.trio
async def test_callbacks(openness: Openness) -> None:
    """Done callbacks, also of a slot that is settled; instruments; what a group asks, and a map."""

    class Notes(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            openness.note("submitted")

        def call_finished(self, event: CallEvent) -> None:
            openness.note("finished")

    async def items() -> AsyncIterator[int]:
        try:
            for n in range(9):
                openness.note("items")
                yield n
        finally:
            openness.note("items end")

    async def fail(n: int) -> None:
        raise LookupError(n)

    def key(n: int) -> int:
        openness.note("key")
        return n

    async with ConcurrentTaskRunner(2, instruments=[Notes()]).start() as runner:
        slot = runner.submit_nowait("k", openness.calling("call"))
        slot.add_done_callback(openness.noting("callback"))
        await slot
        slot.add_done_callback(openness.noting("callback at once"))
        async with runner.group(stop_when=openness.noting("stop_when")) as group:
            group.submit_nowait("of a group", openness.calling("call"))
        with pytest.raises(LookupError):
            await runner.map(fail, items(), key=key)
        runner.cancel_matching(openness.noting("predicate"))
        runner.submit_nowait("last", openness.calling("call"))
        runner.cancel_matching(openness.noting("predicate"))
    check(
        openness,
        *("submitted", "call", "finished", "callback", "callback at once", "stop_when"),
        *("items", "items end", "key", "predicate"),
    )


@pytest.mark.trio
async def test_children_of_a_task_group(openness: Openness) -> None:
    """Those that are started, too, while `start()` waits for them."""
    async with ConcurrentTaskRunner().start() as runner, runner.as_task_group() as group:
        group.start_soon(openness.calling("child"))
        await group.start(openness.calling("started"))
    check(openness, "child", "started")


@pytest.mark.trio
async def test_flows(openness: Openness) -> None:
    """An async flow, its tasks, and a plain task that it calls inline."""

    @task
    def inline() -> None:
        openness.note("inline")

    @task
    async def on_the_loop() -> None:
        openness.note("task")

    @flow
    async def body() -> None:
        openness.note("flow")
        inline()
        await on_the_loop()

    await body()
    check(openness, "flow", "inline", "task")


def test_a_call_that_never_ends() -> None:
    """It is stopped where it is, without a checkpoint, and the run ends."""
    runner = ConcurrentTaskRunner()
    spins = threading.Event()

    async def spin() -> None:
        spins.set()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pass

    def press() -> None:
        spins.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("spins", spin)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    thread.join()
    assert runner.slots["spins"].state is State.CRASHED


# The marks ------------------------------------------------------------------------------------------


@protected
def ours(slot: object) -> bool:
    """Stands in for a callback of the user's."""
    return trio.lowlevel.currently_ki_protected()


def theirs(slot: object) -> bool:
    """A callback of the user's."""
    return trio.lowlevel.currently_ki_protected()


@pytest.mark.trio
async def test_what_is_called_openly() -> None:
    """A function of the user's is open; one of our own stays protected, a method as well."""
    assert call_openly(ours, None) is True
    assert call_openly(theirs, None) is False
    async with ConcurrentTaskRunner().start() as runner:
        group = runner.group()
        assert call_openly(group.cancel, "a reason") is None
        assert call_openly(len, "abc") == 3
    assert not inspect.iscoroutine(await await_openly(trio.lowlevel.checkpoint, ()))


def test_a_coroutine_that_nobody_begins() -> None:
    """It is closed; one that somebody has begun is his."""

    async def wait() -> None:
        await asyncio.sleep(0)

    never = wait()
    close_unbegun(never)
    assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED

    begun = wait()
    begun.send(None)
    close_unbegun(begun)
    assert inspect.getcoroutinestate(begun) == inspect.CORO_SUSPENDED
    begun.close()
    close_unbegun("something else")
