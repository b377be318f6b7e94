"""The capture rule, clauses 1 to 6: what comes out of a call, and what of it travels on."""

from __future__ import annotations

import asyncio
import gc
import signal
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import (
    error_of,
    fail,
    forever,
    give,
    nested,
    nested_and_failing,
    settle_down,
    stray,
)
from creche import CallCancelled, ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


class OwnError(BaseException):
    """A user's own exception that is no `Exception`."""


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_clause_1_a_key_is_cancelled_alone(runner: ConcurrentTaskRunner) -> None:
    """Cancelling one key ends that call, whatever tasks it has, and no other."""
    async with runner.start():
        one = runner.submit_nowait(1, nested)
        other = runner.submit_nowait(2, forever)
        await settle_down()
        runner.cancel(1, "enough")
        await runner.wait(1)
        assert (one.state, one.origin, one.reason) == (State.CANCELLED, "cancel", "enough")
        assert other.state is State.RUNNING
        runner.cancel(2)
    assert other.origin == "cancel"


async def test_clause_1_what_is_left_after_the_scope_came_from_outside(
    runner: ConcurrentTaskRunner,
) -> None:
    """A key that is cancelled while an enclosing scope is cancelled too ends as `outer`."""
    with anyio.CancelScope() as outer:
        async with runner.start():
            slot = runner.submit_nowait(1, forever)
            await settle_down()
            runner.cancel(1)
            outer.cancel()
    assert outer.cancelled_caught
    assert slot.origin == "outer"


async def test_clause_2_a_nursery_in_the_call_is_split(runner: ConcurrentTaskRunner) -> None:
    """A group of nothing but cancellations is a cancellation."""
    async with runner.start():
        slot = runner.submit_nowait(1, nested)
        await settle_down()
        runner.cancel(1)
    assert slot.state is State.CANCELLED


async def test_clause_3_an_outer_cancellation_is_settled_and_raised_again(
    runner: ConcurrentTaskRunner,
) -> None:
    """An outer scope stops the run: its calls are `outer`, and the scope catches what comes out."""
    after = False
    with anyio.CancelScope() as outer:
        async with runner.start():
            slots = [runner.submit_nowait(key, nested) for key in range(3)]
            await settle_down()
            outer.cancel()
            await anyio.sleep_forever()
        after = True
    assert outer.cancelled_caught
    assert not after
    assert {slot.origin for slot in slots} == {"outer"}


async def test_clause_3_a_deadline_around_the_runner_holds(runner: ConcurrentTaskRunner) -> None:
    """`fail_after` around a run that only waits for its calls ends it."""
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.05):
            async with runner.start():
                slot = runner.submit_nowait(1, forever)
    assert slot.origin == "outer"


async def test_clause_4_a_stray_cancellation_is_contained(runner: ConcurrentTaskRunner) -> None:
    """A cancellation that belongs to nobody ends its own call only."""
    async with runner.start():
        one = runner.submit_nowait(1, stray)
        other = runner.submit_nowait(2, give, 5)
        assert isinstance(error_of(await runner.wait(1)), CallCancelled)
        await anyio.sleep(0.01)
        assert await other == 5
        assert await runner.submit_nowait(3, give, 6) == 6
    assert (one.state, one.origin) == (State.CANCELLED, "foreign")


async def test_clause_4_a_native_cancel_of_a_call_is_contained(
    runner: ConcurrentTaskRunner,
    anyio_backend_name: str,
) -> None:
    """On asyncio, `Task.cancel` of one call's task ends that call only."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no native cancel")
    tasks: list[asyncio.Task[Any]] = []

    async def tell_task() -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]  # in a task there is one
        await anyio.sleep_forever()

    async with runner.start():
        one = runner.submit_nowait(1, tell_task)
        other = runner.submit_nowait(2, forever)
        await settle_down()
        tasks[0].cancel()
        await runner.wait(1)
        await anyio.sleep(0.01)
        assert (one.origin, other.state) == ("foreign", State.RUNNING)
        runner.cancel(2)
    host = asyncio.current_task()
    assert host is not None
    assert host.cancelling() == 0


async def test_clause_4_a_call_that_raises_the_loops_cancelled_is_contained(
    runner: ConcurrentTaskRunner,
    anyio_backend_name: str,
) -> None:
    """A call that raises asyncio's `CancelledError` by itself harms nobody else."""
    if anyio_backend_name == "trio":
        pytest.skip("nobody can make a trio.Cancelled")
    async with runner.start():
        one = runner.submit_nowait(1, fail, asyncio.CancelledError())
        other = runner.submit_nowait(2, give, 2)
        assert await other == 2
    assert one.origin == "foreign"


FATAL: list[Callable[[], BaseException]] = [KeyboardInterrupt, SystemExit, GeneratorExit, OwnError]


