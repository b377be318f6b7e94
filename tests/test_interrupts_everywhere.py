"""Ctrl-C at every line of creche's own: whatever it hits, nothing is lost, torn, or waited for in vain.

Each program is run once to see which lines it comes to, and then once more for each of these, or for
each fourth of them unless pytest is given ``--every-point``, with Ctrl-C just there. All its calls end
by themselves, within seconds; the grace is so long that sitting it out shows.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from conftest import VirtualTimeLoop
from creche import ConcurrentTaskRunner, Rate, Retry, SequentialTaskRunner, State
from creche._base import _OPEN
from creche._capture import leaves
from creche._carrier import CARRIED
from interrupting import Book, Line, Presser

pytestmark = pytest.mark.slow

GRACE = 10_000

Program = Callable[[Book], Awaitable[None]]


async def places(book: Book) -> None:
    """A few places; calls that submit calls and wait for them, and the body does what there is to do."""
    runner = book.open(ConcurrentTaskRunner(2, grace=GRACE))

    async def nests() -> None:
        runner.submit_nowait("inner", book.work, "inner")
        await runner.wait("inner", timeout=20)
        assert await runner.submit_nowait("other", book.work, "other") == "other"

    async with runner.start():
        runner.submit_nowait("first", book.work, "first").add_done_callback(str)
        runner.submit_nowait("nests", nests)
        await runner.submit("second", book.work, "second")
        runner.submit_nowait("dropped", book.work, "dropped")
        assert runner.cancel("dropped")
        await runner.result("first")
        runner.forget("first")
        runner.set_max_workers(3)
        runner.submit_nowait("cut", book.work, "cut")
        await anyio.sleep(0.5)
        runner.submit_nowait("cut", book.work, "cut instead", on_collision="replace")
        runner.submit_nowait("timed", book.work, "timed", 2, timeout=1)
        runner.submit_nowait("last", book.work, "last")


async def admission(book: Book) -> None:
    """Limits, a rate, priorities, a limiter object, calls that run after others, a reservation."""
    runner = book.open(
        ConcurrentTaskRunner(
            2,
            grace=GRACE,
            ageing=10,
            limits={"db": 1, "often": Rate(1, per=2), "shared": anyio.CapacityLimiter(1)},
        )
    )

    async def submits() -> None:
        runner.submit_nowait("high", book.work, "high", priority=2)
        await runner.submit("filled", book.work, "filled", limits=["db"])

    async with runner.start():
        runner.reserve("filled")
        for n in range(2):
            runner.submit_nowait(n, book.work, n, limits=["db", "often"])
        runner.submit_nowait("shared", book.work, "shared", limits=["shared"])
        runner.submit_nowait("submits", submits, priority=1)
        runner.submit_nowait("after", book.work, "after", after=[0, "filled"])
        runner.submit_nowait("any end", book.work, "any end", after=[1], after_any_end=True)
        runner.set_limit("db", 2)
        await runner.wait("after")
        runner.submit_nowait("shared too", book.work, "shared too", limits=["shared"])
        runner.submit_nowait("rated", book.work, "rated", limits=["often"])


async def together(book: Book) -> None:
    """A group, a race, a map over what comes asynchronously, whatever settles next, and a drain."""
    runner = book.open(ConcurrentTaskRunner(3, grace=GRACE))

    async def source() -> AsyncIterator[str]:
        for item in ("one", "two", "three"):
            yield item
            await anyio.sleep(0.1)

    async with runner.start():
        async with runner.group(stop_when="first_success") as group:
            group.submit_nowait("quick", book.work, "quick", 1)
            await group.submit("slow", book.work, "slow", 5)
        assert await runner.race(partial(book.work, "a", 1), partial(book.work, "b", 2)) == "a"
        assert await runner.map(book.work, source()) == ["one", "two", "three"]
        for n in range(3):
            runner.submit_nowait(n, book.work, n, 1 + n)
        async with runner.as_completed([0, 1]) as slots:
            async for slot in slots:
                slot.result()
        await runner.wait_all([0, 1, 2])
        await runner.drain(0.5)


async def in_turn(book: Book) -> None:
    """Calls in the tasks of their submitters, one of them a call of another runner."""
    host = book.open(ConcurrentTaskRunner(grace=GRACE))
    runner = book.open(SequentialTaskRunner())

    async def submits() -> None:
        await runner.submit("theirs", book.work, "theirs")
        await runner.submit("after", book.work, "after", after=["queued"])

    async with host.start(), runner.start():
        host.submit_nowait("submits", submits)
        runner.submit_nowait("queued", book.work, "queued")
        await runner.submit("ours", book.work, "ours")
        await runner.wait("theirs" if "theirs" in runner.slots else "queued")


async def family(book: Book) -> None:
    """A task group of calls, used both ways."""
    runner = book.open(ConcurrentTaskRunner(grace=GRACE))

    async def server(*, task_status: Any) -> None:
        await anyio.sleep(1)
        task_status.started("ready")
        await book.work("server")

    async with runner.start():
        runner.as_task_group().start_soon(book.work, "at once", name="at once")
        async with runner.as_task_group() as group:
            group.start_soon(book.work, "child", name="child")
            assert await group.start(server) == "ready"


async def threads(book: Book) -> None:
    """Plain functions; a thread has no virtual time, so that nobody is given any."""
    runner = book.open(ConcurrentTaskRunner(2))

    def returns_work() -> Awaitable[Any]:
        return book.work("work")

    async with runner.start():
        runner.submit_nowait("plain", len, "plain")
        runner.submit_nowait("awaited", returns_work)
        await runner.result("plain")


async def attempts(book: Book) -> None:
    """Calls that are tried again, with a limit and without, in the queue and in a submit."""
    runner = book.open(ConcurrentTaskRunner(1, grace=GRACE, limits={"db": 1}))
    host = book.open(SequentialTaskRunner())
    policy = Retry(2, delay=1, factor=1, jitter="none", on=lambda error: bool(error.args))

    def fails(key: str, failures: int) -> Callable[[], Awaitable[int]]:
        tries = iter(range(10))

        async def call() -> int:
            tried = next(tries)
            await book.work((key, tried), 0.5)
            if tried < failures:
                raise KeyError(tried)
            return tried

        return call

    async with host.start(), runner.start():
        runner.submit_nowait("limited", fails("limited", 2), retry=policy, limits=["db"], timeout=3)
        runner.submit_nowait("other", book.work, "other", limits=["db"])
        runner.submit_nowait("late", fails("late", 1), retry=policy, timeout=0.2)
        runner.submit_nowait("cancelled", fails("cancelled", 9), retry=policy, limits=["db"])
        await host.submit("ours", fails("ours", 1), retry=policy)
        assert await runner.result("limited") == 2
        runner.cancel("cancelled")


PROGRAMS: list[Program] = [places, admission, together, in_turn, family, threads]


# On either loop ---------------------------------------------------------------------------------------


def on_trio(fn: Callable[[], Awaitable[None]]) -> None:
    """In virtual time."""
    trio.run(fn, clock=trio.testing.MockClock(autojump_threshold=0))


def on_asyncio(fn: Callable[[], Any]) -> None:
    """In virtual time, but for threads, which that would not wait for."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as loop:
        loop.run(fn())


