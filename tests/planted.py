"""Concurrent code with planted bugs, each with a repaired twin: what the test kit is tested with.

What it is for: the line of a bug ends in ``# here: NAME``, so that tests can say which line is meant
without knowing its number.

What it does not know: the kit.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from pathlib import Path

import anyio
import anyio.lowlevel
import trio

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def line_of(name: str) -> int:
    """The line that is marked so."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"# here: {name}"))


# A lock that is held across a cancelled await -------------------------------------------------------


async def holds() -> None:
    lock = anyio.Lock()

    async def work() -> None:
        await lock.acquire()
        await anyio.sleep(1)  # here: holds
        lock.release()

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        group.start_soon(work)


async def lets_go() -> None:
    lock = anyio.Lock()

    async def work() -> None:
        async with lock:
            await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        group.start_soon(work)


async def holds_natively() -> None:
    lock = asyncio.Lock()

    async def work() -> None:
        await lock.acquire()
        await asyncio.sleep(1)  # here: holds natively
        lock.release()

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        group.create_task(work())


async def lets_go_natively() -> None:
    semaphore = asyncio.BoundedSemaphore(2)

    async def work() -> None:
        async with semaphore:
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(work())


async def holds_a_semaphore() -> None:
    semaphore = trio.Semaphore(3)
    limiter = trio.CapacityLimiter(1)
    await semaphore.acquire()
    limiter.acquire_on_behalf_of_nowait("me")
    await trio.sleep(1)  # here: holds a semaphore
    semaphore.release()
    limiter.release_on_behalf_of("me")


# A swallowed cancellation ---------------------------------------------------------------------------


async def swallows() -> None:
    try:
        await anyio.sleep(1)  # here: swallows
    except BaseException:
        return


async def lets_through() -> None:
    try:
        await anyio.sleep(1)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)


async def swallows_a_group() -> None:
    try:
        async with anyio.create_task_group() as group:  # here: swallows a group
            group.start_soon(anyio.sleep, 1)
    except BaseException:
        return


async def lets_a_group_through() -> None:
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
    except ExceptionGroup:
        return


async def ends_its_children() -> None:
    """Healthy: on trio none of them is cancelled, and so nothing is raised at the end of the group."""

    async def child() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        group.start_soon(child)


async def cancels_its_own() -> None:
    """Healthy: what comes out of the group, and is caught, is a cancellation of its own."""
    with anyio.CancelScope(shield=True) as mine:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            await anyio.sleep(1)
            mine.cancel()


async def goes_on() -> None:
    for _ in range(1_000_000):
        try:
            await anyio.sleep(1)  # here: goes on
        except anyio.get_cancelled_exc_class():
            continue
        return


# A wake-up that gets lost ---------------------------------------------------------------------------


class Turnstile:
    """One at a time; the turn is handed on to who waits."""

    def __init__(self, *, careful: bool) -> None:
        self.free = True
        self.waiting: deque[anyio.Event] = deque()
        self.careful = careful

    async def enter(self) -> None:
        if self.free:
            self.free = False
            return
        turn = anyio.Event()
        self.waiting.append(turn)
        try:
            await turn.wait()  # here: loses
        except BaseException:
            if self.careful:
                if turn.is_set():
                    self.leave()
                else:
                    self.waiting.remove(turn)
            raise

    def leave(self) -> None:
        if self.waiting:
            self.waiting.popleft().set()
        else:
            self.free = True


async def pass_through(turnstile: Turnstile) -> None:
    async def one() -> None:
        await turnstile.enter()
        try:
            await anyio.sleep(1)
        finally:
            turnstile.leave()

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)


async def loses() -> None:
    await pass_through(Turnstile(careful=False))


async def hands_on() -> None:
    await pass_through(Turnstile(careful=True))


# Processes, files, tasks that are left ---------------------------------------------------------------


async def leaves_a_process() -> None:
    process = subprocess.Popen(SLEEPER)  # noqa: ASYNC220 - left behind on purpose
    await anyio.sleep(1)  # here: leaves a process
    process.kill()
    process.wait()


async def ends_its_process() -> None:
    process = subprocess.Popen(SLEEPER)  # noqa: ASYNC220 - left behind on purpose
    try:
        await anyio.sleep(1)
    finally:
        process.kill()
        process.wait()


async def leaves_a_file() -> None:
    file = Path(__file__).open(encoding="utf-8")  # noqa: ASYNC230, SIM115 - left behind on purpose
    await anyio.sleep(1)  # here: leaves a file
    file.close()


async def leaves_a_task() -> None:
    task = asyncio.create_task(asyncio.sleep(5), name="left")
    await asyncio.sleep(1)  # here: leaves a task
    await task


# Another error instead ------------------------------------------------------------------------------


async def raises_another() -> None:
    try:
        await anyio.sleep(1)  # here: raises another
        number = 1
    finally:
        assert number == 1


# An order that is taken for granted -----------------------------------------------------------------


async def races() -> None:
    table: dict[str, int] = {}

    async def write() -> None:
        await anyio.lowlevel.checkpoint()
        table["a"] = 1

    async def read() -> None:
        await anyio.lowlevel.checkpoint()
        assert table["a"] == 1  # here: races

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        group.start_soon(read)
