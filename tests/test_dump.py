"""`runner.dump()`: what every call does right now, as a text tree."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Generator
from types import SimpleNamespace, coroutine
from typing import Any

import anyio
import anyio.to_thread
import pytest

from creche import ConcurrentTaskRunner, ProcessTaskRunner
from creche import _dump as dumping
from creche._carrier import CARRIED
from creche._dump import dump_all, running_calls
from creche._live import LIVE
from creche._stacks import frames_of, inner_frames, tell_frames
from creche.instruments import Instrument

pytestmark = pytest.mark.anyio


class Deaf(Instrument):
    """Listens, so that the ages are known."""


def lines_of(text: str) -> list[str]:
    """The lines, without what differs from one loop to the other, and from one edit to the next."""
    text = re.sub(r"\S*test_dump\.py:\d+", "here", text)
    text = re.sub(r"run \d+ on (trio|asyncio)", "run N on LOOP", text)
    text = re.sub(r"thread \d+", "thread N", text)
    text = re.sub(r"test_\w+\.<locals>\.", "", text)
    return re.sub(r"(anyio|trio|asyncio)\.?[\w.]* in \S+", "LOOP", text).splitlines()


async def deep(started: anyio.Event) -> None:
    """Called by a call."""
    started.set()
    await anyio.sleep(5)


async def test_a_known_program(virtual_time: bool) -> None:
    """Each open call, with its state, its age, what it waits for, its stack, the tasks below it."""
    runner = ConcurrentTaskRunner(max_workers=3, limits={"db": 1}, instruments=[Deaf()])
    assert runner.dump() == "runner 'concurrent' is not started\n"
    started = anyio.Event()

    async def family(started: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(deep, started, name="child")

    async def waits(runner: Any) -> None:
        await runner.result("family")

    async with runner.start():
        runner.submit_nowait("family", family, started, limits=["db"])
        runner.submit_nowait("waits", waits, runner)
        runner.submit_nowait("after", anyio.sleep, 0, after=["family", "waits"])
        runner.submit_nowait("limited", anyio.sleep, 0, limits=["db"])
        runner.submit_nowait("sleeps", anyio.sleep, 5)
        runner.submit_nowait("too", anyio.sleep, 5)
        runner.submit_nowait("late", anyio.sleep, 0)
        slot = runner.reserve("reserved")
        await started.wait()
        await anyio.sleep(1)
        said = runner.dump()
        found = running_calls()
        if not virtual_time:
            said = re.sub(r"\d+\.\d s", "1.0 s", said)
        head = "runner 'concurrent', run N on LOOP, max_workers 3"
        assert lines_of(said) == [
            f"{head}: 4 running, 3 pending, 1 reserved, 0 ended",
            "├─ 'family' RUNNING, 1.0 s",
            "│  ├─ here in family",
            "│  ├─ LOOP",
            "│  └─ task 'child'",
            "│     ├─ here in deep",
            "│     └─ LOOP",
            "├─ 'waits' RUNNING, 1.0 s, waits for 'family'",
            "│  └─ here in waits",
            "├─ 'after' PENDING, after 'family', 'waits'",
            "├─ 'limited' PENDING, waits for limit 'db'",
            "├─ 'sleeps' RUNNING, 1.0 s",
            "│  └─ LOOP",
            "├─ 'too' RUNNING, 1.0 s",
            "│  └─ LOOP",
            "├─ 'late' PENDING, waits for a place",
            "└─ 'reserved' PENDING, reserved",
        ]
        assert sorted(str(key) for key, _ in found) == ["family", "sleeps", "too", "waits"]
        assert all(seconds is not None and seconds >= 0.9 for _, seconds in found)
        assert dump_all().count("\n") == 17
        runner.cancel(slot)
    assert lines_of(runner.dump()) == [
        "runner 'concurrent', run N on LOOP, max_workers 3: 0 running, 0 pending, 8 ended"
    ]
    assert dump_all() == "no runner is open\n"
    assert not LIVE


@pytest.mark.usefixtures("real_time")
async def test_threads() -> None:
    """A plain call is where its thread is; one that has none yet says so; no age if nobody listens."""
    runner = ConcurrentTaskRunner()
    begun, on = threading.Event(), threading.Event()

    def inner() -> None:
        begun.set()
        on.wait()

    def plain() -> None:
        inner()

    async with runner.start():
        runner._run.performer.threads.resize(1)  # type: ignore[union-attr]  # there is one
        runner.submit_nowait("a", plain)
        runner.submit_nowait("b", plain)
        await anyio.to_thread.run_sync(begun.wait)
        said = lines_of(runner.dump())
        found = running_calls()
        on.set()
    assert found == [("a", None)]
    assert said[1:] == [
        "├─ 'a' RUNNING, place 'thread'",
        "│  └─ thread N",
        "│     ├─ here in plain",
        "│     ├─ here in inner",
        "│     └─ threading in Event.wait",
        "└─ 'b' RUNNING, waits for a thread",
    ]


@pytest.mark.usefixtures("real_time")
async def test_threads_that_tasks_wait_for() -> None:
    """The same where somebody listens, and calls are carried out in another way."""
    runner = ConcurrentTaskRunner(instruments=[Deaf()])
    begun, on = threading.Event(), threading.Event()

    def plain() -> None:
        begun.set()
        on.wait()

    async with runner.start():
        runner._run.performer.threads.resize(1)  # type: ignore[union-attr]  # there is one
        runner.submit_nowait("a", plain)
        runner.submit_nowait("b", plain)
        await anyio.to_thread.run_sync(begun.wait)
        said = lines_of(runner.dump())
        found = running_calls()
        on.set()
    assert len(found) == 1  # which of them has the thread is the loop's choice
    assert sum("└─ thread N" in line for line in said) == 1
    assert sum(line.endswith(" s, waits for a thread") for line in said) == 1


@pytest.mark.usefixtures("real_time")
async def test_from_inside_and_from_another_thread() -> None:
    """A call may ask, and sees itself; a thread asks the loop."""
    runner = ConcurrentTaskRunner()

    async def asks() -> tuple[str, str]:
        return runner.dump(), await anyio.to_thread.run_sync(runner.dump)

    async with runner.start():
        here, there = await runner.submit_nowait("asks", asks)
    assert lines_of(here)[1:] == ["└─ 'asks' RUNNING", "   └─ here in asks"]
    assert lines_of(there)[1:] == ["└─ 'asks' RUNNING", "   ├─ here in asks", "   └─ LOOP"]


@pytest.mark.usefixtures("real_time")
async def test_a_loop_that_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes all the same, and shows who blocks; also if what was asked of the loop went wrong."""
    monkeypatch.setattr(dumping, "PATIENCE", 0.05)
    runner = ConcurrentTaskRunner()
    said: list[str] = []

    async def blocks() -> None:
        thread = threading.Thread(target=lambda: said.append(runner.dump()))
        thread.start()
        thread.join()

    async with runner.start():
        runner.submit_nowait("blocks", blocks)
    head, *rest = lines_of(said[0])
    assert head.startswith(
        "runner 'concurrent', run N on LOOP, whose loop has not answered for 0.05 s: 1 "
    )
    assert rest == ["└─ 'blocks' RUNNING", "   ├─ here in blocks", "   └─ threading in Thread.join"]


