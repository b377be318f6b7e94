"""A task group whose block or children are cancelled: by its scope, by one around it, by the runner."""

from __future__ import annotations

import inspect

import anyio
import pytest

from calls import Gate, forever, settle_down, stray, swallow
from creche import ConcurrentTaskRunner, RunnerClosed, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_cancelling_the_scope(runner: ConcurrentTaskRunner) -> None:
    """It cancels the block and the children, pending ones too, and is swallowed at the end."""
    gate = Gate()
    async with runner.start():
        async with runner.as_task_group() as group:
            assert not group.cancel_scope.cancel_called
            group.start_soon(gate, name="running")
            await settle_down()
            pending = group.start_soon(gate, name="pending")
            group.cancel("not needed")
            assert runner.slots["pending"].state is State.CANCELLED
            late = group.start_soon(gate, name="late")
            group.cancel_scope.cancel()
            await anyio.sleep_forever()
        assert (gate.begun, gate.inside) == (1, 0)
        assert group.cancel_scope.cancelled_caught
        assert [inspect.getcoroutinestate(one.coro) for one in (pending, late)] == ["CORO_CLOSED"] * 2
        reasons = {slot.reason for slot in runner.slots.values()}
        assert reasons == {"the scope of its task group was cancelled: not needed"}


async def test_cancelled_from_outside(runner: ConcurrentTaskRunner) -> None:
    """The children end, and the cancellation travels on, alone."""
    async with runner.start():
        for block in (anyio.sleep_forever, anyio.lowlevel.checkpoint):
            with anyio.move_on_after(0.01) as scope:
                try:
                    async with runner.as_task_group() as group:
                        group.start_soon(forever, name="child")
                        await block()
                except anyio.get_cancelled_exc_class():
                    assert runner.pop("child").origin == "cancel"
                    raise
            assert scope.cancelled_caught
            assert not group.cancel_scope.cancelled_caught


async def test_cancelled_behind_a_shield(runner: ConcurrentTaskRunner) -> None:
    """The children are cancelled though the block does not see it."""
    async with runner.start():
        with anyio.CancelScope() as outer:
            async with runner.as_task_group() as group:
                child = group.start_soon(forever, name="child")
                with anyio.CancelScope(shield=True):
                    outer.cancel()
                    await child.wait()
                    group.start_soon(forever, name="late")
        reasons = {runner.slots[key].reason for key in ("child", "late")}
        assert reasons == {"a scope around its task group was cancelled"}
        assert outer.cancelled_caught


async def test_cancelled_as_it_is_left(runner: ConcurrentTaskRunner) -> None:
    """Its children are, too: one that has not begun never does, and is not taken for done."""
    gate = Gate()
    async with runner.start():
        with anyio.CancelScope() as outer:
            async with runner.as_task_group() as group:
                group.start_soon(gate, name="child")
                outer.cancel()
            raise AssertionError
        assert outer.cancelled_caught
    assert gate.begun == 0
    assert runner.slots["child"].reason == "a scope around its task group was cancelled"


async def test_a_block_that_raises_a_group_of_cancellations(runner: ConcurrentTaskRunner) -> None:
    """As nurseries of trio's do: alone it says the same, and comes out alone."""
    cancelled = anyio.get_cancelled_exc_class()
    came: list[type[BaseException]] = []
    async with runner.start():
        with anyio.CancelScope() as outer:
            outer.cancel()
            try:
                async with runner.as_task_group():
                    try:
                        await anyio.sleep(1)
                    except cancelled as exc:
                        raise BaseExceptionGroup("", [exc]) from None
            except BaseException as exc:
                came.append(type(exc))
                raise
        assert len(came) == 1
        assert issubclass(came[0], cancelled)
        assert outer.cancelled_caught


async def test_a_shielded_group(runner: ConcurrentTaskRunner) -> None:
    """A cancellation from outside reaches neither the block nor the children."""
    async with runner.start():
        with anyio.CancelScope() as outer:
            async with runner.as_task_group() as group:
                assert not group.cancel_scope.shield
                group.cancel_scope.shield = True
                assert group.cancel_scope.shield
                group.start_soon(anyio.sleep, 0.01, name="child")
                outer.cancel()
                await anyio.sleep(0.02)
        assert runner.slots["child"].state is State.COMPLETED


