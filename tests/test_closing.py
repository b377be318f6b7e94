"""Leaving `start()`: whatever happens, every slot is final, and what is due comes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    RunnerClosed,
    State,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_a_normal_exit_waits_for_every_call(runner: ConcurrentTaskRunner) -> None:
    """Leaving the block waits, and the value is there."""
    async with runner.start():
        slot = runner.submit_nowait(1, anyio.sleep, 0.01)
    assert slot.state is State.COMPLETED


async def test_the_bodys_exception_comes_out_bare(runner: ConcurrentTaskRunner) -> None:
    """The body's own exception is not wrapped, and cancels what runs and what waits."""
    error = LookupError("body")
    bounded = ConcurrentTaskRunner(max_workers=1)
    with pytest.raises(LookupError) as caught:
        async with bounded.start():
            running = bounded.submit_nowait(1, forever)
            pending = bounded.submit_nowait(2, forever)
            await settle_down()
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert (running.origin, pending.origin) == ("closed", "closed")
    assert "LookupError" in str(pending.reason)


async def test_a_group_raised_by_the_body_stays_that_group(runner: ConcurrentTaskRunner) -> None:
    """A group is an exception like any other."""
    error = ExceptionGroup("mine", [ValueError(1)])
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            raise error
    assert caught.value is error


async def test_the_body_cancelled_before_its_first_checkpoint(runner: ConcurrentTaskRunner) -> None:
    """Entering is no checkpoint; the first one in the block is where it ends."""
    entered = False
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with runner.start():
            entered = True
            slot = runner.submit_nowait(1, forever)
    assert entered
    assert scope.cancelled_caught
    assert (slot.state, slot.origin) == (State.CANCELLED, "closed")


async def test_a_failed_call_stops_nobody(runner: ConcurrentTaskRunner) -> None:
    """With `on_error="collect"` the run goes on."""
    async with runner.start():
        runner.submit_nowait(1, fail)
        other = runner.submit_nowait(2, give, 2)
        outcome = await runner.wait(1)
    assert isinstance(outcome.error, ValueError)  # type: ignore[attr-defined]  # it has failed
    assert other.result() == 2


async def test_unread_failures_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """At the exit one line names the keys of the failures that nobody has looked at."""
    for retain in (True, False):
        caplog.clear()
        runner = ConcurrentTaskRunner(retain=retain)
        with caplog.at_level(logging.ERROR, "creche"):
            async with runner.start():
                read = runner.submit_nowait("read", fail)
                runner.submit_nowait("unread", fail)
                with pytest.raises(ValueError, match="b"):
                    await read
        assert [record.name for record in caplog.records] == ["creche"]
        assert "'unread'" in caplog.text
        assert "'read'" not in caplog.text


async def test_a_failure_cancels_the_rest_if_asked_to() -> None:
    """With `on_error="cancel"` every failure is in the group, each with a note of its key."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    body = False
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("bad", fail)
            runner.submit_nowait("long", forever)
            try:
                await anyio.sleep_forever()
            finally:
                body = True
    assert body
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert caught.value.exceptions[0].__notes__ == ["in call 'bad'"]
    assert runner.slots["long"].origin == "closed"


async def test_the_group_holds_the_bodys_own_failure_once() -> None:
    """A body that reads the failed call raises the same exception: it is in the group once."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("bad", fail)
            with anyio.CancelScope(shield=True):
                await runner.result("bad")
    assert len(caught.value.exceptions) == 1

    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("bad", fail)
            try:
                await anyio.sleep_forever()
            finally:
                raise LookupError
    assert [type(error) for error in caught.value.exceptions] == [ValueError, LookupError]


async def test_nothing_is_taken_while_a_run_is_halted(runner: ConcurrentTaskRunner) -> None:
    """A call that is being cancelled submits and reserves in vain; nothing of that is on the board."""
    refused: list[str] = []

    async def cleans_up() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            attempts: list[Any] = [
                partial(runner.submit_nowait, "plain", give),
                partial(runner.submit_nowait, "wishful", give, priority=1),
                partial(runner.reserve, "reserved"),
            ]
            for try_it in attempts:
                with pytest.raises(RunnerClosed, match=r"is closing \(the body of the runner raised"):
                    try_it()
                refused.append("yes")

    with anyio.CancelScope(deadline=anyio.current_time() + 5) as scope, pytest.raises(LookupError):
        async with runner.start():
            runner.submit_nowait("k", cleans_up)
            await settle_down()
            raise LookupError
    assert not scope.cancel_called
    assert len(refused) == 3
    assert list(runner.slots) == ["k"]


