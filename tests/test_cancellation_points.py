"""Each async method, cancelled where it waits: the call is untouched, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from calls import Gate, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def first_of(runner: ConcurrentTaskRunner) -> Any:
    async with runner.as_completed() as slots:
        return await anext(slots)


WAITS: dict[str, Callable[[ConcurrentTaskRunner], Awaitable[Any]]] = {
    "wait": lambda runner: runner.wait("k"),
    "wait with a timeout": lambda runner: runner.wait("k", timeout=100),
    "result": lambda runner: runner.result("k"),
    "await slot": lambda runner: runner.slots["k"].wait(None),
    "as_completed": first_of,
}


@pytest.mark.parametrize("name", WAITS)
async def test_a_wait_for_an_open_slot(runner: ConcurrentTaskRunner, name: str) -> None:
    """Cancelled while parked it leaves the slot as it was, and the call goes on."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        await settle_down()
        with anyio.move_on_after(0.01) as scope:
            await WAITS[name](runner)
        assert scope.cancelled_caught
        assert slot.state is State.RUNNING
        assert slot._wakers is None
        gate.open.set()
        assert await slot == 1


@pytest.mark.parametrize("name", WAITS)
async def test_a_wait_in_a_scope_that_is_cancelled_already(
    runner: ConcurrentTaskRunner, name: str
) -> None:
    """It is a cancel point, open slot or settled."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        for settled in (False, True):
            if settled:
                gate.open.set()
                await slot
            with anyio.CancelScope() as scope:
                scope.cancel()
                await WAITS[name](runner)
                raise AssertionError
            assert scope.cancelled_caught
            assert slot._wakers is None


async def test_submit_in_a_scope_that_is_cancelled(runner: ConcurrentTaskRunner) -> None:
    """It has submitted nothing: the key is free."""
    async with runner.start():
        for _ in range(70):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await runner.submit("k", give)
                raise AssertionError
            assert "k" not in runner
        assert await (await runner.submit("k", give, 1)) == 1


@pytest.mark.parametrize("what", ["wait", "result", "await", "submit", "as_completed"])
async def test_a_schedule_point_at_least_every_64th_time(  # noqa: C901 - one loop, five ways
    runner: ConcurrentTaskRunner, what: str
) -> None:
    """A loop over settled waits, or over submits, lets a ready task run within 64 of them."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with runner.start():
        slots = [runner.submit_nowait(("settled", n), give) for n in range(640)]
        for slot in slots:
            await slot.wait(None)
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await anyio.lowlevel.checkpoint()
            turns = 0
            if what == "as_completed":
                async with runner.as_completed(slots) as arrivals:
                    async for _ in arrivals:
                        pass
            for n, slot in enumerate(slots):
                if what == "wait":
                    await runner.wait(slot)
                elif what == "result":
                    await runner.result(slot)
                elif what == "await":
                    await slot
                elif what == "submit":
                    await runner.submit(n, give)
            group.cancel_scope.cancel()
    assert 5 <= turns <= 64, turns


async def test_the_exit_is_a_cancel_point_while_calls_run(runner: ConcurrentTaskRunner) -> None:
    """Cancelled while it waits for a call, `start()` cancels the call and goes on outwards."""
    gate = Gate()
    with anyio.move_on_after(0.01) as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", gate)
    assert scope.cancelled_caught
    assert (slot.origin, gate.inside) == ("outer", 0)


async def test_entering_is_no_checkpoint(runner: ConcurrentTaskRunner) -> None:
    """Neither a cancel point nor a schedule point."""
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        with anyio.CancelScope() as scope:
            scope.cancel()
            started = runner.start()
            await started.__aenter__()
            assert not ran
            await started.__aexit__(None, None, None)


async def test_a_waiter_does_not_cancel_what_it_waits_for(runner: ConcurrentTaskRunner) -> None:
    """Of two waiters one may leave; the other is served."""
    gate = Gate()
    got: list[Any] = []

    async def wait() -> None:
        got.append(await runner.result("k"))

    async with runner.start(), anyio.create_task_group() as staying:
        runner.submit_nowait("k", gate, 7)
        staying.start_soon(wait)
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(wait)
            await settle_down()
            leaving.cancel_scope.cancel()
        gate.open.set()
    assert got == [7]


async def test_joining_a_sequential_call_is_cancelled_alone() -> None:
    """Who joins a call and leaves does not end it."""
    runner = SequentialTaskRunner()
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        with anyio.move_on_after(0.01):
            await runner.submit("k", give, on_collision="join")
        assert slot.state is State.RUNNING
        gate.open.set()
