"""`set_max_workers` on a run that began without a limit: what runs, waits or is on its way counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from calls import Gate, give, settle_down
from creche import ConcurrentTaskRunner, State
from limiting import running

pytestmark = pytest.mark.anyio


async def test_who_has_carried_out_calls_before() -> None:
    """A task of the run that has carried out a call without a place gives the next one's back."""
    async with ConcurrentTaskRunner().start() as runner:
        gate = Gate()
        runner.submit_nowait("runs", gate)
        assert await runner.submit_nowait("has run", give) == 1
        runner.set_max_workers(1)
        slots = [runner.submit_nowait(number, give, number) for number in range(5)]
        gate.open.set()
        assert [await slot for slot in slots] == list(range(5))


async def test_calls_that_run() -> None:
    """They count: as many as may run do, and others wait until one of them has ended."""
    async with ConcurrentTaskRunner().start() as runner:
        gates = {key: Gate() for key in "abcd"}
        for key in "ab":
            runner.submit_nowait(key, gates[key])
        await settle_down()
        runner.set_max_workers(2)
        for key in "cd":
            runner.submit_nowait(key, gates[key])
        await settle_down()
        assert running(runner) == ["a", "b"]
        for ended, then in (("a", ["b", "c"]), ("b", ["c", "d"])):
            gates[ended].open.set()
            await settle_down()
            assert running(runner) == then
        for gate in gates.values():
            gate.open.set()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_calls_on_their_way(cancelled: bool) -> None:
    """They start, and count; nothing starts beside them until they have ended."""
    async with ConcurrentTaskRunner().start() as runner:
        gate, next_gate = Gate(), Gate()
        for key in "abc":
            runner.submit_nowait(key, gate)
        runner.reserve("reserved")
        if cancelled:
            runner.cancel("c")
        runner.set_max_workers(1)
        for number in range(3):
            runner.submit_nowait(number, next_gate)
        await settle_down()
        assert running(runner) == list("ab" if cancelled else "abc")
        gate.open.set()
        await settle_down()
        assert running(runner) == [0]
        next_gate.open.set()
        await settle_down()
        assert next_gate.most == 1
        runner.cancel("reserved")


@pytest.mark.parametrize("how", ["wait", "map", "submit"])
async def test_calls_that_wait(how: str) -> None:
    """They have lent the place that they would have."""

    async def slowly() -> AsyncIterator[int]:
        yield 1
        await runner.wait("first")
        yield 2

    async def outer() -> Any:
        if how == "map":
            return await runner.map(give, slowly())
        if how == "submit":
            return await (await runner.submit("inner", give, limits=["db"]))
        return await runner.submit_nowait("inner", give, after=["first"])

    runner = ConcurrentTaskRunner(max_pending=0, limits={"db": 1})
    gate = Gate()
    async with runner.start():
        first = runner.reserve("first")
        runner.submit_nowait("has db", gate, limits=["db"])
        slot = runner.submit_nowait("outer", outer)
        await settle_down()
        runner.set_max_workers(1)
        gate.open.set()
        await runner.submit("first", give)
        await slot
        assert await (await runner.submit("next", give)) == 1
    assert first.state is State.COMPLETED
    assert runner.statistics().completed == len(runner.slots) + (2 if how == "map" else 0)


@pytest.mark.parametrize("passes", range(2, 8))
async def test_calls_that_a_task_is_about_to_carry_out(passes: int) -> None:
    """Between two calls of different contexts it lets the loop go by: its next call counts once."""
    var: ContextVar[int] = ContextVar("var")
    runner = ConcurrentTaskRunner()

    async def step() -> None:
        await anyio.lowlevel.checkpoint()

    async with runner.start():
        for number in range(300):
            var.set(number)
            runner.submit_nowait(number, step)
        for _ in range(passes):
            await anyio.lowlevel.checkpoint()
        runner.set_max_workers(2)
        with anyio.fail_after(10):
            await runner.wait_all()
        assert runner._run is not None
        places = runner._run.queue.places
        assert places is not None
        await settle_down()
        assert places.taken == 0
    assert runner.statistics().completed == 300