def run_pressed(
    run: Callable[[Any], None], program: Program, at: tuple[Line, int] | None
) -> tuple[Presser, Book, BaseException | None]:
    """Run a program, with Ctrl-C at a line; what came out of it."""
    book = Book()
    took: list[float] = []

    async def main() -> None:
        begin = anyio.current_time()
        try:
            await program(book)
        finally:
            took.append(anyio.current_time() - begin)

    came: BaseException | None = None
    with Presser(at) as presser:
        try:
            run(main)
        except BaseException as exc:
            came = exc
    assert took[0] < GRACE / 10, at
    return presser, book, came


def check(at: object, presser: Presser, book: Book, came: BaseException | None) -> None:
    """Whether all is in order, whatever was hit."""
    if came is not None:
        assert presser.has_pressed, at
        assert {type(leaf) for leaf in leaves(came)} == {KeyboardInterrupt}, (at, came)
    for runner in book.runners:
        assert not runner.is_started, at
        for slot in runner.slots.values():
            assert slot.done, (at, slot)
        numbers = runner.statistics()
        assert (numbers.pending, numbers.running, numbers.reserved) == (0, 0, 0), (at, numbers)
        assert (numbers.carriers, numbers.carriers_idle) == (0, 0), (at, numbers)
        for key, slot in runner.slots.items():
            if slot.state is State.COMPLETED and slot.result() == key:
                assert book.ended[key] == 1, (at, slot)
    assert max(book.begun.values(), default=0) <= 1, at
    assert CARRIED == {}, at
    assert _OPEN == {}, at


def sweep(run: Callable[[Any], None], program: Program, *, every: int) -> None:
    """Run a program again and again, with Ctrl-C at another of its lines each time."""
    presser, book, came = run_pressed(run, program, None)
    assert came is None
    check("nowhere", presser, book, came)
    lines = sorted((line, 1) for line in presser.seen)
    assert len(lines) > 100
    pressed = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for at in lines[::every]:
            presser, book, came = run_pressed(run, program, at)
            check(at, presser, book, came)
            pressed += presser.has_pressed
            assert not warned, (at, warned[0].message)
        del presser, book, came
        gc.collect()
    assert not warned, warned[0].message
    assert pressed > len(lines[::every]) // 2


@pytest.fixture(autouse=True)
def in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio draws whether the tasks that can run do so in order."""
    monkeypatch.setattr("trio._core._run._r.random", lambda: 1.0)


@pytest.mark.parametrize("run", [on_trio, on_asyncio])
def test_at_some_lines(run: Callable[[Any], None]) -> None:
    """A sample of those of a program that takes long."""
    sweep(run, attempts, every=7)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("run", [on_trio, on_asyncio])
def test_at_a_line(run: Callable[[Any], None], program: Program, *, every_point: bool) -> None:
    """When the program comes there first; at each of them only if asked for, which takes minutes."""
    sweep(run, program, every=1 if every_point else 4)
