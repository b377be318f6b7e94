"""Nested waiting: a call that waits for another lends its place, and takes it back before new calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from outcome import Value

from calls import give
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


class Inside:
    """How many calls are carried out at once, those that wait for others not counted."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        self.now -= 1


async def by_wait(runner: ConcurrentTaskRunner, key: Any) -> Any:
    outcome = await runner.wait(key)
    assert isinstance(outcome, Value)
    return outcome.unwrap()


async def by_result(runner: ConcurrentTaskRunner, key: Any) -> Any:
    return await runner.result(key)


async def by_await(runner: ConcurrentTaskRunner, key: Any) -> Any:
    return await runner.slots[key]


async def by_as_completed(runner: ConcurrentTaskRunner, key: Any) -> Any:
    async with runner.as_completed([key]) as slots:
        values = [slot.result() async for slot in slots]
    return values[0]


async def by_wait_all(runner: ConcurrentTaskRunner, key: Any) -> Any:
    outcomes = await runner.wait_all([key, key])
    return outcomes[0].unwrap()


async def by_timed_wait(runner: ConcurrentTaskRunner, key: Any) -> Any:
    outcome = await runner.wait(key, timeout=1000)
    assert isinstance(outcome, Value)
    return outcome.unwrap()


async def by_a_child(runner: ConcurrentTaskRunner, key: Any) -> Any:
    got: list[Any] = []

    async def child() -> None:
        got.append(await runner.result(key))

    async def grandchild() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    async with anyio.create_task_group() as group:
        group.start_soon(grandchild)
    return got[0]


WAYS = [by_wait, by_result, by_await, by_as_completed, by_wait_all, by_timed_wait, by_a_child]
each_way = pytest.mark.parametrize("wait", WAYS)


@each_way
@pytest.mark.parametrize("max_workers", [1, 2])
async def test_nested_waits_never_deadlock(
    wait: Callable[[ConcurrentTaskRunner, Any], Awaitable[Any]], max_workers: int
) -> None:
    """However deep they are, however few places there are; and the limit holds for those that work."""
    runner = ConcurrentTaskRunner(max_workers)
    inside = Inside()

    async def at_depth(depth: int, name: str) -> int:
        with inside:
            await anyio.lowlevel.checkpoint()
            if depth == 0:
                return 1
            for n in range(2):
                await runner.submit(f"{name}{n}", at_depth, depth - 1, f"{name}{n}")
        values = [await wait(runner, f"{name}{n}") for n in range(2)]
        with inside:
            await anyio.lowlevel.checkpoint()
        return sum(values)

    with anyio.fail_after(1000):
        async with runner.start():
            slot = runner.submit_nowait("", at_depth, 5, "")
    assert slot.result() == 32
    assert inside.most == max_workers


