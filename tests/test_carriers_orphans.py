"""Tasks that calls leave behind, and tasks that wait idle for calls: who is meant by what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

from calls import Gate, give, give_at_once, settle_down
from creche import ConcurrentTaskRunner, State

pytestmark = pytest.mark.anyio


def leave_behind(fn: Callable[[], Awaitable[Any]]) -> Any:
    """Start a task that nobody waits for."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.spawn_system_task(fn)
    return asyncio.ensure_future(fn())


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after idling"])
async def test_an_orphan_does_not_lend_the_place_of_the_next_call(*, pause: bool) -> None:
    """It descends from a call that is over, also when its parent's task carries out another."""
    gate = Gate()
    begin = anyio.Event()
    woken: list[Any] = []
    kept: list[Any] = []

    async with ConcurrentTaskRunner(1).start() as runner:

        async def orphan() -> None:
            await begin.wait()
            woken.append(await runner.wait("last"))

        async def parent() -> None:
            kept.append(leave_behind(orphan))

        runner.submit_nowait("before", give_at_once)
        leaver = runner.submit_nowait("leaver", parent)
        if pause:
            await leaver
            await settle_down()
        long = runner.submit_nowait("long", gate)
        last = runner.submit_nowait("last", give, 3)
        await settle_down()
        assert long.state is State.RUNNING
        begin.set()
        await settle_down()
        assert last.state is State.PENDING  # the orphan waits for it, and lends nothing
        gate.open.set()
        assert await last == 3
        await settle_down()
        assert [outcome.value for outcome in woken] == [3]


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after idling"])
async def test_an_orphan_may_wait_for_the_next_call(*, pause: bool) -> None:
    """That is nobody's waiting for himself."""
    gate = Gate()
    begin = anyio.Event()
    woken: list[Any] = []
    kept: list[Any] = []

    async with ConcurrentTaskRunner(1).start() as runner:

        async def orphan() -> None:
            await begin.wait()
            woken.append(await runner.result("long"))

        async def parent() -> None:
            kept.append(leave_behind(orphan))

        runner.submit_nowait("before", give_at_once)
        leaver = runner.submit_nowait("leaver", parent)
        if pause:
            await leaver
            await settle_down()
        runner.submit_nowait("long", gate, 5)
        await settle_down()
        begin.set()
        await settle_down()
        gate.open.set()
        await runner.until_idle()
        await settle_down()
        assert woken == [5]


async def test_an_orphan_lends_while_its_own_call_goes_on() -> None:
    """Then it is a task of that call, as any other."""
    kept: list[Any] = []
    if trio.lowlevel.in_trio_run():
        pytest.skip("a system task of trio's descends from nobody")

    async with ConcurrentTaskRunner(1).start() as runner:

        async def parent() -> Any:
            task = asyncio.ensure_future(runner.result("inner"))
            kept.append(task)
            return await task

        parent_slot = runner.submit_nowait("parent", parent)
        runner.submit_nowait("inner", give, 7)
        with anyio.fail_after(5):
            assert await parent_slot == 7


async def test_idle_tasks_that_are_cancelled() -> None:
    """By a program that cancels all the tasks that it finds: the calls that follow are carried out."""
    if trio.lowlevel.in_trio_run():
        pytest.skip("trio's tasks cannot be cancelled")
    before = asyncio.all_tasks()
    async with ConcurrentTaskRunner(3).start() as runner:
        for round_ in range(3):
            slots = [runner.submit_nowait((round_, n), give, n) for n in range(10)]
            assert [await slot for slot in slots] == list(range(10))
            await settle_down()
            idle = asyncio.all_tasks() - before
            assert len(idle) == runner.statistics().carriers_idle > 0
            for task in idle:
                task.cancel()
            if round_ == 1:
                await settle_down()
                assert runner.statistics().carriers == 0
        late = [runner.submit_nowait(n, give, n) for n in range(5)]
    assert [slot.result() for slot in late] == list(range(5))


async def test_an_idle_task_that_is_cancelled_and_handed_a_call() -> None:
    """Within one turn of the loop, in either order: the call is not what was cancelled."""
    if trio.lowlevel.in_trio_run():
        pytest.skip("trio's tasks cannot be cancelled")
    before = asyncio.all_tasks()
    async with ConcurrentTaskRunner(1).start() as runner:
        for first in ("cancel", "hand", "cancel", "hand"):
            await runner.submit_nowait(None, give)
            await settle_down()
            (task,) = asyncio.all_tasks() - before
            if first == "cancel":
                task.cancel()
                slot = runner.submit_nowait(None, give, first)
            else:
                slot = runner.submit_nowait(None, give, first)
                task.cancel()
            assert await slot == first


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after idling"])
async def test_a_lock_that_a_call_has_not_released(anyio_backend_name: str, *, pause: bool) -> None:
    """It is not the next call's; and on trio, where its owner has ended, whoever wants it is told."""
    lock = anyio.Lock()

    async def take() -> None:
        await lock.acquire()

    async def look() -> None:
        with pytest.raises(RuntimeError):
            lock.release()
        if anyio_backend_name == "trio":
            with pytest.raises(trio.BrokenResourceError):
                await lock.acquire()
        else:
            with pytest.raises(anyio.WouldBlock):
                lock.acquire_nowait()

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("before", give_at_once)
        taker = runner.submit_nowait("taker", take)
        if pause:
            await taker
            await settle_down()
        await runner.submit_nowait("looker", look)
        assert runner.statistics().completed == 3
