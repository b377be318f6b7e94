"""`after=` under a sequential runner, where the call runs inside its submit."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import SequentialTaskRunner, Slot, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> SequentialTaskRunner:
    return SequentialTaskRunner()


async def test_a_submit_waits_for_what_its_call_runs_after(runner: SequentialTaskRunner) -> None:
    """And runs it then, in the submitter's task."""
    gate = Gate()
    got: list[Slot[Any]] = []

    async def submit() -> None:
        got.append(await runner.submit("k", give, 2, after=["gate"]))

    async with runner.start(), anyio.create_task_group() as group:
        runner.submit_nowait("gate", gate)
        group.start_soon(submit)
        await settle_down()
        assert (got, runner.slots["k"].state) == ([], State.PENDING)
        gate.open.set()
    assert got[0].result() == 2


async def test_what_has_ended_already(runner: SequentialTaskRunner) -> None:
    """The call runs at once, or has been cancelled when the submit returns."""
    async with runner.start():
        await runner.submit("good", give)
        await runner.submit("bad", fail)
        assert (await runner.submit("a", give, 1, after=["good"])).result() == 1
        slot = await runner.submit("b", give, 1, after=["bad"])
        assert (slot.state, slot.origin) == (State.CANCELLED, "upstream")
        slot = await runner.submit("c", give, 3, after=["bad"], after_any_end=True)
        assert slot.result() == 3


async def test_a_reserved_key_is_refused(runner: SequentialTaskRunner) -> None:
    """The submit could only hang; `submit_nowait` can wait for it."""
    async with runner.start():
        runner.reserve("r")
        with pytest.raises(ValueError, match="'k' cannot wait for 'r', which is only reserved"):
            await runner.submit("k", give, after=["r"])
        assert "k" not in runner
        slot = runner.submit_nowait("k", give, 1, after=["r"])
        await runner.submit("r", give)
        assert await slot == 1


async def test_cancelled_while_it_waits(runner: SequentialTaskRunner) -> None:
    """The submit: its call is cancelled with it, by `outer`. The key: the submit returns."""
    got: list[Slot[Any]] = []

    async def submit() -> None:
        got.append(await runner.submit("k", give, after=["up"]))

    async with runner.start():
        runner.submit_nowait("up", forever)
        with anyio.move_on_after(0.01) as scope:
            await runner.submit("j", give, after=["up"])
        assert scope.cancelled_caught
        assert (runner.slots["j"].state, runner.slots["j"].origin) == (State.CANCELLED, "outer")
        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await settle_down()
            runner.cancel("k", "not needed")
        assert (got[0].state, got[0].origin) == (State.CANCELLED, "cancel")
        runner.cancel("up")