@pytest.mark.usefixtures("real_time")
async def test_in_a_handler_of_a_signal() -> None:
    """On the loop's own thread, in the midst of a call."""
    runner = ConcurrentTaskRunner()
    said: list[str] = []

    async def signals() -> None:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: said.append(runner.dump()))
    try:
        async with runner.start():
            runner.submit_nowait("signals", signals)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert lines_of(said[0])[1:3] == ["└─ 'signals' RUNNING", "   ├─ here in signals"]


async def test_the_end_of_a_run() -> None:
    """It says that it is ending, and which calls are being cancelled."""
    runner = ConcurrentTaskRunner(grace=10)
    said: list[str] = []

    async def lasts() -> None:
        try:
            await anyio.sleep(1)
        finally:
            said.append(runner.dump())
            runner.cancel("lasts", "enough")
            said.append(runner.dump())

    with anyio.move_on_after(0.5):
        async with runner.start():
            runner.submit_nowait("lasts", lasts)
            await anyio.sleep_forever()
    first, second = map(lines_of, said)
    assert first[1:3] == [
        "├─ it is ending: a scope around the runner was cancelled",
        "└─ 'lasts' RUNNING",
    ]
    assert second[2] == "└─ 'lasts' RUNNING, being cancelled: enough"


async def test_what_is_seen_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is to come back, a later attempt; a call that has ended since it was looked for."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        run: Any = runner._run
        slot = runner.submit_nowait("a", anyio.sleep, 1)
        await anyio.sleep(0.5)
        monkeypatch.setattr(type(slot), "attempt", property(lambda _: 2))
        assert "'a' RUNNING, attempt 2" in runner.dump()
        carrier = SimpleNamespace(place="loop", waits_for=(), is_returning=True, request=None)
        waiting: Any = SimpleNamespace(key="a", carrying=carrier)
        assert dumping._where(run, waiting) == ["waits for its place to come back"]
    assert dumping._slot_node(run, slot, has_thread=True, kin=lambda _: ()).text == "'a' COMPLETED"
    assert dumping._why_pending(run, slot) == []


