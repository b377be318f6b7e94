"""Groups: a part of a runner's calls, awaited together and cancelled together; and races."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, RunnerClosed, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def after(seconds: float, value: Any = None) -> Any:
    """A value, or an error, after a time."""
    await anyio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


async def test_the_block_waits_for_its_own_calls(runner: ConcurrentTaskRunner) -> None:
    """And for no others; it raises nothing of theirs."""
    async with runner.start():
        other = runner.submit_nowait("other", forever)
        async with runner.group() as group:
            group.submit_nowait("a", after, 0.01, 1)
            await group.submit("b", fail)
            group.submit_nowait("c", give, 3, after=["a"])
        states = {key: slot.state for key, slot in group.slots.items()}
        assert states == {"a": State.COMPLETED, "b": State.FAILED, "c": State.COMPLETED}
        assert runner.slots["a"] is group.slots["a"]
        assert not other.done
        with pytest.raises(RunnerClosed, match="the group has ended"):
            group.submit_nowait("late", give)
        assert await runner.submit_nowait("late", give, 1) == 1
        runner.cancel("other")


async def test_calls_may_add_to_their_group(runner: ConcurrentTaskRunner) -> None:
    """Until nothing is left, as in a nursery."""

    async def add() -> None:
        await anyio.lowlevel.checkpoint()
        group.submit_nowait("added", after, 0.01, 1)

    async with runner.start(), runner.group() as group:
        group.submit_nowait("adds", add)
    assert group.slots["added"].result() == 1


async def test_a_block_that_raises_cancels_its_calls(runner: ConcurrentTaskRunner) -> None:
    """They have unwound when the exception comes out, which is the block's own."""
    gate = Gate()
    async with runner.start():
        with pytest.raises(LookupError):
            async with runner.group() as group:
                group.submit_nowait("k", gate)
                await settle_down()
                raise LookupError
        assert gate.inside == 0
        assert group.slots["k"].reason == "the block of its group raised LookupError"
        assert runner.is_started


async def test_a_cancelled_wait_cancels_the_group(runner: ConcurrentTaskRunner) -> None:
    """A deadline around the block is one for its calls."""
    gate = Gate()
    async with runner.start():
        with anyio.move_on_after(0.01) as scope:
            async with runner.group() as group:
                group.submit_nowait("k", gate)
        assert scope.cancelled_caught
        assert (gate.inside, group.slots["k"].origin) == (0, "cancel")


async def test_cancelling_a_group(runner: ConcurrentTaskRunner) -> None:
    """It takes no more calls, its open ones end, the block goes on."""
    async with runner.start(), runner.group() as group:
        group.submit_nowait("done", give)
        await runner.wait("done")
        group.submit_nowait("running", forever)
        await settle_down()
        group.submit_nowait("pending", forever)
        group.cancel("not needed")
        group.cancel("again")
        with pytest.raises(RunnerClosed, match=r"takes no more calls \(not needed\)"):
            await group.submit("late", give)
    reasons = {key: slot.reason for key, slot in group.slots.items()}
    assert reasons == {"done": None, "running": "not needed", "pending": "not needed"}


@pytest.mark.parametrize(
    ("stop_when", "stopper", "cut"),
    [
        ("first_success", "good", {"slow"}),
        ("first_failure", "bad", {"good", "slow"}),
        (lambda slot: slot.key == "good", "good", {"slow"}),
        (lambda _: False, None, set()),
        (None, None, set()),
    ],
)
async def test_stopping(
    runner: ConcurrentTaskRunner, stop_when: Any, stopper: str | None, cut: set[str]
) -> None:
    """When the rule holds for a slot, the rest of the group is cancelled; others are not."""
    async with runner.start():
        other = runner.submit_nowait("other", forever)
        async with runner.group(stop_when) as group:
            group.submit_nowait("bad", after, 0.1, KeyError("bad"))
            group.submit_nowait("good", after, 0.2, 1)
            group.submit_nowait("slow", after, 0.5, 2)
        assert {key for key, slot in group.slots.items() if slot.origin} == cut
        assert (group.stopped_by and group.stopped_by.key) == stopper
        assert not other.done
        runner.cancel("other")
        if stopper:
            with pytest.raises(RunnerClosed, match=f"'{stopper}' is"):
                group.submit_nowait("late", give)


async def test_a_sequential_submit_after_the_group_has_stopped() -> None:
    """The call that was being carried out counts; the next one is refused."""
    async with SequentialTaskRunner().start() as runner:
        async with runner.group("first_success") as group:
            slot = await group.submit("a", give, 1)
            with pytest.raises(RunnerClosed):
                await group.submit("b", give, 2)
        assert slot.result() == 1


async def test_stopped_while_a_submit_waits(runner: ConcurrentTaskRunner) -> None:
    """What comes in late is cancelled with the rest."""
    async with runner.start(), runner.group("first_success") as group:
        for n in range(130):
            # Every 64th submit lets the others run, and one of them ends the group meanwhile.
            try:
                await group.submit(n, give_at_first if n else give)
            except RunnerClosed:
                break
    assert group.stopped_by is group.slots[0]
    assert {slot.origin for slot in group.slots.values()} == {None, "cancel"}


async def give_at_first() -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("stop_when", ["first", 3])
async def test_bad_rules(runner: ConcurrentTaskRunner, stop_when: Any) -> None:
    """The message names the option and what is allowed."""
    async with runner.start():
        with pytest.raises(ValueError, match="stop_when must be 'first_success'"):
            runner.group(stop_when)


async def test_a_race(runner: ConcurrentTaskRunner) -> None:
    """The first that completes; failures do not count, the rest is cancelled, and the board is clean."""
    gate = Gate()
    async with runner.start():
        won = await runner.race(
            partial(after, 0.01, KeyError("bad")), partial(after, 0.05, "won"), gate, forever
        )
        assert won == "won"
        assert gate.inside == 0
        assert dict(runner.slots) == {}


async def test_a_race_that_nobody_wins(runner: ConcurrentTaskRunner) -> None:
    """All that happened is in the group, in the order of the calls."""

    async def cancel_itself() -> None:
        runner.cancel_all("of itself")
        await anyio.lowlevel.checkpoint()

    async with runner.start():
        with pytest.raises(ExceptionGroup) as caught:
            await runner.race(partial(after, 0.01, KeyError("one")), cancel_itself)
        kinds = [type(error) for error in caught.value.exceptions]
        assert kinds[-1] is CallCancelled
        with pytest.raises(ValueError, match="at least one call"):
            await runner.race()
        with pytest.raises(TypeError):
            await runner.race(forever, 3)  # type: ignore  # wrong on purpose
        assert dict(runner.slots) == {}
