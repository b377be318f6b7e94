"""A task group inside a call: the place of the call is lent while the group waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import Gate, error_of, give
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


@pytest.mark.parametrize("make", [lambda: ConcurrentTaskRunner(1), SequentialTaskRunner])
async def test_groups_in_calls_lend_their_places(make: Callable[[], Any]) -> None:
    """Groups in groups, to any depth, with one worker; no two children run at once."""
    gate = Gate()
    gate.open.set()
    runner = make()

    async def split(depth: int) -> int:
        await gate()
        if not depth:
            return 1
        async with runner.as_task_group() as group:
            handles = [group.start_soon(split, depth - 1) for _ in range(2)]
        return sum(handle.return_value for handle in handles)

    async with runner.start():
        assert await runner.submit_nowait("root", split, 5) == 32
    assert (gate.begun, gate.most) == (63, 1)


async def test_the_block_of_a_call_keeps_its_place() -> None:
    """It is lent only where the block waits: at its end, and for a child."""
    order: list[str] = []
    runner = ConcurrentTaskRunner(1)

    async def child(name: str) -> None:
        order.append(name)

    async def parent() -> None:
        async with runner.as_task_group() as group:
            group.start_soon(child, "a")
            await anyio.sleep(0.01)
            order.append("block")
            await group.start_soon(child, "b")
            order.append("block again")

    async with runner.start():
        await runner.submit_nowait("parent", parent)
    assert order == ["block", "a", "b", "block again"]


async def test_a_child_that_cleans_up_with_another_call() -> None:
    """The block that was cancelled lends its place, too, while it waits for that."""
    runner = ConcurrentTaskRunner(1)

    async def clean_up() -> None:
        try:
            await runner.result("reserved")
        finally:
            with anyio.CancelScope(shield=True):
                await runner.submit_nowait("clean-up", give)

    async def parent() -> None:
        async with runner.as_task_group() as group:
            group.start_soon(clean_up)
            await group.start_soon(give)
            raise ValueError

    with anyio.fail_after(1):
        async with runner.start():
            runner.reserve("reserved")
            outcome = await runner.wait(runner.submit_nowait("parent", parent))
            assert runner.slots["clean-up"].state is State.COMPLETED
            raised = error_of(outcome)
            assert isinstance(raised, ExceptionGroup)
            assert [type(error) for error in raised.exceptions] == [ValueError]
            runner.cancel("reserved")


async def test_a_reservation_that_a_child_waits_for(runner: ConcurrentTaskRunner) -> None:
    """Nobody fills it: at the exit it is lost, since the call with the group only waits."""

    async def parent() -> None:
        async with runner.as_task_group() as group:
            group.start_soon(runner.wait, "reserved")

    with anyio.fail_after(1):
        async with runner.start():
            runner.reserve("reserved")
            runner.submit_nowait("parent", parent)
    assert runner.slots["reserved"].origin == "lost"
    assert runner.slots["parent"].state is State.COMPLETED