async def test_tasks_below_tasks() -> None:
    """Those that carry out calls have lines of their own; nothing is followed for ever."""
    carrying = object()
    backend = SimpleNamespace(coroutine_of=lambda _: None, name_of=str)

    def kin(task: Any) -> list[object]:
        return [carrying, object()] if task is None else []

    run: Any = SimpleNamespace(backend=backend, home=SimpleNamespace(thread=0))
    CARRIED[carrying] = carrying  # type: ignore[assignment]  # it stands for a carrier
    try:
        assert dumping._task_nodes(run, None, 0, kin) == []
        assert dumping._task_nodes(run, None, 20, kin) == []
    finally:
        del CARRIED[carrying]


async def test_a_key_that_says_nothing() -> None:
    """What a key says of itself may fail."""

    class Key:
        def __repr__(self) -> str:
            raise ValueError("mute")

    runner = ConcurrentTaskRunner()
    async with runner.start():
        runner.submit_nowait(Key(), anyio.sleep, 1)
        await anyio.sleep(0.5)
        said = runner.dump()
    assert "<Key whose repr failed: ValueError: mute> RUNNING" in said


@pytest.mark.slow
@pytest.mark.usefixtures("real_time")
async def test_processes() -> None:
    """Which process has it, or that none has."""
    runner = ProcessTaskRunner(1)
    async with runner.start():
        await runner.submit_nowait("first", int)
        slots = [runner.submit_nowait(key, time.sleep, 0.5) for key in ("a", "b")]
        await anyio.sleep(0.2)
        said = lines_of(runner.dump())
        assert runner._run.seats.whereabouts(slots[0]) is not None  # type: ignore[union-attr]  # there is one
        await slots[1]
        assert runner._run.seats._by_place[0][1].whereabouts("a") is None  # type: ignore[union-attr]  # there is one
    assert re.fullmatch(r"├─ 'a' RUNNING, place 'process', in process \d+", said[1])
    assert said[2].startswith("└─ 'b'")


# Stacks -------------------------------------------------------------------------------------------


async def numbers() -> AsyncIterator[int]:
    """An async generator that waits."""
    await stops()
    yield 1


@coroutine
def stops() -> Generator[None, None, None]:
    """A generator that is awaited."""
    yield


async def takes() -> None:
    """Waits inside an async generator."""
    async for _ in numbers():
        pass


def test_what_is_awaited() -> None:
    """Coroutines, generators and async generators are walked through; what is not known ends it."""
    walked = takes()
    walked.send(None)
    names = [frame.f_code.co_name for frame, _ in frames_of(walked, None)]
    assert names == ["takes", "numbers", "stops"]
    walked.close()
    assert frames_of(walked, None) == []
    assert frames_of(object(), None) == []
    assert frames_of(None, None) == []


def test_frames_that_are_not_there() -> None:
    """A thread that is gone, or is not in the frame that is asked for."""
    frame = sys._getframe()
    assert inner_frames(0) == []
    assert inner_frames(threading.get_ident(), frame)[0][0] is frame
    other = threading.Event()
    thread = threading.Thread(target=other.wait)
    thread.start()
    assert thread.ident is not None
    assert inner_frames(thread.ident, frame) == []
    other.set()
    thread.join()
    assert tell_frames([]) == []


async def test_running_elsewhere() -> None:
    """A coroutine that runs, in a thread that does something else by now."""

    async def runs() -> list[Any]:
        return [frame for frame, _ in frames_of(mine, 0)]

    mine = runs()
    (frame,) = await mine
    assert frame.f_code.co_name == "runs"


def test_tasks_of_asyncio() -> None:
    """Those in a group of its own are below the task that has opened it."""
    runner = ConcurrentTaskRunner()
    said: list[str] = []

    async def child() -> None:
        await asyncio.sleep(0.05)

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child(), name="kid")

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("parent", parent)
            await asyncio.sleep(0.02)
            said.append(runner.dump())

    asyncio.run(main())
    assert lines_of(said[0])[1:] == [
        "└─ 'parent' RUNNING",
        "   ├─ here in parent",
        "   ├─ LOOP",
        "   └─ task 'kid'",
        "      ├─ here in child",
        "      └─ LOOP",
    ]
    gc.collect()
