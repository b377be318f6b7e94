"""The capture rule, clauses 7 to 11, and slots: how an outcome is kept, read and waited for."""

from __future__ import annotations

import gc
import logging
import threading
import traceback
import weakref
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from outcome import Error, Value

from calls import Gate, fail, forever, give, settle_down, swallow
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    NotSettled,
    SequentialTaskRunner,
    Slot,
    State,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


@pytest.mark.parametrize("value", [None, 0, False, "", [], 4])
async def test_clause_7_a_value_beats_a_late_cancel(runner: ConcurrentTaskRunner, value: object) -> None:
    """A call that returned is COMPLETED, although it was being cancelled, whatever it returned."""
    async with runner.start():
        slot: Slot[Any] = runner.submit_nowait(1, swallow, value)
        await settle_down()
        assert runner.cancel(1) is True
        assert await runner.wait(1) == Value(value)
        assert runner.cancel(1) is False
        # The carrier is in order again for the next call.
        assert await runner.submit_nowait(2, give, 2) == 2
    assert slot.state is State.COMPLETED


async def test_clause_7_holds_against_an_outer_cancel(runner: ConcurrentTaskRunner) -> None:
    """Also when an enclosing scope is what was cancelled."""
    with anyio.CancelScope() as outer:
        async with runner.start():
            slot = runner.submit_nowait(1, swallow)
            await settle_down()
            outer.cancel()
    assert slot.result() == 4


async def test_clause_8_every_slot_is_final_at_the_exit() -> None:
    """Whatever never ran is cancelled; no waiter waits for ever."""
    runner = ConcurrentTaskRunner(max_workers=1)
    seen: list[Any] = []

    async def watch(key: object) -> None:
        seen.append(await runner.wait(key))

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.1):
            async with runner.start():
                for key in range(3):
                    runner.submit_nowait(key, forever)
                runner.reserve("r")
                for name in (0, 1, 2, "r"):
                    group.start_soon(watch, name)
    origins = [runner.slots[key].origin for key in (0, 1, 2, "r")]
    assert origins == ["outer", "closed", "closed", "lost"]
    assert len(seen) == 4


async def test_clause_9_no_live_cancelled_is_stored(runner: ConcurrentTaskRunner) -> None:
    """What a cancelled slot gives is an ordinary exception with the facts in it."""
    async with runner.start():
        slot = runner.submit_nowait("k", forever)
        await settle_down()
        runner.cancel("k", "because")
        outcome = await runner.wait("k")
    assert isinstance(outcome, Error)
    error = outcome.error
    assert isinstance(error, CallCancelled)
    assert isinstance(error, Exception)
    assert (error.key, error.origin, error.reason) == ("k", "cancel", "because")
    assert str(error) == "call 'k' was cancelled (cancel): because"
    assert error.__context__ is None
    with pytest.raises(CallCancelled) as first:
        slot.result()
    with pytest.raises(CallCancelled) as second:
        await slot
    assert first.value is not second.value


async def test_clause_10_each_reader_has_a_fresh_outcome(runner: ConcurrentTaskRunner) -> None:
    """`unwrap` works once, so nobody is handed one that somebody else may have used."""
    async with runner.start():
        slot = runner.submit_nowait(1, give, 1)
        for _ in range(3):
            outcome = await runner.wait(1)
            assert outcome is not None
            assert outcome.unwrap() == 1
            assert slot.outcome.unwrap() == 1


@pytest.mark.parametrize("plain", [False, True])
async def test_clause_10_the_traceback_does_not_grow(
    runner: ConcurrentTaskRunner, plain: bool, real_time: None
) -> None:
    """The original exception, with its traceback as it was; creche's own frames are left out."""
    error = ValueError("once")

    def raise_plainly() -> None:
        raise error

    async with runner.start():
        slot: Slot[Any] = runner.submit_nowait(1, raise_plainly if plain else partial(fail, error))
        depths: list[int] = []
        for _ in range(4):
            for read in (lambda: runner.result(1), lambda: slot, lambda: runner.wait(1)):
                try:
                    got: Any = await read()
                    raised = got.error
                except ValueError as exc:
                    raised = exc
                assert raised is error
            outcome = slot.outcome
            assert isinstance(outcome, Error)
            depths.append(len(traceback.extract_tb(outcome.error.__traceback__)))
    assert depths == [1, 1, 1, 1]
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert last.name in {"raise_plainly", "fail"}


