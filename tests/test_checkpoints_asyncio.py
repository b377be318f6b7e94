"""The checkpoints of asyncio's half: what anyio's own do, by its insides and by the book.

Each test runs with both, on asyncio and on uvloop; where they differ the test says how.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from creche._backends import by_name
from creche._backends._primitives import PUBLIC, QUICK, Primitives
from nurseries import both_loops, both_ways

pytestmark = pytest.mark.anyio
anyio_backend = both_loops

BACKEND = by_name("asyncio")


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def passes() -> list[int]:
    """Counts how often the loop has come round; until the test ends."""
    loop = asyncio.get_running_loop()
    count = [0]

    def step() -> None:
        count[0] += 1
        if count[0] < 50:
            loop.call_soon(step)

    loop.call_soon(step)
    return count


@both_ways
async def test_which_let_others_run(way: Primitives) -> None:
    count = passes()
    await way.checkpoint_if_cancelled()
    assert count == [0]
    await BACKEND.checkpoint()
    assert count == [1]
    await way.shielded_checkpoint()
    assert count == [2]
    with anyio.CancelScope():
        await way.checkpoint_if_cancelled()
        assert count == [2]
        await way.shielded_checkpoint()
        assert count == [3]


@both_ways
@pytest.mark.parametrize("depth", [0, 1])
async def test_which_raise_under_a_cancelled_scope(way: Primitives, depth: int) -> None:
    """Each time, whatever was swallowed before."""
    came = 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        for look in [BACKEND.checkpoint, way.checkpoint_if_cancelled] * 2:
            try:
                if depth:
                    with anyio.CancelScope():
                        await look()
                else:
                    await look()
            except asyncio.CancelledError:
                came += 1
    assert came == 4


@both_ways
async def test_none_raises_behind_a_shield(way: Primitives) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            assert not way.is_cut()
            assert way.watcher()() is (way is PUBLIC)  # which does not know
            await BACKEND.checkpoint()
            await way.checkpoint_if_cancelled()
            await way.shielded_checkpoint()
        assert way.is_cut()
        assert way.watcher()()


@both_ways
async def test_shielded_under_a_cancelled_scope(way: Primitives) -> None:
    """It lets others run and raises nothing, nor does it count; the next one raises."""
    count = passes()
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3):
            await way.shielded_checkpoint()
        assert count == [3]
        assert this_task().cancelling() == 0
        await BACKEND.checkpoint()
    assert scope.cancelled_caught
    assert this_task().cancelling() == 0


@both_ways
async def test_a_scope_that_is_cancelled_during_a_shielded_checkpoint(way: Primitives) -> None:
    """When there was nobody whom it could cancel it goes on with whoever comes back."""
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await way.shielded_checkpoint()
        assert way.is_cut()
        with anyio.CancelScope(), anyio.fail_after(1):
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@both_ways
async def test_a_scope_that_is_left_after_a_shielded_checkpoint(way: Primitives) -> None:
    """No cancellation of its own is left behind it."""
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await way.shielded_checkpoint()
    assert not scope.cancelled_caught
    await BACKEND.checkpoint()
    await anyio.sleep(0.001)


@both_ways
async def test_a_pending_native_cancel(way: Primitives) -> None:
    """Shows at each cancel point, once."""
    task = this_task()
    for look in (BACKEND.checkpoint, way.checkpoint_if_cancelled):
        for _ in range(2):
            task.cancel()
            assert way.watcher()()
            assert not way.is_cut()
            with pytest.raises(asyncio.CancelledError):
                await look()
            task.uncancel()
            await look()


@both_ways
async def test_a_native_cancel_that_is_over(way: Primitives) -> None:
    """Is none any more, though it is still counted; a look that takes it for one lets others run."""
    task = this_task()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    count = passes()
    assert task.cancelling() == 1
    await way.checkpoint_if_cancelled()
    assert count == ([0] if way is QUICK else [1])
    assert way.watcher()() is (way is PUBLIC)
    task.uncancel()


@pytest.mark.parametrize("in_a_scope", [None, "open", "cancelled"])
@pytest.mark.parametrize("pending", [False, True])
async def test_a_native_cancel_at_a_shielded_checkpoint(
    in_a_scope: str | None, *, pending: bool
) -> None:
    """It waits for the next one, and is counted once; through anyio's shield it comes at once."""
    log: list[Any] = []

    async def wait() -> None:
        task = this_task()
        if pending:
            task.cancel("why")
        else:
            asyncio.get_running_loop().call_soon(task.cancel, "why")
        await QUICK.shielded_checkpoint()
        log.append(task.cancelling())
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError as exc:
            log.append((exc.args, task.cancelling()))
            raise

    async def child() -> None:
        if in_a_scope is None:
            await wait()
            return
        with anyio.CancelScope() as scope:
            if in_a_scope == "cancelled":
                scope.cancel()
            await wait()

    task = asyncio.ensure_future(child())
    await asyncio.wait([task])
    assert log == [1, (("why",), 1)]
    assert task.cancelled()


