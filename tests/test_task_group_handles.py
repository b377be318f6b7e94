"""The handles of a task group's children: anyio's, with a slot behind."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import TaskCancelled, TaskFailed, TaskHandle, TaskNotFinished

from calls import fail, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, State
from creche.facades._handle import ChildHandle

Status = TaskHandle.Status


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


def test_all_that_is_public_is_overridden() -> None:
    """None of anyio's own may be left, since there is nothing behind it; tells when anyio adds some."""
    inherited = {
        name
        for name, value in vars(TaskHandle).items()
        if not name.startswith("_") or callable(value)
        if name not in vars(ChildHandle)
    }
    private = {name for name in inherited if name.startswith("_")}
    assert inherited - private == {"Status"}
    assert {name for name in private if name.endswith("__")} <= {"__new__", "__class_getitem__"}


@pytest.mark.anyio
async def test_a_child_that_returns(runner: ConcurrentTaskRunner) -> None:
    """It can be awaited, waited for, and read, as often as you like."""
    async with runner.start(), runner.as_task_group() as group:
        coro = give(3)
        handle = group.create_task(coro, name="k")
        assert isinstance(handle, TaskHandle)
        assert (handle.name, handle.coro, handle.status) == ("k", coro, Status.PENDING)
        assert isinstance(handle, ChildHandle)
        assert handle.slot is runner.slots["k"]
        assert repr(handle) == "<creche.ChildHandle pending name='k' key='k'>"
        for look in ("return_value", "exception"):
            with pytest.raises(TaskNotFinished, match="child 'k' has not finished yet"):
                getattr(handle, look)
        await handle.wait()
        assert [await handle, await handle, handle.return_value] == [3, 3, 3]
        assert handle.exception is None
        assert handle.status is Status.FINISHED
        handle.cancel()
        assert handle.status is Status.FINISHED


@pytest.mark.anyio
async def test_a_child_that_fails(runner: ConcurrentTaskRunner) -> None:
    """The handle says so by anyio's own errors, and has the original."""
    error = KeyError("k")
    async with runner.start():
        group = runner.as_task_group()
        handle = group.start_soon(fail, error, name="bad")
        await handle.wait()
        assert handle.status is Status.FAILED
        assert handle.exception is error
        with pytest.raises(TaskFailed, match="child 'bad' raised an exception") as caught:
            await handle
        assert caught.value.__cause__ is error


@pytest.mark.anyio
async def test_a_child_that_is_cancelled(runner: ConcurrentTaskRunner) -> None:
    """By its handle: a pending one at once, a running one when it has unwound."""
    async with runner.start(), runner.as_task_group() as group:
        running = group.start_soon(forever, name="running")
        await settle_down()
        pending = group.start_soon(forever, name="pending")
        pending.cancel()
        assert pending.status is Status.CANCELLED
        assert runner.slots["pending"].state is State.CANCELLED
        running.cancel()
        assert running.status.name == "CANCELLING"
        for look in ("return_value", "exception"):
            with pytest.raises(TaskCancelled, match="child 'running' was cancelled"):
                getattr(running, look)
        with pytest.raises(TaskCancelled, match="child 'running' was cancelled") as caught:
            await running
        assert isinstance(caught.value.__cause__, CallCancelled)
        assert caught.value.__cause__.reason == "its handle was cancelled"
        assert running.status.name == "CANCELLED"
        assert not group.cancel_scope.cancel_called


@pytest.mark.anyio
async def test_a_child_that_awaits_its_own_handle(runner: ConcurrentTaskRunner) -> None:
    """It is told, where anyio would let it wait for ever."""
    handles: list[Any] = []

    async def wait() -> None:
        await handles[0]

    async with runner.start():
        handles.append(runner.as_task_group().start_soon(wait))
        await handles[0].wait()
        assert "waits for itself" in str(handles[0].exception)


@pytest.mark.anyio
async def test_after_the_run(runner: ConcurrentTaskRunner) -> None:
    """A handle goes on working."""
    async with runner.start():
        handle = runner.as_task_group().create_task(give(1))
    assert await handle == 1
    assert isinstance(handle, ChildHandle)
    assert handle.slot.result() == 1
