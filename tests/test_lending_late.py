"""Places that come back late, or not at all: after waits, calls and runs that were cut short."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from outcome import Value

from calls import Gate, forever, give, settle_down, start_in
from creche import ConcurrentTaskRunner, State
from creche._backends import by_name
from creche._lending import enter
from creche._places import Places

pytestmark = pytest.mark.anyio


async def test_the_time_limit_is_that_of_the_slot() -> None:
    """A place that comes back late does not make a timely outcome late."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()

    async def outer() -> Any:
        runner.submit_nowait("inner", give, 1)
        runner.submit_nowait("busy", busy)
        first = await runner.wait("inner", timeout=5)
        second = await runner.wait(runner.submit_nowait("late", gate, 2), timeout=0.1)
        return first, second

    async def busy() -> None:
        await anyio.sleep(0.05)

    async with runner.start():
        slot = runner.submit_nowait("outer", outer)
        await anyio.sleep(0.01)
        await runner.wait("outer")
        gate.open.set()
    first, second = slot.result()
    assert isinstance(first, Value)
    assert second is None


async def test_a_cancelled_waiter_goes_on_without_its_place() -> None:
    """It runs above the limit until its next wait, where it queues as any other."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()
    order: list[str] = []

    async def impatient() -> None:
        with anyio.move_on_after(0.01):
            await runner.wait(runner.submit_nowait("gate", gate))
        order.append("impatient goes on")
        assert runner.statistics().running == 2
        gate.open.set()
        await runner.wait("gate")
        order.append("impatient is back")

    async with runner.start():
        await runner.submit_nowait("impatient", impatient)
        assert await runner.submit_nowait("next", give, 3) == 3
    assert order == ["impatient goes on", "impatient is back"]
    assert gate.most == 1


async def test_cancelled_while_the_place_has_not_come_back() -> None:
    """What the waiter was granted or had asked for goes to the next one; nothing is lost."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()

    async def outer() -> str:
        runner.submit_nowait("inner", give)
        runner.submit_nowait("gate", gate)
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await runner.wait("inner")
            await runner.wait("gate", timeout=0.01)
            # Without a place from here on: it has to queue for one, and the gate has it.
            await runner.wait(runner.submit_nowait("nothing", give))
        return "went on"

    scopes: list[anyio.CancelScope] = []
    async with runner.start():
        slot = runner.submit_nowait("outer", outer)
        await anyio.sleep(0.02)
        scopes[0].cancel()
        assert await slot == "went on"
        gate.open.set()
        assert await runner.submit_nowait("last", give, 4) == 4
    assert runner.statistics().completed == 5


async def test_a_run_that_is_cut_while_places_are_lent() -> None:
    """Everything unwinds; the next run has all its places."""
    runner = ConcurrentTaskRunner(2)

    async def outer(n: int) -> None:
        await runner.wait(runner.submit_nowait(f"inner {n}", forever))

    for _ in range(2):
        with anyio.move_on_after(0.2):
            async with runner.start():
                for n in range(4):
                    runner.submit_nowait(n, outer, n)
        assert len(runner) == 0
    async with runner.start():
        assert await runner.map(give, range(5)) == [0, 1, 2, 3, 4]


async def outer_waits(runner: ConcurrentTaskRunner, order: list[str]) -> None:
    """Wait for a call that is never begun, and go on."""
    await runner.wait("pending")
    order.append("outer goes on")


async def test_a_place_that_is_not_back_yet() -> None:
    """What it waited for has settled, but another call has the place: it waits for that one's end."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()
    order: list[str] = []
    async with runner.start():
        outer = runner.submit_nowait("outer", outer_waits, runner, order)
        runner.submit_nowait("gate", gate)
        runner.submit_nowait("pending", give)
        await settle_down()
        runner.cancel("pending")
        await settle_down()
        assert (gate.inside, order, outer.state) == (1, [], State.RUNNING)
        gate.open.set()
        await outer
    assert order == ["outer goes on"]


async def test_cancelled_while_another_has_the_place() -> None:
    """It goes on without; its place is free for others when it has ended."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()
    order: list[str] = []

    async def impatient() -> None:
        with anyio.move_on_after(0.02):
            async with anyio.create_task_group() as group:
                # Two tasks of one call: the place is given up with the last of them.
                group.start_soon(outer_waits, runner, order)
                group.start_soon(outer_waits, runner, order)
        order.append("without")

    async with runner.start():
        outer = runner.submit_nowait("outer", impatient)
        runner.submit_nowait("gate", gate)
        runner.submit_nowait("pending", give)
        await settle_down()
        runner.cancel("pending")
        await outer
        assert (gate.inside, order) == (1, ["without"])
        gate.open.set()
        assert await runner.map(give, range(3)) == [0, 1, 2]
    assert gate.most == 1


async def test_a_task_that_outlives_its_call(anyio_backend_name: str) -> None:
    """A task of asyncio's own may: it goes on when the call, and with it the place, is gone."""
    if anyio_backend_name == "trio":
        pytest.skip("a task of trio's cannot")
    runner = ConcurrentTaskRunner(1)
    gate = Gate()
    order: list[str] = []
    left: list[asyncio.Task[None]] = []

    async def leaves_a_task() -> None:
        left.append(asyncio.ensure_future(outer_waits(runner, order)))
        await end.wait()

    end = asyncio.Event()
    async with runner.start():
        outer = runner.submit_nowait("outer", leaves_a_task)
        runner.submit_nowait("gate", gate)
        runner.submit_nowait("pending", give)
        await settle_down()
        runner.cancel("pending")
        await settle_down()
        assert order == []
        end.set()
        await outer
        await left[0]
        assert order == ["outer goes on"]
        gate.open.set()


async def test_a_first_place_that_is_granted_and_not_wanted_any_more(anyio_backend_name: str) -> None:
    """Cancelled in the very turn in which it is granted, it goes to the next one."""
    if anyio_backend_name == "trio":
        pytest.skip("what has been woken is not cancelled on trio")
    places = Places(1)
    assert places.take()
    task = asyncio.ensure_future(enter(by_name("asyncio"), places))
    await asyncio.sleep(0)
    places.free()
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), places.taken) == (True, 0)


async def test_a_first_place_that_is_granted_to_one_that_was_cancelled(anyio_backend_name: str) -> None:
    """In the other order: it is not woken twice, and the place goes to the next one."""
    places = Places(1)
    assert places.take()
    backend = by_name(anyio_backend_name)
    async with anyio.create_task_group() as group:
        await start_in(group, enter, backend, places)
        group.cancel_scope.cancel()
        places.free()
    assert places.taken == 0


async def test_a_queued_call_may_fill_a_reservation_yet() -> None:
    """At the exit, when the only call that runs begins to wait for one that has no place so far."""

    async def fill() -> None:
        runner.submit_nowait("reserved", give, 1)

    async def parent() -> Any:
        await settle_down()  # until the exit has begun
        await runner.submit_nowait("fills", fill)
        return await runner.result("reserved")

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.reserve("reserved")
        slot = runner.submit_nowait("parent", parent)
    assert slot.result() == 1