async def test_a_native_cancel_that_is_forgotten_at_a_shielded_checkpoint() -> None:
    """Somebody has taken it back before it came: it comes once all the same, as asyncio has it."""
    log: list[Any] = []

    async def child() -> None:
        task = this_task()

        def cancel_and_forget() -> None:
            task.cancel()
            task.uncancel()

        asyncio.get_running_loop().call_soon(cancel_and_forget)
        await QUICK.shielded_checkpoint()
        log.append(task.cancelling())
        await asyncio.sleep(0)

    task = asyncio.ensure_future(child())
    await asyncio.wait([task])
    if task.cancelled():  # from Python 3.13 on it has been taken back
        assert log == [1]
    else:
        assert log == [0]


@both_ways
async def test_a_watcher_in_another_task(way: Primitives) -> None:
    """It tells of whatever task runs, not of the one that it was made in."""
    is_due = way.watcher()
    log: list[bool] = []

    async def child() -> None:
        log.append(is_due())

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        await BACKEND.checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            assert is_due()
            await way.shielded_checkpoint()
    assert log == [way is PUBLIC]
    assert is_due() is (way is PUBLIC)


@both_ways
async def test_a_watcher_sees_a_native_cancel_that_is_pending(way: Primitives) -> None:
    log: list[bool] = []

    async def child() -> None:
        with anyio.CancelScope():
            is_due = way.watcher()
            log.append(is_due())
            this_task().cancel()
            log.append(is_due())
            await BACKEND.checkpoint()

    await asyncio.wait([asyncio.ensure_future(child())])
    assert log == [way is PUBLIC, True]


@both_ways
async def test_in_a_task_that_anyio_does_not_know(way: Primitives) -> None:
    log: list[Any] = []

    async def child() -> None:
        log.append((way.is_cut(), way.watcher()()))
        await way.checkpoint_if_cancelled()
        await way.shielded_checkpoint()
        await BACKEND.checkpoint()
        log.append("ran")

    await asyncio.ensure_future(child())
    assert log == [(False, way is PUBLIC), "ran"]


async def test_in_no_task() -> None:
    """Asked in a callback, where no scope is."""
    log: list[Any] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        asyncio.get_running_loop().call_soon(lambda: log.append(QUICK.is_cut()))
        await QUICK.shielded_checkpoint()
    assert log == [False]


async def test_a_scope_that_is_made_a_shield_during_a_look() -> None:
    """A look ends when what it waits for does not come; anyio's never does."""
    with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
        asyncio.get_running_loop().call_soon(setattr, inner, "shield", True)
        outer.cancel()
        await QUICK.checkpoint_if_cancelled()
        await BACKEND.checkpoint()
        assert not QUICK.is_cut()
