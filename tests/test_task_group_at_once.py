"""`as_task_group()` used at once: children that live as long as the runner."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from calls import Gate, fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_children_live_as_long_as_the_runner(runner: ConcurrentTaskRunner) -> None:
    """Which waits for them at its exit."""

    async def submit() -> None:
        runner.as_task_group().start_soon(anyio.sleep, 0.05, name="child")

    async with runner.start():
        await runner.submit_nowait("submits", submit)
        assert not runner.slots["child"].done
    assert runner.slots["child"].state is State.COMPLETED


async def test_a_failing_child_is_collected(
    runner: ConcurrentTaskRunner, caplog: pytest.LogCaptureFixture
) -> None:
    """It stops nobody, and is logged, unless somebody has read it, by the handle, say."""
    async with runner.start():
        group = runner.as_task_group()
        group.start_soon(fail, name="unread")
        read = group.start_soon(fail, name="read")
        good = group.start_soon(give, 1)
        with pytest.raises(anyio.TaskFailed):
            await read
        assert await good == 1
        assert not group.cancel_scope.cancel_called
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "'unread'" in record.getMessage()
    assert "'read'" not in record.getMessage()


@pytest.mark.parametrize("started", [True, False])
async def test_a_failing_child_ends_the_runner(started: bool) -> None:
    """With `on_error="cancel"`; also one that `start()` has started, once it was ready."""

    async def fail_late(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await anyio.sleep(0.01)
        raise KeyError("k")

    runner = ConcurrentTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            group = runner.as_task_group()
            group.start_soon(forever, name="sibling")
            if started:
                await group.start(fail_late, name="bad")
            else:
                group.start_soon(fail, KeyError("k"), name="bad")
            await anyio.sleep_forever()
    (error,) = caught.value.exceptions
    assert error.__notes__ == ["in call 'bad'"]
    assert runner.slots["sibling"].origin == "closed"


async def test_its_scope_cancels_its_children_only(runner: ConcurrentTaskRunner) -> None:
    """Those that are there, pending ones too, and those that come; not the code around it."""
    gate = Gate()
    async with runner.start():
        other = runner.submit_nowait("other", forever)
        group, another = runner.as_task_group(), runner.as_task_group()
        group.start_soon(gate, name="running")
        another.start_soon(forever, name="another's")
        await settle_down()
        pending = group.start_soon(gate, name="pending")
        group.cancel_scope.cancel("enough")
        late = group.start_soon(gate, name="late")
        await settle_down()
        assert (gate.begun, gate.inside) == (1, 0)
        reasons = {runner.slots[key].reason for key in ("running", "pending", "late")}
        assert reasons == {"the scope of its task group was cancelled: enough"}
        for handle in (pending, late):
            assert inspect.getcoroutinestate(handle.coro) == "CORO_CLOSED"
        assert group.cancel_scope.cancel_called
        assert not group.cancel_scope.cancelled_caught
        assert not another.cancel_scope.cancel_called
        assert not other.done
        assert not runner.slots["another's"].done
        runner.cancel_all()


async def test_a_deadline() -> None:
    """It cancels the children when it has passed, also those that have come to run later."""
    async with ConcurrentTaskRunner(1).start() as runner:
        group = runner.as_task_group()
        assert group.cancel_scope.deadline == float("inf")
        gate = Gate()
        group.start_soon(gate, name="running")
        group.start_soon(gate, name="pending")
        await settle_down()
        group.cancel_scope.deadline = anyio.current_time() + 0.01
        await runner.until_idle()
        assert (gate.begun, gate.inside) == (1, 0)
        assert group.cancel_scope.cancel_called
        assert {slot.reason for slot in runner.slots.values()} == {
            "the scope of its task group was cancelled: its deadline has passed"
        }


async def test_a_child_that_ignores_the_deadline(runner: ConcurrentTaskRunner) -> None:
    """A value beats it."""

    async def swallow() -> int:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return 3
        raise AssertionError

    async with runner.start():
        group = runner.as_task_group()
        group.cancel_scope.deadline = anyio.current_time() + 0.01
        assert await group.start_soon(swallow) == 3


async def test_many_children_of_one_name() -> None:
    """Groups that come and go leave nothing behind on a runner that keeps nothing."""
    async with ConcurrentTaskRunner(retain=False).start() as runner:
        for n in range(300):
            group = runner.as_task_group()
            handles: list[Any] = [group.start_soon(give, n, name="child") for _ in range(3)]
            assert [await handle for handle in handles] == [n] * 3
        assert dict(runner.slots) == {}