async def test_a_traceback_without_frames_of_the_user_is_kept(runner: ConcurrentTaskRunner) -> None:
    """A call with the wrong arguments fails in a frame of creche's; something is shown all the same."""
    async with runner.start():
        slot = runner.submit_nowait(1, give, 1, 2, 3)  # type: ignore[call-arg,arg-type]  # wrong on purpose
    outcome = slot.outcome
    assert isinstance(outcome, Error)
    assert isinstance(outcome.error, TypeError)
    assert outcome.error.__traceback__ is not None


async def test_the_attributes_of_a_slot(runner: ConcurrentTaskRunner) -> None:
    """A slot tells its key, state, origin, reason and attempt, and is readable in print."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate)
        reserved = runner.reserve("r")
        assert (slot.key, slot.state, slot.done, slot.attempt) == ("k", State.PENDING, False, 1)
        assert (slot.origin, slot.reason, slot.reserved, reserved.reserved) == (
            None,
            None,
            False,
            True,
        )
        await settle_down()
        assert repr(slot) == "<creche.Slot 'k' RUNNING>"
        assert repr(reserved) == "<creche.Slot 'r' PENDING (reserved)>"
        with pytest.raises(NotSettled, match="'k'.*await slot"):
            _ = slot.outcome
        with pytest.raises(NotSettled, match="await slot"):
            slot.result()
        gate.open.set()
        await slot
        assert repr(slot) == "<creche.Slot 'k' COMPLETED>"
        runner.cancel("r")
        assert repr(reserved) == "<creche.Slot 'r' CANCELLED (cancel)>"


async def test_done_callbacks(runner: ConcurrentTaskRunner, caplog: pytest.LogCaptureFixture) -> None:
    """Called once with the slot, on the home loop's thread; an error in one stops nobody."""
    calls: list[tuple[int, Slot[Any], int]] = []

    def note(n: int, slot: Slot[Any]) -> None:
        calls.append((n, slot, threading.get_ident()))
        if n == 1:
            raise LookupError("in a callback")

    async with runner.start():
        slot = runner.submit_nowait(1, give)
        slot.add_done_callback(partial(note, 1))
        slot.add_done_callback(partial(note, 2))
        with caplog.at_level(logging.ERROR, "creche"):
            await slot
            slot.add_done_callback(partial(note, 3))
        with pytest.raises(TypeError, match="callable"):
            slot.add_done_callback(1)  # type: ignore[arg-type]  # wrong on purpose
    assert calls == [(n, slot, threading.get_ident()) for n in (1, 2, 3)]
    assert [record.getMessage().split()[:2] for record in caplog.records] == [["done", "callback"]]


