"""`start()` of a task group: a child that says when it is ready."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from calls import Gate, fail, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, SequentialTaskRunner, State
from creche.facades._child import Starting

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def serve(value: Any = None, *, task_status: TaskStatus[Any]) -> None:
    """Ready at once, and busy for ever."""
    task_status.started(value)
    await anyio.sleep_forever()


async def hesitate(gate: Gate, *, task_status: TaskStatus[Any]) -> None:
    """Never ready."""
    await gate()
    task_status.started()


async def test_it_gives_what_the_child_reports(runner: ConcurrentTaskRunner) -> None:
    """As soon as it does; with the handle, if that is asked for."""
    async with runner.start():
        async with runner.as_task_group() as group:
            assert await group.start(serve, name="a") is None
            assert await group.start(serve, "ready", name="b") == "ready"
            handle = await group.start(serve, 3, name="c", return_handle=True)
            assert handle.start_value == 3
            assert [slot.state for slot in runner.slots.values()] == [State.RUNNING] * 3
            with pytest.raises(RuntimeError, match="was not started with start"):
                group.start_soon(give).start_value  # noqa: B018 - it raises
            group.cancel_scope.cancel()
        assert "test_task_group_start.serve" not in runner.slots
        with anyio.CancelScope() as scope:
            async with runner.as_task_group() as group:
                await group.start(serve)
                scope.cancel()
        assert runner.slots["test_task_group_start.serve"].origin == "cancel"


async def test_a_report_comes_once(runner: ConcurrentTaskRunner) -> None:
    """The second is an error in the child."""

    async def twice(*, task_status: TaskStatus[int]) -> None:
        task_status.started(1)
        task_status.started(2)

    async with runner.start():
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.as_task_group() as group:
                assert await group.start(twice) == 1
        assert "called 'started' twice" in str(caught.value.exceptions[0])


async def test_a_report_before_there_is_a_coroutine(runner: ConcurrentTaskRunner) -> None:
    """By a plain function that gives one."""

    def make(*, task_status: TaskStatus[int]) -> Coroutine[Any, Any, int]:
        task_status.started(1)
        return give(2)

    def make_none(*, task_status: TaskStatus[int]) -> None:
        task_status.started(1)

    async with runner.start():
        async with runner.as_task_group() as group:
            handle = await group.start(make, return_handle=True)
            assert handle.start_value == 1
            with pytest.raises(TypeError, match=r"make_none\(\) must give a coroutine"):
                await group.start(make_none)  # type: ignore  # wrong on purpose
        assert handle.return_value == 2
        at_once = runner.as_task_group()
        assert await at_once.start(make) == 1


async def test_a_report_that_comes_too_late(runner: ConcurrentTaskRunner) -> None:
    """After the end of the child it is nobody's."""
    kept: list[TaskStatus[int]] = []

    async def keep(*, task_status: TaskStatus[int]) -> None:
        kept.append(task_status)

    async with runner.start(), runner.as_task_group() as group:
        with pytest.raises(RuntimeError, match="has ended without calling"):
            await group.start(keep)
        kept[0].started(1)


