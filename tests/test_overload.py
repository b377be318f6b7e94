"""Too much of everything, at sizes that a test can bear: what happens, and that it grows by the number.

Times say nothing on a busy machine; how many Python functions are called does. The full sizes are those
of ``nox -s soak -- --overload``, and what is promised is in docs/explanation/reliability.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing
from overload import waiters_cancelled, waiters_served

from calls import error_of, fail, forever, give, give_at_once
from conftest import VirtualTimeLoop
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    KeyTaken,
    Limit,
    NotSettled,
    Rate,
    Retry,
    RunnerClosed,
    SequentialTaskRunner,
    State,
    UnknownKey,
)
from creche.instruments import CallEvent, EventLog, Instrument

pytestmark = pytest.mark.anyio

READABLE = 1000
"""Characters that a message has at most, whatever its key."""


async def steps(fn: Callable[[], Awaitable[object]]) -> int:
    """How many Python functions are called, or gone on with, in this thread while it is awaited."""
    count = 0

    def see(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(see)
    try:
        await fn()
    finally:
        sys.setprofile(None)
    return count


async def grows_by_number(case: Callable[[int], Awaitable[object]], number: int) -> None:
    """Four times as many take four times as much."""
    await case(number)
    few, many = [await steps(lambda size=size: case(size)) for size in (number, 4 * number)]  # type: ignore  # size is bound, and a number
    assert many < 4.4 * few + 1000


async def pending(number: int, how: str) -> None:
    gate = anyio.Event()
    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("gate", gate.wait)
        await anyio.lowlevel.checkpoint()
        slots = [runner.submit_nowait(key, give_at_once, key) for key in range(number)]
        if how == "cancel_all":
            runner.cancel_all()
        elif how == "cancel":
            for slot in slots:
                runner.cancel(slot)
        elif how == "dump":
            assert runner.dump().count("\n") < 120
        gate.set()
        if how == "drain":
            assert len(await runner.drain(0)) >= number
        elif how == "wait_all":
            assert len(await runner.wait_all(slots)) == number
        await runner.until_idle()
        for slot in slots:
            runner.forget(slot)
    expected = State.CANCELLED if how in ("cancel_all", "cancel", "drain") else State.COMPLETED
    assert {slot.state for slot in slots} == {expected}


@pytest.mark.parametrize("how", ["run", "cancel_all", "cancel", "drain", "wait_all", "dump"])
async def test_many_pending_calls(how: str) -> None:
    """Whatever becomes of them, each costs the same, however many there are."""
    await grows_by_number(lambda number: pending(number, how), 300)


async def test_many_dependants() -> None:
    """Of one call, and in a chain that ends where it began: neither recursion nor a square."""

    async def beside(number: int) -> None:
        async with ConcurrentTaskRunner(4).start() as runner:
            first = runner.submit_nowait("first", give)
            for key in range(number):
                runner.submit_nowait(key, give_at_once, key, after=[first])
        assert runner.statistics().completed == number + 1

    async def chain(number: int) -> None:
        async with ConcurrentTaskRunner(4).start() as runner:
            slot = runner.submit_nowait("first", forever)
            for key in range(number):
                slot = runner.submit_nowait(key, give_at_once, key, after=[slot])
            runner.cancel("first")
        assert slot.origin == "upstream"

    await grows_by_number(beside, 300)
    await grows_by_number(chain, 500)


@pytest.mark.parametrize("case", [waiters_served, waiters_cancelled])
async def test_many_waiters(case: Callable[[int], Awaitable[None]]) -> None:
    """On one slot: all are served, or none that was cancelled; each costs the same."""
    await grows_by_number(case, 200)


async def test_many_runners_in_one_task() -> None:
    """More than Python may recurse, one inside the other: all are usable, and can be left."""
    number = sys.getrecursionlimit() + 100
    async with AsyncExitStack() as stack:
        runners = [
            await stack.enter_async_context(ConcurrentTaskRunner().start()) for _ in range(number)
        ]
        slots = [runner.submit_nowait("key", give_at_once, 1) for runner in runners]
    assert {slot.state for slot in slots} == {State.COMPLETED}


async def test_many_runners_beside_each_other() -> None:
    """In a task each."""

    async def case(number: int) -> None:
        async def one() -> None:
            async with ConcurrentTaskRunner().start() as runner:
                assert await runner.submit_nowait("key", give, 1) == 1

        async with anyio.create_task_group() as group:
            for _ in range(number):
                group.start_soon(one)

    await grows_by_number(case, 50)


# A key of a megabyte -----------------------------------------------------------------------------------

LARGE = "k" * 1_000_000


async def test_messages_about_a_large_key(caplog: pytest.LogCaptureFixture) -> None:
    """Its beginning and its end are shown, and how long it is; whatever is said of it."""
    said: list[str] = []

    def raised(kind: type[BaseException], fn: Callable[..., object], *args: Any, **options: Any) -> None:
        with pytest.raises(kind) as caught:
            fn(*args, **options)
        said.extend((str(caught.value), repr(caught.value)))

    runner = ConcurrentTaskRunner(1)
    async with runner.start():
        slot = runner.submit_nowait(LARGE, forever)
        runner.submit_nowait(("after", LARGE), give, after=[LARGE])
        raised(KeyTaken, runner.submit_nowait, LARGE, give)
        raised(UnknownKey, runner.cancel, LARGE + "!")
        raised(NotSettled, runner.forget, LARGE)
        raised(NotSettled, slot.result)
        raised(ValueError, runner.submit_nowait, None, give, after=[LARGE], on_collision=LARGE[:9])
        dump = runner.dump()
        said += [repr(slot), *dump.splitlines()]
        runner.cancel(LARGE)
        runner.submit_nowait(LARGE + "fails", fail)
        assert (await runner.wait(LARGE)) is not None
    raised(CallCancelled, slot.result)
    raised(CallCancelled, runner.slots["after", LARGE].result)
    raised(RunnerClosed, runner.submit_nowait, LARGE, give)
    said += [record.getMessage() for record in caplog.records]
    assert any("nobody read" in line for line in said)
    assert max(map(len, said)) < READABLE
    assert sum("(1,000,002 characters)" in line for line in said) > 8


async def test_an_event_file_of_large_keys(tmp_path: Path) -> None:
    """Each line is short, and the keys in it are told apart all the same."""
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        async with ConcurrentTaskRunner(instruments=[log]).start() as runner:
            for last in "ab":
                runner.submit_nowait(LARGE + last, give_at_once)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) < 2 * READABLE
    told = [json.loads(line) for line in lines]
    finished = [one["key"] for one in told if one.get("state") == "COMPLETED"]
    assert len(finished) == len(set(finished)) == 2


@pytest.mark.usefixtures("real_time")
async def test_the_thread_of_a_large_key() -> None:
    """Its name is short, and the dump finds it."""
    began, go_on = threading.Event(), threading.Event()

    def call() -> str:
        began.set()
        go_on.wait(20)
        return threading.current_thread().name

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait(LARGE, call)
        await anyio.to_thread.run_sync(began.wait)
        dump = runner.dump()
        go_on.set()
        name = await slot
    assert "test_the_thread_of_a_large_key.<locals>.call" in dump
    assert len(name) < READABLE


async def test_a_key_whose_repr_raises() -> None:
    """Messages say so, instead of raising that."""

    class Shy:
        def __repr__(self) -> str:
            raise OSError("no")

    key = Shy()
    async with SequentialTaskRunner().start() as runner:
        slot = await runner.submit(key, fail)
        assert "Shy whose repr failed: OSError: no" in repr(slot)
        assert isinstance(error_of(await runner.wait(key)), ValueError)


# What holds up the loop --------------------------------------------------------------------------------


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("what", ["call", "instrument"])
async def test_a_loop_that_is_blocked(what: str) -> None:
    """By a call that never yields, or an instrument: everything on it waits, and nothing is lost.

    Threads that wait for a call do not need it: their time limits hold meanwhile. Once it goes on, what
    was due happens.
    """
    blocked, seen, go_on = threading.Event(), threading.Event(), threading.Event()

    class Blocking(Instrument):
        def call_started(self, event: CallEvent) -> None:
            if event.key == "blocks" and what == "instrument":
                block()

    def block() -> None:
        blocked.set()
        assert seen.wait(20)
        time.sleep(0.02)

    async def never_yields() -> str:
        if what == "call":
            block()
        return "yielded"

    def from_outside() -> tuple[object, object]:
        assert blocked.wait(20)
        meanwhile = runner.from_thread.wait("other", timeout=0.01)
        seen.set()
        return meanwhile, runner.from_thread.result("other", timeout=20)

    outside: list[object] = []
    thread = threading.Thread(target=lambda: outside.append(from_outside()))
    async with ConcurrentTaskRunner(instruments=[Blocking()]).start() as runner:
        other = runner.submit_nowait("other", lambda: go_on.wait(20))
        short = runner.submit_nowait("short", anyio.sleep, 60, timeout=0.01)
        await anyio.lowlevel.checkpoint()
        thread.start()
        slot = runner.submit_nowait("blocks", never_yields)
        await runner.wait(slot)
        go_on.set()
        await anyio.to_thread.run_sync(thread.join)
    assert outside == [(None, True)]
    assert slot.result() == "yielded"
    assert other.result() is True
    assert isinstance(error_of(short.outcome), TimeoutError)


# A clock that jumps ------------------------------------------------------------------------------------

DAY = 86400.0
# In a year of virtual seconds the resolution of asyncio's timers is less than that of a float.


async def test_a_loop_s_clock_that_jumps(virtual_time: bool) -> None:
    """By a day, as that of a laptop that slept may: what was due by then is due now, once.

    A call with a time limit has had it; one without goes on; a retry is made; a rate lets as many start
    as its burst, and not a day of them.
    """
    if not virtual_time:
        pytest.skip("uvloop's clock is the system's")
    starts: list[float] = []
    tries: list[int] = []
    held = anyio.Event()

    async def start() -> None:
        starts.append(anyio.current_time())

    async def try_again() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return len(tries)

    limits = {"paced": Limit(5, rate=Rate(1, 10, burst=2))}
    async with ConcurrentTaskRunner(limits=limits).start() as runner:
        limited = runner.submit_nowait("limited", forever, timeout=60)
        patient = runner.submit_nowait("patient", held.wait)
        retried = runner.submit_nowait(
            "retried", try_again, retry=Retry(1, delay=3600, cap=3600, jitter="none")
        )
        paced = [runner.submit_nowait(key, start, limits=["paced"]) for key in range(6)]
        for _ in range(9):
            await anyio.lowlevel.checkpoint()
        assert len(starts) == 2
        jump(DAY)
        await runner.wait_all([limited, retried, *paced])
        held.set()
    assert isinstance(error_of(limited.outcome), TimeoutError)
    assert (patient.state, retried.result(), len(tries)) == (State.COMPLETED, 2, 2)
    after = [at - starts[0] for at in starts[2:]]
    assert [at >= DAY for at in after] == [True] * 4
    assert after[3] - after[0] == pytest.approx(20, abs=0.1)


def jump(seconds: float) -> None:
    """The clock of the loop that runs here is so much later, all at once."""
    try:
        clock = trio.lowlevel.current_clock()
    except RuntimeError:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop._jumping.now += seconds
    else:
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)


@pytest.mark.parametrize("by", [-DAY, DAY])
async def test_a_wall_clock_that_jumps(
    monkeypatch: pytest.MonkeyPatch, by: float, tmp_path: Path
) -> None:
    """It is set: nothing is measured by it. An event file says the time of its beginning, once."""
    real = time.time
    path = tmp_path / "events.jsonl"
    runner = ConcurrentTaskRunner(1, instruments=[EventLog(path)])
    async with runner.start():
        before = anyio.current_time()
        runner.submit_nowait("before", anyio.sleep, 0.01, timeout=5)
        monkeypatch.setattr(time, "time", lambda: real() + by)
        slot = runner.submit_nowait("after", anyio.sleep, 0.01, timeout=5)
        assert await runner.wait(slot, timeout=5) is not None
        assert 0.015 < anyio.current_time() - before < 5  # uvloop counts milliseconds
    assert {one.state for one in runner.slots.values()} == {State.COMPLETED}


async def test_nothing_is_logged_of_an_overload(caplog: pytest.LogCaptureFixture) -> None:
    """As many as anybody likes may wait: `max_pending=` is for whoever wants it otherwise."""
    caplog.set_level(logging.DEBUG, "creche")
    await pending(500, "run")
    assert caplog.records == []
