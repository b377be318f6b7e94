"""Calls in tasks that are not the runner's own: those of a sequential runner's submitters."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from calls import Gate, fail, forever, give, start_in, swallow
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche.instruments import CallEvent, Instrument

pytestmark = pytest.mark.anyio

VAR: ContextVar[int] = ContextVar("VAR", default=0)


@pytest.fixture
def runner() -> SequentialTaskRunner:
    return SequentialTaskRunner()


async def clean_up_badly() -> None:
    """Turn a cancellation into an error."""
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("clean-up")


@pytest.mark.parametrize(("call", "state"), [(clean_up_badly, State.FAILED), (swallow, State.COMPLETED)])
async def test_a_deadline_of_asyncios_own_is_not_lost(
    runner: SequentialTaskRunner,
    anyio_backend_name: str,
    call: Callable[..., Any],
    state: State,
) -> None:
    """It cancels once: whatever the call makes of it, it goes on to the submitter."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    async with runner.start():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await runner.submit("k", call)
                raise AssertionError
        assert runner.slots["k"].state is state
        assert await runner.submit("next", give, 1) is runner.slots["next"]


async def test_a_scope_whose_cancellation_the_call_swallows(runner: SequentialTaskRunner) -> None:
    """A value beats it, and the scope catches what comes next."""
    async with runner.start():
        with anyio.move_on_after(0.01) as scope:
            slot = await runner.submit("k", swallow)
            assert slot.result() == 4
            await anyio.sleep(1)
        assert scope.cancelled_caught


@pytest.mark.usefixtures("real_time")
async def test_a_thread_is_waited_for(runner: SequentialTaskRunner, anyio_backend_name: str) -> None:
    """Also when asyncio's own timeout passes: one call at a time, and no thread is left behind."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    inside, most = 0, 0

    def work(begun: Callable[[], object]) -> int:
        nonlocal inside, most
        inside += 1
        most = max(inside, most)
        begun()
        threading.Event().wait(0.1)
        inside -= 1
        return 7

    async with runner.start():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:

                def pass_limit() -> None:
                    loop.call_soon_threadsafe(limit.reschedule, loop.time())

                await runner.submit("a", work, pass_limit)
        await runner.submit("b", work, bool)
    assert (inside, most) == (0, 1)
    assert runner.slots["a"].result() == 7


@pytest.mark.usefixtures("real_time")
async def test_a_thread_that_submits_and_waits(runner: SequentialTaskRunner) -> None:
    """A plain call that submits another plain one through its loop does not wait for its own thread."""

    async def submit() -> Any:
        return (await runner.submit("b", lambda: 42)).result()

    with anyio.fail_after(5):
        async with runner.start():
            slot = await runner.submit("a", lambda: anyio.from_thread.run(submit))
    assert slot.result() == 42


async def test_context_variables_stay_in_the_call(runner: SequentialTaskRunner) -> None:
    """Of an async call, and of the awaitable that a plain one gives."""

    async def change() -> int:
        VAR.set(VAR.get() + 1)
        await anyio.lowlevel.checkpoint()
        return VAR.get()

    VAR.set(1)
    async with runner.start():
        assert (await runner.submit("async", change)).result() == 2
        assert (await runner.submit("awaitable", lambda: change())).result()  # noqa: PLW0108 - a plain one == 2
    assert VAR.get() == 1


@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_cancelled_by_an_instrument_before_it_begins(kind: Callable[..., Any]) -> None:
    """Whoever is told of a submit may cancel it at once; it never begins."""

    class Cancelling(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            if event.key == "k":
                runner_of_test.cancel("k", "not that one")

    runner_of_test = runner = kind(instruments=[Cancelling()])
    async with runner.start():
        slot = await runner.submit("k", give)
        assert (slot.state, slot.reason) == (State.CANCELLED, "not that one")
        assert await (await runner.submit("l", give, 2)) == 2
        assert runner.submit_nowait("m", give, 3) is runner.slots["m"]
    assert runner.slots["m"].result() == 3


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_no_ring_keeps_what_a_call_was_given(runner: SequentialTaskRunner, how: str) -> None:
    """Arguments and slot are freed without the garbage collector, however the call ended."""

    class Payload:
        pass

    async def use(payload: Payload) -> None:
        if how == "fail":
            raise ValueError
        await forever()

    async def submit(payload: Payload) -> None:
        with anyio.move_on_after(0.01):
            await runner.submit("k", use, payload)

    payload = Payload()
    alive = weakref.ref(payload)
    gc.collect()
    gc.disable()
    try:
        async with runner.start():
            await submit(payload)
            runner.pop("k")
            del payload
            # asyncio's own handle of the last step may hold a frame for one turn more.
            await anyio.lowlevel.checkpoint()
            assert alive() is None
    finally:
        gc.enable()


async def test_failing_guests_of_a_runner_that_cancels() -> None:
    """A group of a user's own class is in the group that `start()` raises, whatever its class."""

    class OwnGroup(BaseExceptionGroup[Exception]):
        pass

    runner = SequentialTaskRunner(on_error="cancel")
    error = OwnGroup("own", [ValueError()])
    with pytest.raises(BaseExceptionGroup) as caught:
        async with runner.start():
            await runner.submit("k", fail, error)
    assert caught.value.exceptions == (error,)


async def test_ctrl_c_in_the_body_of_a_runner_that_cancels() -> None:
    """It comes out bare, although a call has failed; that one is logged as any that nobody read."""
    runner = SequentialTaskRunner(on_error="cancel")
    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            await runner.submit("k", fail)
            raise KeyboardInterrupt
    assert sys.exc_info() == (None, None, None)


async def test_the_exit_waits_for_them(runner: SequentialTaskRunner) -> None:
    """A call in the task of somebody else is one of the run's."""
    gate = Gate()

    async def open_late() -> None:
        await anyio.sleep(0.05)
        assert gate.inside == 1
        gate.open.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            async with runner.start():
                await start_in(group, runner.submit, "k", gate, 3)
                group.start_soon(open_late)
            assert gate.inside == 0
            assert runner.slots["k"].result() == 3


async def test_the_exit_waits_for_those_that_come_late(runner: SequentialTaskRunner) -> None:
    """For as long as a call of its own goes on the runner takes more: also from other tasks."""
    queued, guest = Gate(), Gate()

    async def submit_late() -> None:
        await anyio.sleep(0.05)
        await start_in(group, runner.submit, "guest", guest, 3)
        queued.open.set()
        await anyio.sleep(0.05)
        assert runner.slots["queued"].done
        guest.open.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            async with runner.start():
                runner.submit_nowait("queued", queued)
                group.start_soon(submit_late)
            assert (queued.inside, guest.inside) == (0, 0)
            assert runner.slots["guest"].result() == 3


async def test_a_halt_reaches_them(runner: SequentialTaskRunner) -> None:
    """The body raises: what others carry out for the runner is cancelled, too; they are not."""
    through: list[State] = []

    async def submit() -> None:
        through.append((await runner.submit("k", forever)).state)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            with pytest.raises(LookupError):
                async with runner.start():
                    await start_in(group, submit)
                    raise LookupError
            slot = runner.slots["k"]
            assert (slot.state, slot.origin) == (State.CANCELLED, "closed")
    assert through == [State.CANCELLED]