async def test_a_thread_without_a_loop_may_block_on_a_slot(
    runner: ConcurrentTaskRunner, real_time: None
) -> None:
    """`slot.result()` waits there; on a loop it never does."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait(1, gate, 9)
        await settle_down()

        def too_short() -> None:
            with pytest.raises(TimeoutError, match="call 1 has not ended within 0.01 seconds"):
                slot.result(timeout=0.01)

        await anyio.to_thread.run_sync(too_short)
        async with anyio.create_task_group() as group:

            async def block() -> None:
                assert await anyio.to_thread.run_sync(slot.result) == 9

            group.start_soon(block)
            await settle_down()
            gate.open.set()
        assert await anyio.to_thread.run_sync(slot.result, 0) == 9


async def test_many_waiters_and_some_that_leave(runner: ConcurrentTaskRunner) -> None:
    """A thousand waiters are all woken; those that were cancelled have left nothing behind."""
    gate, woken = Gate(), 0

    async def wait() -> None:
        nonlocal woken
        assert await runner.wait(1) == Value(1)
        woken += 1

    async with runner.start():
        slot = runner.submit_nowait(1, gate, 1)
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as leaving:
                async with anyio.create_task_group() as leavers:
                    for _ in range(500):
                        leavers.start_soon(wait)
                        group.start_soon(wait)
                    await settle_down()
                    leaving.cancel()
            await settle_down()
            assert len(slot._wakers) == 500  # type: ignore[arg-type]  # there are some
            gate.open.set()
    assert woken == 500
    assert slot._wakers is None


async def test_a_slot_is_taken_for_its_key_everywhere(runner: ConcurrentTaskRunner) -> None:
    """Where a key is asked for, the handle will do; also when the board has forgotten the key."""
    async with runner.start():
        slot = runner.submit_nowait(1, give, 1)
        other = runner.submit_nowait(2, forever)
        assert await runner.wait(slot) == Value(1)
        assert await runner.result(slot) == 1
        assert runner.pop(slot) is slot
        assert await runner.wait(slot, 0) == Value(1)
        assert await runner.result(slot) == 1
        assert runner.cancel(slot) is False
        async with runner.as_completed([slot]) as slots:
            assert [one async for one in slots] == [slot]
        await settle_down()
        assert runner.cancel(other) is True


class Thing:
    """Something that can be watched."""

    async def use(self, other: Thing) -> None:
        await anyio.lowlevel.checkpoint()


async def test_a_settled_slot_keeps_neither_function_nor_arguments(
    runner: ConcurrentTaskRunner,
) -> None:
    """What was called with what is freed when the call has ended, idle carriers included."""
    async with runner.start():
        fn, arg = Thing(), Thing()
        refs = [weakref.ref(fn), weakref.ref(arg)]
        slot = runner.submit_nowait(1, fn.use, arg)
        cancelled = runner.submit_nowait(2, fn.use, arg)
        runner.cancel(2)
        del fn, arg
        await slot
        await settle_down()
        gc.collect()
        assert [ref() for ref in refs] == [None, None]
    assert slot.done
    assert cancelled.done


@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_a_call_that_waits_for_itself(kind: Callable[[], Any]) -> None:
    """It is told so at once, instead of waiting for ever."""
    runner = kind()
    said: list[str] = []

    async def wait_for_me() -> None:
        own = runner.slots["me"]
        for wait in (
            lambda: runner.wait("me"),
            lambda: runner.wait("me", 0),
            lambda: runner.result("me"),
            lambda: own,
            lambda: runner.as_completed(["me"]).__aenter__(),
        ):
            with pytest.raises(RuntimeError, match="'me' waits for itself") as caught:
                await wait()  # type: ignore[no-untyped-call]  # one of several kinds of waits
            said.append(str(caught.value))

    async with runner.start():
        await runner.submit("me", wait_for_me)
    assert runner.slots["me"].result() is None
    assert len(said) == 5


async def test_a_slot_waits_in_any_context(runner: ConcurrentTaskRunner) -> None:
    """A context without any variable is a context too."""
    async with runner.start():
        slot = copy_context().run(runner.submit_nowait, 1, give, 3)
        assert await slot == 3


async def test_timeouts(runner: ConcurrentTaskRunner) -> None:
    """None when the time passed, and the call goes on; a settled slot beats a timeout of 0."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait(1, gate, 1)
        assert await runner.wait(1, timeout=0) is None
        assert await runner.wait(1, timeout=0.01) is None
        assert slot._wakers is None
        gate.open.set()
        assert await runner.wait(1, timeout=5) == Value(1)
        assert await runner.wait(1, timeout=0) == Value(1)
        assert await runner.wait(1, timeout=float("inf")) == Value(1)


async def test_a_done_callback_on_a_settled_slot(caplog: pytest.LogCaptureFixture) -> None:
    """It is called at once; an error in it is logged, and not raised to whoever adds it."""
    called: list[object] = []

    def broken(slot: object) -> None:
        called.append(slot)
        raise LookupError("of the callback")

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", give)
        await slot
        slot.add_done_callback(broken)
    assert called == [slot]
    assert "of the callback" in caplog.text