@pytest.mark.parametrize("on_error", ["collect", "cancel"])
@pytest.mark.parametrize("block", [True, False])
async def test_a_child_that_fails_before_it_is_ready(
    on_error: Any, block: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is raised here, and nowhere else: neither the group nor the runner ends for it."""

    async def fail_early(*, task_status: object) -> None:
        await fail(KeyError("early"))

    async def end_early(*, task_status: object) -> None:
        await anyio.sleep(0.01)

    async def attempt(group: Any) -> None:
        with pytest.raises(KeyError, match="early"):
            await group.start(fail_early)
        with pytest.raises(RuntimeError, match=r"ended without calling task_status.started\(\)"):
            await group.start(end_early)

    async with ConcurrentTaskRunner(on_error=on_error).start() as runner:
        if block:
            async with runner.as_task_group() as group:
                await attempt(group)
            assert not group.cancel_scope.cancel_called
        else:
            await attempt(runner.as_task_group())
        assert await runner.submit_nowait("more", give, 1) == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_child_that_fails_when_it_is_ready(runner: ConcurrentTaskRunner) -> None:
    """It has started all the same; the group ends."""

    async def fail_late(*, task_status: TaskStatus[int]) -> None:
        task_status.started(1)
        raise KeyError

    async with runner.start():
        got = None
        with pytest.raises(ExceptionGroup):
            async with runner.as_task_group() as group:
                got = await group.start(fail_late)
        assert got == 1


@pytest.mark.parametrize("block", [True, False])
async def test_a_cancelled_start(runner: ConcurrentTaskRunner, block: bool) -> None:
    """It cancels the child, and waits for its end; a pending one never begins."""
    gate = Gate()
    async with runner.start(), runner.as_task_group() as entered:
        group = entered if block else runner.as_task_group()
        with anyio.move_on_after(0.01) as scope:
            await group.start(hesitate, gate, name="child")
        assert scope.cancelled_caught
        assert (gate.begun, gate.inside) == (1, 0)
        slot = runner.pop("child")
        assert (slot.origin, slot.reason) == ("cancel", "the start() that waited for it was cancelled")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await group.start(hesitate, gate, name="never")
        assert "never" not in runner.slots
        assert not group.cancel_scope.cancel_called


async def test_a_start_that_is_cancelled_while_it_waits_for_a_place() -> None:
    """The child never begins."""
    gate = Gate()
    async with ConcurrentTaskRunner(1).start() as runner, runner.as_task_group() as group:
        runner.submit_nowait("occupant", forever)
        with anyio.move_on_after(0.01):
            await group.start(hesitate, gate, name="child")
        assert (gate.begun, runner.slots["child"].origin) == (0, "cancel")
        runner.cancel("occupant")


async def test_a_start_that_is_cancelled_when_its_child_is_ready() -> None:
    """While it waits for its place to come back: it raises, so that the child ends, too."""
    runner = ConcurrentTaskRunner(1)

    async def parent() -> None:
        with anyio.move_on_after(0.01):
            await runner.as_task_group().start(serve, name="child")

    async with runner.start():
        await runner.submit_nowait("parent", parent)
        assert runner.slots["child"].reason == "the start() that waited for it was cancelled"


async def test_a_cancelled_start_whose_child_was_ready_and_fails() -> None:
    """That is the group's affair by now."""
    runner = ConcurrentTaskRunner(1)

    async def serve_badly(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await fail_when_cancelled()

    async def parent() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.as_task_group() as group:
                with anyio.move_on_after(0.01):
                    await group.start(serve_badly)
        assert [type(error) for error in caught.value.exceptions] == [KeyError]

    async with runner.start():
        await runner.submit_nowait("parent", parent)


async def fail_when_cancelled() -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise KeyError("clean-up")


async def test_a_cancelled_start_of_a_child_that_cleans_up_badly(runner: ConcurrentTaskRunner) -> None:
    """What it raises comes out here."""

    async def clean_up_badly(*, task_status: object) -> None:
        await fail_when_cancelled()

    async with runner.start(), runner.as_task_group() as group:
        with pytest.raises(KeyError, match="clean-up"), anyio.move_on_after(0.01):
            await group.start(clean_up_badly)


async def test_a_child_that_is_cancelled_before_it_is_ready(runner: ConcurrentTaskRunner) -> None:
    """By key; never a cancellation of the loop's in somebody else's task."""
    gate = Gate()

    async def cancel() -> None:
        await settle_down()
        runner.cancel("child", "enough")

    async with runner.start(), runner.as_task_group() as group:
        group.start_soon(cancel)
        with pytest.raises(CallCancelled, match="enough"):
            await group.start(hesitate, gate, name="child")


async def test_one_that_is_being_started_belongs_to_the_starter(runner: ConcurrentTaskRunner) -> None:
    """The scope of the group cancels it when it is ready, and not before; the block waits for it."""
    gate = Gate()
    ready: list[str] = []

    async def start() -> None:
        await group.start(hesitate_and_serve)
        ready.append("started")

    async def hesitate_and_serve(*, task_status: TaskStatus[None]) -> None:
        await gate()
        task_status.started()
        await anyio.sleep_forever()

    async with runner.start(), anyio.create_task_group() as others:
        async with runner.as_task_group() as group:
            others.start_soon(start)
            await settle_down()
            group.cancel_scope.cancel()
            group.cancel_scope.deadline = anyio.current_time()
            with anyio.CancelScope(shield=True):
                await settle_down()
            assert gate.inside == 1
            gate.open.set()
        (slot,) = runner.slots.values()
        assert slot.reason == "the scope of its task group was cancelled"
    assert ready == ["started"]


async def test_it_waits_for_a_place() -> None:
    """And lends its own; when the child is ready, both want one."""
    got: list[int] = []
    async with ConcurrentTaskRunner(1).start() as runner:
        occupant = runner.submit_nowait("occupant", anyio.sleep, 0.05)
        async with runner.as_task_group() as group:
            start = anyio.current_time()
            assert await group.start(report, 1) == 1
            assert anyio.current_time() > start + 0.045  # uvloop counts milliseconds
        assert occupant.done

        async def parent() -> None:
            async with runner.as_task_group() as group:
                got.append(await group.start(report, 2))

        await runner.submit_nowait("parent", parent)
    assert got == [2]


async def report(value: int, *, task_status: TaskStatus[int]) -> None:
    """Ready after a while, and done soon."""
    await anyio.sleep(0.01)
    task_status.started(value)
    await anyio.sleep(0.01)


async def test_on_a_sequential_runner() -> None:
    """One child after the other, as what `submit_nowait` checks in there."""
    async with SequentialTaskRunner().start() as runner, runner.as_task_group() as group:
        assert [await group.start(report, n) for n in range(3)] == [0, 1, 2]


async def test_a_deadline_holds_from_the_report_on(runner: ConcurrentTaskRunner) -> None:
    """Before it the child is the starter's."""
    seen: list[float] = []

    async def look(*, task_status: TaskStatus[None]) -> None:
        seen.append(anyio.current_effective_deadline())
        task_status.started()
        seen.append(anyio.current_effective_deadline())

    async with runner.start():
        group = runner.as_task_group()
        deadline = anyio.current_time() + 5
        group.cancel_scope.deadline = deadline
        await group.start(look)
    assert seen == [float("inf"), deadline]


async def test_nothing_to_wait_for(runner: ConcurrentTaskRunner) -> None:
    """Whoever would park there is told so; between a look and the parking something may have come."""
    starting = Starting()
    starting.started()
    async with runner.start():
        assert not starting.enroll(forever)
        assert not vars(runner.as_task_group())["_children"].enroll(forever)
