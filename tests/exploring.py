"""Small programs that say by themselves whether creche has kept what it promises, in whatever order.

What it is for: `explore` runs each under thousands of orders. A program asserts many things at once,
since what an order costs is mostly a loop and a runner. What differs between programs of one kind is
drawn from a number, so that a failure is found again.

What it does not know: which loop it is on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
from outcome import Error, Value

from creche import CallCancelled, ConcurrentTaskRunner, Retry, RunnerClosed, Slot


class Work:
    """Bodies of calls, and what is seen of them."""

    def __init__(self, most: int, limit: int = 99) -> None:
        self.most = most
        self.limit = limit
        self.busy = self.limited = 0
        self.begun: Counter[Any] = Counter()
        self.order: list[Any] = []
        self.ended: list[Any] = []

    async def __call__(self, key: Any, steps: int = 1, *, limited: bool = False) -> Any:
        self.begun[key] += 1
        self.order.append(key)
        self.busy += 1
        self.limited += limited
        assert self.busy <= self.most, f"{self.busy} are at work"
        assert self.limited <= self.limit, f"{self.limited} have the limit"
        try:
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
        finally:
            self.busy -= 1
            self.limited -= limited
            self.ended.append(key)
        return key


async def keys(drawn: random.Random) -> None:
    """Each key once, never too many at once, a cancel ends that call only, all readers read the same."""
    most, count = drawn.randint(1, 3), drawn.randint(4, 6)
    work = Work(most, limit=1)
    victim = drawn.randrange(count)
    read: dict[int, list[Any]] = {n: [] for n in range(count)}
    runner = ConcurrentTaskRunner(max_workers=most, limits={"one": 1})

    async def reads(key: int) -> None:
        read[key].append(await runner.wait(key))

    async def cancels() -> None:
        await anyio.lowlevel.checkpoint()
        runner.cancel(victim)

    async with runner.start(), anyio.create_task_group() as group:
        for n in range(count):
            limited = n % 3 == 0
            steps = drawn.randint(0, 2)

            async def call(n: int = n, steps: int = steps, limited: bool = limited) -> Any:
                return await work(n, steps, limited=limited)

            runner.submit_nowait(n, call, priority=n % 2, limits=["one"] if limited else [])
            group.start_soon(reads, n)
        group.start_soon(reads, victim)
        group.start_soon(cancels)
    for n in range(count):
        slot = runner.slots[n]
        assert work.begun[n] <= 1
        assert len(read[n]) == 1 + (n == victim)
        if n != victim or slot.origin is None:
            assert [outcome.value for outcome in read[n]] == [n] * len(read[n])
        else:
            assert {outcome.error.origin for outcome in read[n]} == {"cancel"}
    assert list(runner.slots) == list(range(count))
    assert work.busy == 0


def error_of(outcome: Any) -> BaseException:
    """What an outcome has that is an error."""
    assert isinstance(outcome, Error), outcome
    return outcome.error


async def fails() -> None:
    """A call that fails."""
    raise OSError("refused")


async def nested(drawn: random.Random) -> None:
    """Calls that wait for calls end at one worker, too; what is after others comes after them."""
    most = drawn.randint(1, 2)
    work = Work(most)
    runner = ConcurrentTaskRunner(max_workers=most)

    async def parent(name: str, depth: int) -> int:
        work.busy += 1
        assert work.busy <= most
        if not depth:
            await anyio.lowlevel.checkpoint()
            work.busy -= 1
            return 1
        slots = [runner.submit_nowait(f"{name}{n}", parent, f"{name}{n}", depth - 1) for n in "ab"]
        work.busy -= 1
        found = sum([await slot for slot in slots])
        work.busy += 1
        assert work.busy <= most
        work.busy -= 1
        return found + 1

    async with runner.start():
        slot = runner.submit_nowait("r", parent, "r", drawn.randint(1, 2))
        runner.submit_nowait("bad", fails)
        last = runner.submit_nowait("last", work, "last", after=["r"])
        never = runner.submit_nowait("never", work, "never", after=["bad"])
        assert await last == "last"
        assert slot.outcome in (Value(3), Value(7))
        assert isinstance(error_of(await runner.wait("bad")), OSError)
        assert isinstance(error_of(await runner.wait("never")), CallCancelled)
    assert work.order == ["last"]
    assert never.origin == "upstream"
    assert work.busy == 0


async def feeding(drawn: random.Random) -> None:
    """`map` keeps its order and pulls no more than it may; submits wait for room; keys are shared."""
    most, pending = drawn.randint(1, 2), drawn.randint(0, 2)
    work = Work(most)
    runner = ConcurrentTaskRunner(max_workers=most, max_pending=pending)
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for n in range(4):
            pulled += 1
            assert pulled - len(work.ended) <= most + pending + 1, "it pulls too many"
            yield n

    async def submits(key: str, on_collision: Any) -> Slot[Any]:
        slot = await runner.submit(key, work, key, on_collision=on_collision)
        # One that replaces what a carrier has in hand, and has not begun, waits without room of its own.
        assert runner.statistics().pending <= pending + most + (how == "replace")
        slots.append(slot)
        return slot

    slots: list[Slot[Any]] = []
    how = drawn.choice(["join", "replace"])
    async with runner.start(), anyio.create_task_group() as group:
        group.start_soon(submits, "k", how)
        group.start_soon(submits, "k", how)
        group.start_soon(submits, "other", "raise")
        assert await runner.map(work, items()) == [0, 1, 2, 3]
    if how == "join":
        assert work.begun["k"] == 1
    else:
        assert work.begun["k"] <= 2
        assert [slot.origin for slot in slots if slot.key == "k"].count(None) >= 1
    assert runner.slots["k"].outcome == Value("k")
    assert all(slot.done for slot in slots)
    assert work.busy == 0


async def endings(drawn: random.Random) -> None:  # noqa: C901 - five ways to end
    """However a run ends, all slots are final, no body goes on, and no submit gets through."""
    how = drawn.choice(["drain", "aclose", "scope", "raise", "group"])
    work = Work(2)
    runner = ConcurrentTaskRunner(max_workers=2)
    tried: list[int] = []

    async def flaky(key: int) -> int:
        tried.append(key)
        await work(key, 1)
        if tried.count(key) < 2:
            raise OSError(key)
        return key

    async def late() -> None:
        await anyio.lowlevel.checkpoint()
        try:
            runner.submit_nowait("late", work, "late")
        except RunnerClosed:
            assert how != "group"

    with anyio.CancelScope() as around:
        try:
            async with runner.start(), anyio.create_task_group() as group:
                policy = Retry(1, delay=0, jitter="none")
                slots = [runner.submit_nowait(n, flaky, n, retry=policy) for n in range(3)]
                stuck = runner.submit_nowait("stuck", anyio.sleep_forever)
                group.start_soon(late)
                await anyio.lowlevel.checkpoint()
                if how == "scope":
                    around.cancel()
                elif how == "raise":
                    raise OSError("of the block")
                elif how == "group":
                    await race(runner, work)
                    runner.cancel(stuck)
                else:
                    left = await (runner.drain(3) if how == "drain" else runner.aclose())
                    assert left == ["stuck"] if how == "drain" else "stuck" in left
        except* OSError:
            assert how == "raise"
    assert all(slot.done for slot in runner.slots.values())
    assert work.busy == 0
    assert max(Counter(tried).values(), default=0) <= 2
    for slot in slots:
        assert slot.origin in (None, "closed", "outer", "lost")
        assert (slot.origin is None) == (slot.outcome == Value(slot.key))
    if how in ("drain", "group"):
        assert all(slot.origin is None for slot in slots)


async def race(runner: ConcurrentTaskRunner, work: Work) -> None:
    """The first one that is there ends the others of its group, and no other call."""
    async with runner.group(stop_when="first_success") as group:
        racers = [group.submit_nowait(None, work, f"racer {n}", n) for n in range(3)]
    assert group.stopped_by in racers
    for slot in racers:
        assert slot.done
        if slot.origin is not None:
            assert isinstance(error_of(slot.outcome), CallCancelled)
    assert any(slot.origin is None for slot in racers)


PROPERTIES: dict[str, Callable[[random.Random], Awaitable[None]]] = {
    "keys": keys,
    "nested": nested,
    "feeding": feeding,
    "endings": endings,
}
# How many orders one program is run under.
ORDERS = 50


def program(name: str, number: int) -> Callable[[], Awaitable[None]]:
    """The program of this kind and number."""

    async def run() -> None:
        await PROPERTIES[name](random.Random(number))

    run.__qualname__ = f"program({name!r}, {number})"
    return run


def seeds(number: int) -> range:
    """Of the orders that the program of this number is run under, beside the usual one."""
    return range(number * ORDERS, (number + 1) * ORDERS - 1)