async def test_a_deadline(runner: ConcurrentTaskRunner) -> None:
    """It is one for the block and for the children, who see it."""
    seen: list[float] = []

    async def see() -> None:
        seen.append(anyio.current_effective_deadline())
        await anyio.sleep(0.005)
        seen.append(anyio.current_effective_deadline())
        await anyio.sleep_forever()

    async with runner.start():
        before = runner.as_task_group()
        start = anyio.current_time()
        before.cancel_scope.deadline = start + 1
        async with before as group:
            assert group.cancel_scope.deadline == start + 1
            group.start_soon(see, name="child")
            await settle_down()
            group.cancel_scope.deadline = start + 0.05
        assert seen == [start + 1, start + 0.05]
        assert anyio.current_time() > start + 0.045  # uvloop counts milliseconds
        assert group.cancel_scope.cancel_called
        assert runner.slots["child"].origin == "cancel"


async def test_cancelled_before_it_was_entered(runner: ConcurrentTaskRunner) -> None:
    """The block is cancelled at its first checkpoint."""
    async with runner.start():
        group = runner.as_task_group()
        group.cancel_scope.cancel()
        async with group:
            group.start_soon(forever, name="child")
            await anyio.sleep_forever()
        assert group.cancel_scope.cancelled_caught
        assert runner.slots["child"].origin == "cancel"


async def test_a_stray_cancellation_ends_that_child_alone(runner: ConcurrentTaskRunner) -> None:
    """As in any call; so does `runner.cancel`."""
    async with runner.start():
        async with runner.as_task_group() as group:
            group.start_soon(stray, name="stray")
            group.start_soon(forever, name="cancelled")
            group.start_soon(anyio.sleep, 0.01, name="good")
            await settle_down()
            runner.cancel("cancelled")
        assert not group.cancel_scope.cancel_called
        origins = {key: slot.origin for key, slot in runner.slots.items()}
        assert origins == {"stray": "foreign", "cancelled": "cancel", "good": None}


async def test_a_child_that_returns_all_the_same(runner: ConcurrentTaskRunner) -> None:
    """A value beats a late cancel."""
    async with runner.start():
        async with runner.as_task_group() as group:
            handle = group.start_soon(swallow, 7)
            await settle_down()
            group.cancel_scope.cancel()
        assert handle.return_value == 7


async def test_the_runner_closes(runner: ConcurrentTaskRunner) -> None:
    """A block that nobody has cancelled is told that its children were cut."""
    caught: list[BaseException] = []

    async def outside() -> None:
        try:
            async with runner.as_task_group() as group:
                group.start_soon(forever, name="child")
        except ExceptionGroup as exc:
            caught.extend(exc.exceptions)

    async with anyio.create_task_group() as others, runner.start():
        others.start_soon(outside)
        await settle_down()
        assert await runner.drain(0) == ["child"]
    assert [type(error) for error in caught] == [RunnerClosed]
    assert "child 'child' of the task group ended: the runner was drained" in str(caught[0])


async def test_the_body_of_the_runner_raises(runner: ConcurrentTaskRunner) -> None:
    """Its calls are cancelled; one with a group ends by that, and by nothing else."""

    async def parent() -> None:
        async with runner.as_task_group() as group:
            group.start_soon(forever, name="child")

    with pytest.raises(LookupError):
        async with runner.start():
            runner.submit_nowait("parent", parent)
            await settle_down()
            raise LookupError
    assert runner.slots["parent"].origin == "closed"
    assert runner.slots["child"].state is State.CANCELLED


async def test_the_runner_closes_around_a_shielded_block(runner: ConcurrentTaskRunner) -> None:
    """It is cancelled itself, if later, and is not told besides that its children were cut."""
    child_ended = anyio.Event()

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            child_ended.set()

    async def parent() -> None:
        async with runner.as_task_group() as group:
            group.start_soon(child, name="child")
            with anyio.CancelScope(shield=True):
                await child_ended.wait()
                await settle_down()
        await anyio.lowlevel.checkpoint()

    with pytest.raises(LookupError):
        async with runner.start():
            runner.submit_nowait("parent", parent)
            await settle_down()
            raise LookupError
    assert runner.slots["parent"].origin == "closed"


async def test_the_runner_has_closed_before_the_block_is_cancelled(
    runner: ConcurrentTaskRunner,
) -> None:
    """Then nobody needs to be told that its children were cut."""
    async with runner.start():
        with anyio.CancelScope() as outer:
            async with runner.as_task_group() as group:
                group.start_soon(forever, name="child")
                assert await runner.drain(0) == ["child"]
                outer.cancel()
    assert runner.slots["child"].origin == "closed"
