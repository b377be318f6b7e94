"""`as_completed`: slots in the order in which they settle."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, UnknownKey

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_the_order_of_settling(runner: ConcurrentTaskRunner) -> None:
    """The settled ones come first, then each as it settles, failed and cancelled ones too."""
    async with runner.start():
        runner.submit_nowait("done", give)
        await runner.wait("done")
        gates = {n: Gate() for n in (3, 1, 2)}
        for n, gate in gates.items():
            runner.submit_nowait(n, gate)
        runner.submit_nowait("bad", fail)
        runner.submit_nowait("off", forever)
        await settle_down()
        runner.cancel("off")
        async with runner.as_completed() as slots:
            keys = [(await anext(slots)).key for _ in range(3)]
            for n in (1, 2, 3):
                gates[n].open.set()
                keys.append((await anext(slots)).key)
            assert [slot async for slot in slots] == []
    assert set(keys[:3]) == {"done", "bad", "off"}
    assert keys[3:] == [1, 2, 3]


async def test_each_slot_once(runner: ConcurrentTaskRunner) -> None:
    """Keys and handles may be mixed and repeated."""
    async with runner.start():
        slot = runner.submit_nowait(1, give)
        async with runner.as_completed([1, slot, 1]) as slots:
            assert [one async for one in slots] == [slot]
        async with runner.as_completed([]) as slots:
            assert [one async for one in slots] == []


async def test_breaking_out(runner: ConcurrentTaskRunner) -> None:
    """Leaving early leaves no waiter behind, and the calls go on."""
    gate = Gate()
    async with runner.start():
        first = runner.submit_nowait(1, give)
        second = runner.submit_nowait(2, gate, 2)
        async with runner.as_completed() as slots:
            async for slot in slots:
                assert slot is first
                break
        assert second._wakers is None
        gate.open.set()
        assert await second == 2


async def test_a_reader_that_is_cancelled(runner: ConcurrentTaskRunner) -> None:
    """The calls are untouched, and what settles later can still be read."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait(1, gate, 1)
        async with runner.as_completed([1]) as slots:
            with anyio.move_on_after(0.01):
                await anext(slots)
                raise AssertionError
            gate.open.set()
            assert await anext(slots) is slot
            with pytest.raises(StopAsyncIteration):
                await anext(slots)


async def test_several_readers(runner: ConcurrentTaskRunner) -> None:
    """They share the slots, and all of them end."""
    gate = Gate()
    seen: list[Any] = []
    async with runner.start():
        for n in range(10):
            runner.submit_nowait(n, gate, n)

        async def read(slots: Any) -> None:
            async for slot in slots:
                seen.append(slot.key)
                await anyio.lowlevel.checkpoint()

        async with runner.as_completed() as slots, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(read, slots)
            await settle_down()
            gate.open.set()
    assert sorted(seen) == list(range(10))


async def test_wrong_use(runner: ConcurrentTaskRunner) -> None:
    """Unknown keys are refused at the call; the block cannot be left out, or entered twice."""
    async with runner.start():
        with pytest.raises(UnknownKey):
            runner.as_completed(["x"])
        runner.submit_nowait(1, give)
        listening = runner.as_completed()
        with pytest.raises(RuntimeError, match="async with"):
            async for _ in listening:
                raise AssertionError
        async with listening:
            with pytest.raises(RuntimeError, match="entered before"):
                await listening.__aenter__()


async def test_a_settled_slot_is_a_cancel_point(runner: ConcurrentTaskRunner) -> None:
    """A loop over settled slots can be cancelled."""
    async with runner.start():
        for n in range(3):
            runner.submit_nowait(n, give)
        await settle_down()
        seen = 0
        with anyio.CancelScope() as scope:
            async with runner.as_completed() as slots:
                async for _ in slots:
                    seen += 1
                    scope.cancel()
    assert (seen, scope.cancelled_caught) == (1, True)


async def test_more_readers_than_slots() -> None:
    """Each slot is read by one of them; the others are told that none will follow."""
    gate = Gate()
    read: list[Any] = []

    async def reader(slots: Any) -> None:
        async for slot in slots:
            read.append(slot.key)  # noqa: PERF401 - several of these run at once

    async with ConcurrentTaskRunner().start() as runner:
        for n in range(2):
            runner.submit_nowait(n, gate)
        async with runner.as_completed() as slots, anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(reader, slots)
            await settle_down()
            runner.cancel(0)
            await settle_down()
            gate.open.set()
    assert sorted(read) == [0, 1]


async def test_a_reader_that_is_left_behind() -> None:
    """Leaving the block tells whoever still waits for a slot that none will come."""
    ends: list[str] = []

    async def reader(slots: Any) -> None:
        async for _ in slots:
            raise AssertionError
        ends.append("reader")

    async with ConcurrentTaskRunner().start() as runner, anyio.create_task_group() as group:
        runner.submit_nowait("k", forever)
        async with runner.as_completed() as slots:
            group.start_soon(reader, slots)
            await settle_down()
        await settle_down()
        assert ends == ["reader"]
        runner.cancel("k")


@pytest.mark.parametrize("keys", [3, "abc", b"abc"])
async def test_what_are_no_keys(keys: Any) -> None:
    """A string is one key, not a list of them."""
    async with ConcurrentTaskRunner().start() as runner:
        with pytest.raises(TypeError, match="in a list"):
            runner.as_completed(keys)
