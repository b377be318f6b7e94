"""`wait_all` inside calls: lending, circles that would never end, and what it keeps."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest
from outcome import Value

from calls import Gate, forever, give, settle_down
from creche import (
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    Slot,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


def wakers_of(runner: ConcurrentTaskRunner) -> list[Any]:
    return [slot._wakers for slot in runner.slots.values() if slot._wakers]


@pytest.mark.parametrize("max_workers", [None, 1])
@pytest.mark.parametrize("timeout", [None, 1000])
async def test_in_a_call(max_workers: int | None, timeout: float | None) -> None:
    """Its place is lent, however few there are."""
    runner = ConcurrentTaskRunner(max_workers)

    async def outer(depth: int) -> int:
        if not depth:
            return 1
        slots = [runner.submit_nowait(None, outer, depth - 1) for _ in range(3)]
        outcomes = await runner.wait_all(slots, timeout)
        return sum(outcome.unwrap() for outcome in outcomes if outcome)

    with anyio.fail_after(1000):
        async with runner.start():
            assert await runner.submit_nowait("top", outer, 4) == 3**4


async def test_calls_of_a_sequential_runner() -> None:
    """It is the same there."""
    async with SequentialTaskRunner().start() as runner:
        runner.submit_nowait("queued", give, 1)
        await runner.submit("now", give, 2)
        assert await runner.wait_all() == [Value(1), Value(2)]


@pytest.mark.parametrize("timeout", [None, 0])
async def test_a_call_that_waits_for_itself(runner: ConcurrentTaskRunner, timeout: float | None) -> None:
    """It is told so, also if it asked for all, and whatever the time limit."""

    async def call() -> None:
        for keys in (["other", "me"], None):
            with pytest.raises(RuntimeError, match="'me' waits for itself, .* leave it out"):
                await runner.wait_all(keys, timeout)
        assert runner.slots["other"]._wakers is None

    async with runner.start():
        runner.submit_nowait("other", forever)
        await runner.submit_nowait("me", call)
        runner.cancel("other")


async def test_a_circle(runner: ConcurrentTaskRunner) -> None:
    """Whoever closes it is told so, be it by waiting for one or for all; with a limit it is none."""

    async def first() -> Any:
        return await runner.wait_all(["free", "second", "third"])

    async def second() -> None:
        await settle_down()
        with pytest.raises(RuntimeError, match="'second' waits for itself through 'first'"):
            await runner.wait("first")
        assert await runner.wait_all(["free", "first"], timeout=0.1) == [None, None]
        with pytest.raises(RuntimeError, match="'second' waits for itself through 'first'"):
            await runner.wait_all(["free", "first"])

    async def third() -> None:
        """It waits for one that is not in the circle."""
        await runner.wait_all(["fourth"])

    async with runner.start():
        gate = Gate()
        runner.submit_nowait("free", gate)
        runner.submit_nowait("first", first)
        slot = runner.submit_nowait("second", second)
        runner.submit_nowait("third", third)
        runner.submit_nowait("fourth", give)
        await slot
        gate.open.set()
        assert len(await runner.result("first")) == 3


async def test_a_circle_of_two_that_wait_for_all(runner: ConcurrentTaskRunner) -> None:
    """The second to wait is refused, and the first goes on."""
    said: list[str] = []

    async def call(mine: int) -> None:
        try:
            await runner.wait_all([key for key in range(3) if key != mine])
        except RuntimeError as exc:
            said.append(str(exc))

    async with runner.start():
        for n in range(3):
            runner.submit_nowait(n, call, n)
        with anyio.fail_after(10):
            await runner.wait_all(range(3))
    assert len(said) == 2
    assert all("waits for itself through" in error for error in said)


async def test_a_circle_through_a_limit() -> None:
    """One of the calls needs what the caller holds; that one is named."""
    runner = ConcurrentTaskRunner(limits={"db": 1, "disk": 1})

    async def outer() -> None:
        runner.submit_nowait("free", give)
        runner.submit_nowait("inner", give, limits=["db"])
        runner.submit_nowait("last", give, limits=["disk"])
        with pytest.raises(RuntimeError, match="'inner' would never end: 'inner' needs limit 'db'"):
            await runner.wait_all(["free", "inner", "last"])
        await runner.wait_all(["free", "last"])

    async with runner.start():
        runner.submit_nowait("disk", give, limits=["disk"])
        await runner.submit_nowait("outer", outer, limits=["db"])
        await runner.wait("inner")


@pytest.mark.parametrize("max_workers", [None, 1])
async def test_a_reservation_that_is_not_filled(max_workers: int | None) -> None:
    """At the exit it is lost as any other, and whoever waits for it in a call is told."""
    runner = ConcurrentTaskRunner(max_workers)

    async def read() -> list[Any]:
        return [slot.origin for slot in runner.slots.values() if await runner.wait_all(["a", "b"])]

    with anyio.fail_after(0.1):
        async with runner.start():
            runner.reserve("a")
            runner.reserve("b")
            reader = runner.submit_nowait("reader", read)
    assert reader.result() == ["lost", "lost", None]


@pytest.mark.parametrize("timed", [False, True])
async def test_it_keeps_nothing(*, timed: bool) -> None:
    """What was waited for is free without the garbage collector, in a call as well."""
    runner = ConcurrentTaskRunner(retain=False)
    left: list[weakref.ref[Slot[Any]]] = []

    async def outer() -> None:
        slots = [runner.submit_nowait(None, give, n) for n in range(3)]
        left.extend(map(weakref.ref, slots))
        await runner.wait_all(slots, 1000 if timed else None)

    gc.collect()
    gc.disable()
    try:
        async with runner.start():
            await outer()
            await runner.submit_nowait("outer", outer)
            await runner.submit_nowait("next", give)
            assert [ref() for ref in left] == [None] * 6
    finally:
        gc.enable()
