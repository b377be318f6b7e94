"""`wait_all`: the outcomes of many calls, by one wait."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import pytest
from outcome import Error, Value

from calls import Gate, counted, error_of, fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    RunnerNotStarted,
    State,
    UnknownKey,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


def wakers_of(runner: ConcurrentTaskRunner) -> list[Any]:
    return [slot._wakers for slot in runner.slots.values() if slot._wakers]


async def test_what_it_gives(runner: ConcurrentTaskRunner) -> None:
    """One outcome for each key that was named, in that order, however the calls ended."""
    error = KeyError("x")
    async with runner.start():
        one = runner.submit_nowait("one", give, 1)
        runner.submit_nowait("bad", fail, error)
        runner.submit_nowait("off", forever)
        runner.submit_nowait("two", give, 2)
        await settle_down()
        runner.cancel("off", reason="not needed")
        off, two, bad, first, again = await runner.wait_all(["off", "two", "bad", one, "one"])
        assert isinstance(error_of(off), CallCancelled)
        assert "not needed" in str(error_of(off))
        assert (two, first, again) == (Value(2), Value(1), Value(1))
        assert first is not again
        assert error_of(bad) is error
        for outcome in await runner.wait_all(iter(["one", "two"])):
            outcome.unwrap()  # they are fresh
        assert await runner.wait_all([]) == []


async def test_without_keys(runner: ConcurrentTaskRunner) -> None:
    """All that are on the board now, in the order of claiming; not what comes later."""
    gate = Gate()
    found: list[Any] = []
    async with runner.start():
        assert await runner.wait_all() == []
        runner.reserve("reserved")
        runner.submit_nowait("gate", gate, 1)
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                found.extend(await runner.wait_all())

            group.start_soon(wait)
            await settle_down()
            later = runner.submit_nowait("later", forever)
            gate.open.set()
            await settle_down()
            assert not found
            runner.submit_nowait("reserved", give, 2)
        assert found == [Value(2), Value(1)]
        assert not later.done
        runner.cancel("later")


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
async def test_it_ends_with_the_last(runner: ConcurrentTaskRunner, order: str) -> None:
    """In whatever order the calls end: not before the last has, and by one wake-up."""
    gates = [Gate() for _ in range(40)]
    steps: list[int] = []
    async with runner.start():
        for n, gate in enumerate(gates):
            runner.submit_nowait(n, gate, n)
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                outcomes = await counted(runner.wait_all(range(40)), steps)
                assert outcomes == [Value(n) for n in range(40)]

            group.start_soon(wait)
            await settle_down()
            keys = list(range(40))
            if order == "backwards":
                keys.reverse()
            elif order == "shuffled":
                random.Random(1).shuffle(keys)
            for n in keys:
                assert len(steps) == 1
                gates[n].open.set()
                await settle_down()
        assert len(steps) == 2


async def wait_all(runner: ConcurrentTaskRunner) -> None:
    assert await runner.wait_all() == [Value(n) for n in range(10_000)]


async def until_idle(runner: ConcurrentTaskRunner) -> None:
    await runner.until_idle()


async def drain(runner: ConcurrentTaskRunner) -> None:
    assert await runner.drain() == []


@pytest.mark.parametrize("wait", [wait_all, until_idle, drain])
@pytest.mark.parametrize("max_workers", [None, 3])
async def test_ten_thousand_calls_wake_once(
    wait: Callable[[ConcurrentTaskRunner], Awaitable[None]], max_workers: int | None
) -> None:
    """One wake-up, though the calls end in many passes of the loop; and no slot but one has a waiter."""
    steps: list[int] = []
    gate = Gate()
    async with ConcurrentTaskRunner(max_workers).start() as runner:
        for n in range(10_000):
            runner.submit_nowait(n, give if n % 10 else gate, n)
        async with anyio.create_task_group() as group:

            async def count() -> None:
                await counted(wait(runner), steps)

            group.start_soon(count)
            await settle_down()
            assert len(steps) == 1
            assert len(wakers_of(runner)) == 1
            gate.open.set()
    assert len(steps) == 2


async def test_the_end_of_a_group_wakes_once(runner: ConcurrentTaskRunner) -> None:
    """However many calls it has."""
    steps: list[int] = []
    async with runner.start():
        group = await runner.group().__aenter__()
        for n in range(1000):
            group.submit_nowait(n, give, n)
        await counted(group.__aexit__(None, None, None), steps)
        assert all(slot.done for slot in group.slots.values())
    assert len(steps) == 2


async def test_timeouts(runner: ConcurrentTaskRunner) -> None:
    """What had not ended in time is None, the rest is there; a settled slot beats a timeout of 0."""
    gate = Gate()
    async with runner.start():
        runner.submit_nowait("bad", fail)
        runner.submit_nowait("open", gate, 1)
        bad, still_open = await runner.wait_all(["bad", "open"], timeout=0.1)
        assert isinstance(error_of(bad), ValueError)
        assert still_open is None
        still_open, bad = await runner.wait_all(["open", "bad"], 0)
        assert isinstance(bad, Error)
        assert still_open is None
        assert wakers_of(runner) == []
        gate.open.set()
        assert (await runner.wait_all(["open"], timeout=3600)) == [Value(1)]
        assert (await runner.wait_all(["open"], timeout=0)) == [Value(1)]
        wrong: Any
        for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
            with pytest.raises(error):
                await runner.wait_all(["open"], wrong)


async def test_a_timeout_is_for_all_together(virtual_time: Any) -> None:
    """Not for each."""
    if not virtual_time:
        pytest.skip("it sleeps")
    async with ConcurrentTaskRunner().start() as runner:
        for n in range(10):
            runner.submit_nowait(n, anyio.sleep, n + 1)
        start = anyio.current_time()
        outcomes = await runner.wait_all(timeout=4.5)
        assert anyio.current_time() - start == pytest.approx(4.5)
        assert outcomes == [Value(None)] * 4 + [None] * 6
        await runner.wait_all(timeout=100)
        assert anyio.current_time() - start == pytest.approx(10)


@pytest.mark.parametrize("keys", [3, "abc", b"abc", [[]]])
async def test_what_are_no_keys(runner: ConcurrentTaskRunner, keys: Any) -> None:
    """A string is one key, not a list of them."""
    async with runner.start():
        with pytest.raises(TypeError, match="in a list|must be hashable"):
            await runner.wait_all(keys)


async def test_unknown_keys(runner: ConcurrentTaskRunner) -> None:
    """They are refused before it waits; after the run it reads what there was."""
    with pytest.raises(RunnerNotStarted):
        await runner.wait_all()
    async with runner.start():
        runner.submit_nowait("open", forever)
        with pytest.raises(UnknownKey, match="missing"):
            await runner.wait_all(["open", "missing"])
        assert wakers_of(runner) == []
        runner.cancel("open")
    (outcome,) = await runner.wait_all()
    assert isinstance(error_of(outcome), CallCancelled)


async def test_cancelling_the_wait(runner: ConcurrentTaskRunner) -> None:
    """It leaves nothing in the slots, and the calls go on."""
    gates = [Gate() for _ in range(3)]
    async with runner.start():
        slots = [runner.submit_nowait(n, gate, n) for n, gate in enumerate(gates)]
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(runner.wait_all, slots)
                await settle_down()
                gates[2].open.set()
                await slots[2]
                assert len(wakers_of(runner)) == 1
                scope.cancel()
        assert wakers_of(runner) == []
        assert slots[0].state is slots[1].state is State.RUNNING
        for gate in gates:
            gate.open.set()
        assert await runner.wait_all(slots) == [Value(n) for n in range(3)]


async def test_a_checkpoint_for_what_is_settled(runner: ConcurrentTaskRunner) -> None:
    """As `wait` is one: always a cancel point, and a schedule point every so often."""
    async with runner.start():
        await runner.wait_all([runner.submit_nowait(n, give) for n in range(100)])
        keys: list[str] | None
        for keys in ([], None):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await runner.wait_all(keys)
                raise AssertionError
            assert scope.cancelled_caught
        turns: list[int] = []
        for _ in range(128):
            await counted(runner.wait_all(), turns)
        assert len(turns) == 128 + 2