async def test_calls_may_submit_during_a_normal_exit(runner: ConcurrentTaskRunner) -> None:
    """As in a nursery: only when nothing is left is the intake closed."""

    async def chain(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        if n:
            runner.submit_nowait(n, chain, n - 1)
        return n

    async with runner.start():
        runner.submit_nowait("first", chain, 5)
    assert [slot.result() for slot in runner.slots.values()] == [5, 4, 3, 2, 1, 0]
    with pytest.raises(RunnerClosed, match="start it again"):
        runner.submit_nowait("late", give)


async def test_nothing_new_starts_once_an_enclosing_scope_is_cancelled() -> None:
    """A carrier whose call swallowed the cancellation does not begin the next one."""
    runner = ConcurrentTaskRunner(max_workers=1)
    begun: list[int] = []

    async def stubborn(n: int) -> int:
        begun.append(n)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        return n

    with anyio.move_on_after(0.5):
        async with runner.start():
            for n in range(3):
                runner.submit_nowait(n, stubborn, n)
    assert begun == [0]
    assert runner.slots[0].result() == 0
    assert {runner.slots[n].origin for n in (1, 2)} == {"closed"}


async def test_an_outer_cancellation_that_only_drops_calls_goes_on_outwards() -> None:
    """The scope around a run is told that it cut something, although every running call returned."""
    runner = ConcurrentTaskRunner(max_workers=1)
    with anyio.CancelScope() as scope:
        async with runner.start():

            async def end_it() -> None:
                scope.cancel()

            runner.submit_nowait(1, end_it)
            runner.submit_nowait(2, forever)
    assert scope.cancelled_caught
    assert runner.slots[1].state is State.COMPLETED


@pytest.mark.parametrize("times", [1, 2])
async def test_a_native_cancel_of_the_host(
    runner: ConcurrentTaskRunner, anyio_backend_name: str, times: int
) -> None:
    """On asyncio, `Task.cancel` of the host ends the run, at the first and at the second time."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no native cancel")
    releases = anyio.Event()

    async def slow_to_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await releases.wait()

    async def host() -> None:
        async with runner.start():
            runner.submit_nowait(1, slow_to_end)
            await anyio.sleep_forever()

    task = asyncio.ensure_future(host())
    await settle_down()
    task.cancel()
    await settle_down()
    if times == 2:
        task.cancel()
        await settle_down()
    assert not task.done()
    releases.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.slots[1].origin == "outer"


async def test_asyncio_timeout_around_a_run(
    runner: ConcurrentTaskRunner, anyio_backend_name: str
) -> None:
    """Asyncio's own timeouts work around a run, and leave no cancellation behind."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio.timeout is asyncio's")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            async with runner.start():
                runner.submit_nowait(1, forever)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_reservation_nobody_fills_is_lost(runner: ConcurrentTaskRunner) -> None:
    """At the exit it settles, also when a call waits for it; nobody waits for ever."""
    gate = Gate()

    async def wait_for_it() -> Any:
        await gate()
        return await runner.wait("never")

    async with runner.start():
        reserved = runner.reserve("never")
        waiting = runner.submit_nowait("w", wait_for_it)
        busy = runner.submit_nowait("busy", anyio.sleep, 0.01)
        gate.open.set()
    assert (reserved.state, reserved.origin) == (State.CANCELLED, "lost")
    assert busy.state is State.COMPLETED
    assert isinstance(waiting.result().error, CallCancelled)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_native_cancel_of_the_host_while_it_waits_at_the_end(
    anyio_backend_name: str, times: int
) -> None:
    """On asyncio it is not lost there: the calls end as `outer`, and the host is cancelled."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no native cancel")
    bounded = ConcurrentTaskRunner(max_workers=1)

    async def host() -> None:
        async with bounded.start():
            bounded.submit_nowait("runs", forever)
            bounded.submit_nowait("waits", forever)

    task = asyncio.ensure_future(host())
    await settle_down()
    for _ in range(times):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert [bounded.slots[key].origin for key in ("runs", "waits")] == ["outer", "closed"]


async def test_a_deadline_in_the_body_leaves_the_run_alone(runner: ConcurrentTaskRunner) -> None:
    """A scope inside the body cancels what is in it, and no call."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait(1, gate, 1)
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                await runner.wait(1)
        gate.open.set()
    assert slot.result() == 1


async def test_a_run_held_by_an_async_generator_that_is_closed(runner: ConcurrentTaskRunner) -> None:
    """`aclose` in the same task leaves the run as a raising body does."""

    async def holding() -> AsyncGenerator[int, None]:
        async with runner.start():
            runner.submit_nowait(1, forever)
            await settle_down()
            yield 1

    held = holding()
    await anext(held)
    await held.aclose()
    assert not runner.is_started
    assert (runner.slots[1].state, runner.slots[1].origin) == (State.CANCELLED, "closed")


async def test_a_run_in_a_call_of_another_that_crashes(runner: ConcurrentTaskRunner) -> None:
    """The crash comes out of the inner run, crashes the outer call, and comes out of the outer run."""
    inner = ConcurrentTaskRunner()

    async def call() -> None:
        async with inner.start():
            inner.submit_nowait("crash", fail, SystemExit(5))
            await anyio.sleep_forever()

    with pytest.raises(SystemExit) as caught:
        async with runner.start():
            runner.submit_nowait("call", call)
            other = runner.submit_nowait("other", forever)
            await anyio.sleep_forever()
    assert caught.value.code == 5
    assert runner.slots["call"].state is inner.slots["crash"].state is State.CRASHED
    assert other.origin == "closed"
    assert not inner.is_started


@pytest.mark.parametrize("end", ["crash", "outer", "body"])
async def test_a_runner_starts_again_after_any_end(runner: ConcurrentTaskRunner, end: str) -> None:
    """However a run ended, the next one begins empty and works."""
    with anyio.CancelScope() as scope:
        try:
            async with runner.start():
                runner.submit_nowait("old", forever)
                await settle_down()
                if end == "crash":
                    runner.submit_nowait("crash", fail, SystemExit())
                    await anyio.sleep_forever()
                elif end == "outer":
                    scope.cancel()
                    await anyio.sleep_forever()
                raise LookupError
        except (LookupError, SystemExit):
            pass
    assert runner.slots["old"].done
    async with runner.start():
        assert dict(runner.slots) == {}
        assert await runner.submit_nowait("new", give, 1) == 1


async def test_a_reservation_waited_for_with_a_time_limit_is_not_given_up(
    runner: ConcurrentTaskRunner,
) -> None:
    """A call that will wake up by its own clock is active: it may submit what it waited for."""

    async def fill_it_in_the_end() -> Any:
        if await runner.wait("late", timeout=0.01) is None:
            runner.submit_nowait("late", give, 9)
        return await runner.result("late")

    async with runner.start():
        runner.reserve("late")
        slot = runner.submit_nowait("call", fill_it_in_the_end)
    assert slot.result() == 9