@pytest.mark.parametrize("kind", FATAL)
async def test_clause_5_what_is_no_exception_comes_out_of_start(
    runner: ConcurrentTaskRunner,
    kind: Callable[[], BaseException],
) -> None:
    """It settles CRASHED, closes the runner, and is raised by the host, bare and the same object."""
    error = kind()
    with pytest.raises(type(error)) as caught:
        async with runner.start():
            slot = runner.submit_nowait(1, fail, error)
            other = runner.submit_nowait(2, forever)
            await anyio.sleep_forever()
    assert caught.value is error
    assert slot.state is State.CRASHED
    assert error_of(slot.outcome) is error
    origin = "outer" if isinstance(error, KeyboardInterrupt) else "closed"
    assert (other.state, other.origin) == (State.CANCELLED, origin)


@pytest.mark.parametrize("kind", FATAL)
async def test_clause_5_holds_in_a_thread(
    runner: ConcurrentTaskRunner,
    kind: Callable[[], BaseException],
    real_time: None,
) -> None:
    """What a plain function raises that is no `Exception` crosses the thread and comes out."""
    error = kind()

    def plain() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        async with runner.start():
            slot = runner.submit_nowait(1, plain)
            await anyio.sleep_forever()
    assert caught.value is error
    assert slot.state is State.CRASHED


async def test_clause_5_several_keyboard_interrupts_are_one(runner: ConcurrentTaskRunner) -> None:
    """However many calls were hit, the user has pressed the keys once."""
    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            for key in range(3):
                runner.submit_nowait(key, fail, KeyboardInterrupt())
            await anyio.sleep_forever()
    assert {slot.state for slot in runner.slots.values()} <= {State.CRASHED, State.CANCELLED}


async def test_clause_5_different_crashes_come_in_a_group(runner: ConcurrentTaskRunner) -> None:
    """Two crashes of different kinds are both heard of."""
    gate = anyio.Event()

    async def crash(error: BaseException) -> None:
        with anyio.CancelScope(shield=True):
            await gate.wait()
        raise error

    with pytest.raises(BaseExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait(1, crash, SystemExit(3))
            runner.submit_nowait(2, crash, OwnError())
            await settle_down()
            gate.set()
            await anyio.sleep_forever()
    assert {type(error) for error in caught.value.exceptions} == {SystemExit, OwnError}


async def test_clause_5_holds_for_a_sequential_submit() -> None:
    """`submit` never raises for the call; the crash comes out of `start()`."""
    runner = SequentialTaskRunner()
    returned = False
    with pytest.raises(SystemExit):
        async with runner.start():
            slot = await runner.submit(1, fail, SystemExit())
            returned = True
            await anyio.sleep_forever()
    assert returned
    assert slot.state is State.CRASHED


async def test_clause_6_a_mixed_group_fails_with_the_rest(runner: ConcurrentTaskRunner) -> None:
    """What is left beside the cancellation is what the call failed with."""
    async with runner.start():
        slot = runner.submit_nowait(1, nested_and_failing)
        await settle_down()
        runner.cancel(1)
        outcome = await runner.wait(1)
    assert slot.state is State.FAILED
    error = error_of(outcome)
    assert isinstance(error, ExceptionGroup)
    assert [type(leaf) for leaf in error.exceptions] == [KeyError]


async def test_clause_6_the_cancellation_part_travels_on(runner: ConcurrentTaskRunner) -> None:
    """A mixed group under an outer cancellation fails, and the outer scope still catches its part."""
    with anyio.CancelScope() as outer:
        async with runner.start():
            slot = runner.submit_nowait(1, nested_and_failing)
            await settle_down()
            outer.cancel()
    assert outer.cancelled_caught
    assert slot.state is State.FAILED


async def test_clause_6_a_mixed_group_without_an_outer_cancellation_is_contained(
    runner: ConcurrentTaskRunner,
) -> None:
    """The stray part of a mixed group goes nowhere."""

    async def mixed() -> None:
        try:
            await stray()
        except BaseException as exc:
            raise BaseExceptionGroup("mixed", [exc, KeyError("k")]) from None

    async with runner.start():
        slot = runner.submit_nowait(1, mixed)
        await runner.wait(1)
        assert await runner.submit_nowait(2, give, 2) == 2
    assert slot.state is State.FAILED


async def test_no_cycle_goes_through_a_settled_slot(runner: ConcurrentTaskRunner) -> None:
    """A failed slot is freed as soon as nobody holds it, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        async with runner.start():
            slot = runner.submit_nowait(1, fail)
            for _ in range(2):
                with pytest.raises(ValueError, match="b"):
                    await runner.result(1)
                with pytest.raises(ValueError, match="b"):
                    await slot
                with pytest.raises(ValueError, match="b"):
                    slot.result()
            ref = weakref.ref(slot)
            runner.forget(1)
            del slot
            assert ref() is None
    finally:
        gc.enable()


def test_ctrl_c_is_a_signal_that_python_handles() -> None:
    """The tests of Ctrl-C rely on Python's own handler."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