@pytest.mark.parametrize("max_workers", [1, 3])
async def test_map_inside_a_call(max_workers: int) -> None:
    """It submits to the very runner that its call occupies a place of."""
    runner = ConcurrentTaskRunner(max_workers)

    async def squares(n: int) -> int:
        return sum(await runner.map(lambda_square, range(n)))

    async def lambda_square(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        return n * n

    with anyio.fail_after(1000):
        async with runner.start():
            slots = [runner.submit_nowait(n, squares, n) for n in range(6)]
    assert [slot.result() for slot in slots] == [0, 0, 1, 5, 14, 30]


async def test_taking_the_place_back_comes_before_new_calls() -> None:
    """The waiter goes on as soon as what it waited for has ended, whatever has queued up meanwhile."""
    runner = ConcurrentTaskRunner(1)
    order: list[str] = []

    async def outer() -> None:
        order.append("outer begins")
        await runner.submit("inner", note, "inner")
        for n in range(3):
            await runner.submit(n, note, f"new {n}")
        await runner.wait("inner")
        order.append("outer goes on")

    async def note(what: str) -> None:
        await anyio.lowlevel.checkpoint()
        order.append(what)

    async with runner.start():
        runner.submit_nowait("outer", outer)
    assert order == ["outer begins", "inner", "outer goes on", "new 0", "new 1", "new 2"]


async def test_two_tasks_of_one_call_that_wait() -> None:
    """The first lends the place, the last takes it back."""
    runner = ConcurrentTaskRunner(1)

    async def outer() -> list[Any]:
        got: list[Any] = []

        async def read(key: str) -> None:
            got.append(await runner.result(key))

        async with anyio.create_task_group() as group:
            for key in ("a", "b"):
                runner.submit_nowait(key, give, key)
                group.start_soon(read, key)
        return sorted(got)

    with anyio.fail_after(1000):
        async with runner.start():
            slot = runner.submit_nowait("outer", outer)
            later = runner.submit_nowait("later", give, 1)
    assert slot.result() == ["a", "b"]
    assert later.result() == 1


async def test_two_runners_that_wait_for_each_other() -> None:
    """A call of one that waits for the other's lends its place as well: A, B, A at one worker each."""
    one, other = ConcurrentTaskRunner(1), ConcurrentTaskRunner(1)

    async def top() -> Any:
        return await other.submit_nowait("middle", middle)

    async def middle() -> Any:
        return await one.submit_nowait("bottom", give, 7)

    with anyio.fail_after(1000):
        async with one.start(), other.start():
            slot = one.submit_nowait("top", top)
            assert await slot == 7


async def test_a_runner_inside_a_call() -> None:
    """Its calls are part of that call: when one waits for the outer runner, the outer place is lent."""
    outer_runner = ConcurrentTaskRunner(1)

    async def hosting() -> Any:
        async with ConcurrentTaskRunner(1).start() as inner_runner:
            return await inner_runner.submit_nowait("inner", waiting)

    async def waiting() -> Any:
        return await outer_runner.submit_nowait("outer", give, 8)

    with anyio.fail_after(1000):
        async with outer_runner.start():
            slot = outer_runner.submit_nowait("hosting", hosting)
    assert slot.result() == 8


async def test_waiting_in_a_circle() -> None:
    """The wait that would close it is refused, naming the keys on the way."""
    runner = ConcurrentTaskRunner(3)

    async def wait_for(key: str) -> Any:
        await anyio.lowlevel.checkpoint()
        return await runner.result(key)

    async with runner.start():
        runner.submit_nowait("a", wait_for, "b")
        runner.submit_nowait("b", wait_for, "c")
        await settle_down_without("c", runner)
        runner.submit_nowait("d", wait_for, "a")
        with pytest.raises(RuntimeError, match=r"'.' waits for itself through '.', '.'") as caught:
            await runner.result("d")
    assert "would never end" in str(caught.value)
    assert all(slot.state is State.FAILED for slot in runner.slots.values())


async def settle_down_without(key: str, runner: ConcurrentTaskRunner) -> None:
    """Submit the last call of the circle, which waits for its first."""

    async def close_the_circle() -> Any:
        await anyio.sleep(0.01)
        return await runner.result("a")

    runner.submit_nowait(key, close_the_circle)
    await anyio.lowlevel.checkpoint()


async def test_calls_of_a_sequential_runner_that_wait() -> None:
    """`submit_nowait` from inside a call, and waiting for it: still one at a time."""
    runner = SequentialTaskRunner()
    inside = Inside()

    async def outer() -> Any:
        with inside:
            slot = runner.submit_nowait("inner", inner)
        value = await slot
        with inside:
            return value

    async def inner() -> int:
        with inside:
            await anyio.lowlevel.checkpoint()
            return 5

    with anyio.fail_after(1000):
        async with runner.start():
            slot = runner.submit_nowait("outer", outer)
            guest = await runner.submit("guest", give, 1)
    assert (slot.result(), guest.result(), inside.most) == (5, 1, 1)
