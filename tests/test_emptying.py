"""Emptying a runner: cancelling many, waiting until it is idle, draining it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from calls import Gate, error_of, fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, RunnerClosed, RunnerNotStarted, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_cancel_matching(runner: ConcurrentTaskRunner) -> None:
    """Every open slot is asked about, pending, running or reserved; the others are left alone."""
    async with runner.start():
        await runner.submit_nowait("done", give)
        for key in ("a1", "a2", "b1"):
            runner.submit_nowait(key, forever)
        runner.submit_nowait("a3", give, after=["a1"])
        runner.reserve("a4")
        await settle_down()
        cancelled = runner.cancel_matching(lambda slot: str(slot.key).startswith("a"), "no more a")
        assert [slot.key for slot in cancelled] == ["a1", "a2", "a3", "a4"]
        await runner.wait("a2")
        assert runner.slots["a2"].reason == "no more a"
        assert not runner.slots["b1"].done
        assert [slot.key for slot in runner.cancel_all()] == ["b1"]
        assert await runner.submit_nowait("still open", give, 1) == 1
        assert runner.cancel_all() == []
        with pytest.raises(TypeError, match="a function of a slot"):
            runner.cancel_matching("a")  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(TypeError, match="reason"):
            runner.cancel_all(reason=3)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_until_idle(kind: Callable[[], Any]) -> None:
    """It waits for what comes meanwhile, too; not for reservations; the runner goes on."""
    runner = kind()
    seen: list[str] = []

    async def submit_another() -> None:
        await anyio.sleep(0.01)
        runner.submit_nowait("second", seen.append, "second")

    async with runner.start():
        await runner.until_idle()
        runner.reserve("never")
        runner.submit_nowait("first", submit_another)
        runner.submit_nowait("bad", fail)
        await runner.until_idle()
        assert seen == ["second"]
        assert runner.statistics().reserved == 1
        runner.submit_nowait("long", forever)
        with anyio.move_on_after(0.01) as scope:
            await runner.until_idle()
        assert scope.cancelled_caught
        runner.cancel("long")
        assert isinstance(runner.slots["bad"].outcome.error, ValueError)


async def test_drain_waits_and_then_cuts(runner: ConcurrentTaskRunner) -> None:
    """What ends in time has ended by itself; the keys of the rest come back in order."""
    gate = Gate()
    async with runner.start():
        runner.submit_nowait("long", forever)
        runner.submit_nowait("short", anyio.sleep, 0.01)
        runner.reserve("reserved")
        runner.submit_nowait("held", give, after=["short"])
        runner.submit_nowait("gate", gate)
        runner.submit_nowait("after reserved", give, after=["reserved"])
        assert await runner.drain(timeout=0.1) == ["long", "reserved", "gate"]
        assert await runner.drain() == []
        with pytest.raises(RunnerClosed, match="takes no more calls"):
            runner.submit_nowait("late", give)
        with pytest.raises(RunnerClosed):
            await runner.submit("late", give)
        with pytest.raises(RunnerClosed):
            runner.reserve("late")
    origins = {key: slot.origin for key, slot in runner.slots.items()}
    assert origins == {
        "long": "closed",
        "short": None,
        "reserved": "closed",
        "held": None,
        "gate": "closed",
        "after reserved": "upstream",
    }
    async with runner.start():
        assert await runner.submit_nowait("late", give, 1) == 1


async def test_drain_without_a_limit(runner: ConcurrentTaskRunner) -> None:
    """It waits for everything, and a call that submits is refused like anybody else."""
    refused: list[str] = []

    async def submit_late() -> None:
        await anyio.sleep(0.01)
        with pytest.raises(RunnerClosed):
            runner.submit_nowait("late", give)
        refused.append("late")

    async with runner.start():
        runner.submit_nowait("k", submit_late)
        assert await runner.drain() == []
    assert refused == ["late"]


async def test_aclose(runner: ConcurrentTaskRunner) -> None:
    """It does not wait for anything to end by itself, but for everything to unwind."""
    unwound: list[str] = []

    async def clean_up() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            unwound.append("k")

    async with runner.start():
        runner.submit_nowait("k", clean_up)
        await settle_down()
        runner.submit_nowait("pending", forever)
        assert await runner.aclose() == ["k", "pending"]
        assert unwound == ["k"]
        assert await runner.aclose() == []


async def test_a_drain_that_is_cancelled(runner: ConcurrentTaskRunner) -> None:
    """The intake stays closed, and the calls go on; the exit waits for them."""
    gate = Gate()
    async with runner.start():
        runner.submit_nowait("k", gate, 1)
        with anyio.move_on_after(0.01) as scope:
            await runner.drain()
        assert scope.cancelled_caught
        with pytest.raises(RunnerClosed):
            runner.submit_nowait("late", give)
        gate.open.set()
    assert runner.slots["k"].result() == 1


@pytest.mark.parametrize("what", ["drain", "aclose", "until_idle"])
async def test_a_call_of_the_runner_itself(runner: ConcurrentTaskRunner, what: str) -> None:
    """It would wait for itself, also from a task that it has started; nothing has happened then."""

    async def in_a_child() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(runner, what))

    async with runner.start():
        for key, call in ((1, getattr(runner, what)), (2, in_a_child)):
            runner.submit_nowait(key, call)
            error: Any = error_of(await runner.wait(key))
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            assert f"call {key} cannot await {what.replace('aclose', 'drain')}" in str(error)
        assert await runner.submit_nowait("open", give, 1) == 1
        other = ConcurrentTaskRunner()
        async with other.start():
            # A call of another runner may, of course.
            await other.submit_nowait("k", getattr(runner, what))


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
async def test_bad_input(runner: ConcurrentTaskRunner, timeout: Any, error: type[Exception]) -> None:
    """The message names the option; the intake is open still."""
    with pytest.raises(RunnerNotStarted):
        await runner.drain()
    async with runner.start():
        with pytest.raises(error, match="timeout"):
            await runner.drain(timeout)
        slot = runner.submit_nowait("k", give, 1)
        assert await slot == 1
        assert slot.state is State.COMPLETED


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("what", ["drain", "aclose", "until_idle"])
async def test_the_loop_of_another_thread(runner: ConcurrentTaskRunner, what: str) -> None:
    """It is refused before anything is done: the intake is open, and the calls go on."""

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another thread's event loop"):
            await getattr(runner, what)()

    async with runner.start():
        slot = runner.submit_nowait("k", forever)
        await anyio.to_thread.run_sync(trio.run, elsewhere)
        assert not slot.done
        assert await runner.submit_nowait("l", give, 1) == 1
        runner.cancel("k")


async def test_a_guest_in_the_task_of_a_call(runner: ConcurrentTaskRunner) -> None:
    """The message names the call of the runner that is asked, not the guest's."""
    other = SequentialTaskRunner()

    async def call() -> Any:
        return (await other.submit("guest", runner.until_idle)).outcome

    async with runner.start(), other.start():
        outcome = await runner.submit_nowait("call", call)
        assert "call 'call' cannot await until_idle" in str(outcome.error)


async def test_after_the_run(runner: ConcurrentTaskRunner) -> None:
    """Nothing is open then, and nothing is waited for."""
    async with runner.start():
        runner.submit_nowait("k", give)
    await runner.until_idle()
    assert await runner.drain() == await runner.aclose() == []
