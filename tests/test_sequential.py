"""`SequentialTaskRunner`: a call runs inside its submit."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down, stray
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State, TaskConcurrencyType

pytestmark = pytest.mark.anyio

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


@pytest.fixture
def runner() -> SequentialTaskRunner:
    return SequentialTaskRunner()


async def test_final_when_submit_returns(runner: SequentialTaskRunner) -> None:
    """Values, failures and stray cancellations alike; `submit` never raises for the call."""
    async with runner.start():
        assert (await runner.submit(1, give, 1)).result() == 1
        assert (await runner.submit(2, fail)).state is State.FAILED
        assert (await runner.submit(3, stray)).origin == "foreign"
        assert (await runner.submit(4, len, "abc")).result() == 3
        assert await runner.result(1) == 1
    assert runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL
    assert (runner.name, runner.max_workers) == ("sequential", 1)


async def test_the_submitters_context_is_seen_and_left_alone(runner: SequentialTaskRunner) -> None:
    """The call runs in the submitter's task, but in a copy of its context."""
    seen: list[str] = []

    async def change() -> None:
        seen.append(VAR.get())
        VAR.set("changed")
        await anyio.lowlevel.checkpoint()
        seen.append(VAR.get())

    VAR.set("mine")
    async with runner.start():
        await runner.submit(1, change)
    assert seen == ["mine", "changed"]
    assert VAR.get() == "mine"


async def test_submits_of_different_tasks_overlap(runner: SequentialTaskRunner) -> None:
    """Each runs in its own task, at the same time."""
    gate = Gate()

    async def submit(n: int) -> None:
        await runner.submit(n, gate)

    async with runner.start(), anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(submit, n)
        await settle_down()
        assert gate.inside == 3
        gate.open.set()


async def test_submit_nowait_queues(runner: SequentialTaskRunner) -> None:
    """What is checked in without waiting runs one at a time, in order."""
    gate = Gate()
    async with runner.start():
        slots = [runner.submit_nowait(n, gate, n) for n in range(3)]
        await settle_down()
        assert gate.inside == 1
        gate.open.set()
        assert [await slot for slot in slots] == [0, 1, 2]
    assert gate.most == 1


async def test_cancelling_submit_cancels_the_call(runner: SequentialTaskRunner) -> None:
    """The call ends as `outer`, and what comes after the submit does not run."""
    after = False
    async with runner.start():
        with anyio.move_on_after(0.01) as scope:
            await runner.submit(1, forever)
            after = True
        assert scope.cancelled_caught
        assert not after
        assert runner.slots[1].origin == "outer"
        assert (await runner.submit(2, give, 2)).result() == 2


async def test_cancelled_before_the_call_begins(runner: SequentialTaskRunner) -> None:
    """Then nothing was submitted, and the key is free."""
    async with runner.start():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await runner.submit(1, give)
        assert scope.cancelled_caught
        assert (await runner.submit(1, give, 1)).result() == 1


@pytest.mark.parametrize("how", ["timeout", "wait_for"])
async def test_asyncios_own_timeouts_around_a_submit(
    runner: SequentialTaskRunner, anyio_backend_name: str, how: str
) -> None:
    """They cancel no scope, but the task: that is meant for the submitter."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    after = False
    async with runner.start():
        with pytest.raises(TimeoutError):
            if how == "timeout":
                async with asyncio.timeout(0.01):
                    await runner.submit(1, forever)
                    after = True
            else:
                await asyncio.wait_for(runner.submit(1, forever), 0.01)
        assert not after
        assert runner.slots[1].origin == "outer"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught


async def test_cancelling_by_key(runner: SequentialTaskRunner) -> None:
    """Another task may cancel the call, and `submit` returns."""
    slots: list[Any] = []

    async def submit() -> None:
        slots.append(await runner.submit(1, forever))

    async with runner.start(), anyio.create_task_group() as group:
        group.start_soon(submit)
        await settle_down()
        assert runner.statistics().running == 1
        runner.cancel(1, "enough")
    assert (slots[0].origin, slots[0].reason) == ("cancel", "enough")


async def test_a_call_that_submits(runner: SequentialTaskRunner) -> None:
    """Nested submits run inside one another."""

    async def outer(n: int) -> int:
        if n == 0:
            return 0
        slot = await runner.submit(n - 1, outer, n - 1)
        return int(slot.result() + n)

    async with runner.start():
        assert (await runner.submit(4, outer, 4)).result() == 10


async def test_an_awaitable_that_is_no_coroutine(runner: SequentialTaskRunner) -> None:
    """What a call awaits, or a plain one returns, may be any awaitable."""

    class Answer:
        def __await__(self) -> Any:
            yield from anyio.lowlevel.checkpoint().__await__()
            return 42

    async def typed() -> int:
        return int(await Answer())

    def untyped() -> Answer:
        return Answer()

    async with runner.start():
        assert (await runner.submit(1, typed)).result() == 42
        assert (await runner.submit(2, untyped)).result() == 42


async def test_the_rest_is_told_like_any_other(runner: SequentialTaskRunner) -> None:
    """With `on_error="cancel"` a failure ends the run here too."""
    strict = SequentialTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup):
        async with strict.start():
            slot = await strict.submit(1, fail)
            assert slot.state is State.FAILED
            await anyio.sleep_forever()
    assert strict != runner
    assert strict != ConcurrentTaskRunner(on_error="cancel")
