"""More planted bugs, each in the manner of real code, and each beside its repaired twin.

What it is for: the tests of the kit beside this file. A line that is to be named bears ``# here: ...``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import trio
from anyio.lowlevel import checkpoint

Program = Callable[[], Awaitable[Any]]


def line_of(what: str) -> int:
    """The number of the line that bears this mark."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"# here: {what}"))


# A helper that waits, and who calls it at the wrong time ---------------------------------------------


class Gate:
    """Lets two in."""

    def __init__(self, *, careful: bool) -> None:
        self.places = anyio.Semaphore(2)
        self.careful = careful

    async def say(self) -> None:
        await anyio.sleep(0.1)

    async def enter(self) -> None:
        await self.say()
        if self.careful:
            async with self.places:
                await self.say()
            return
        await self.places.acquire()
        await self.say()  # here: enters
        self.places.release()


def enters(*, careful: bool) -> Program:
    """Three come to a gate."""

    async def enters() -> None:
        gate = Gate(careful=careful)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(gate.enter)

    return enters


# A cleanup that is cancelled, too --------------------------------------------------------------------


def rolls_back(*, careful: bool) -> Program:
    """Says good-bye before it lets go."""

    async def rolls_back() -> None:
        lock = anyio.Lock()
        await lock.acquire()
        try:
            await anyio.sleep(1)
        finally:
            try:
                await anyio.sleep(0.1)  # here: rolls back
            finally:
                if careful:
                    lock.release()
            if not careful:
                lock.release()

    return rolls_back


# Counted by hand -------------------------------------------------------------------------------------


class Readers:
    """Many read, or one writes."""

    def __init__(self, *, careful: bool) -> None:
        self.count = 0
        self.none = anyio.Condition()
        self.careful = careful

    async def left(self) -> None:
        with anyio.CancelScope(shield=True):
            async with self.none:
                self.count -= 1
                self.none.notify_all()

    async def read(self) -> None:
        async with self.none:
            self.count += 1
        if self.careful:
            try:
                await anyio.sleep(1)
            finally:
                await self.left()
        else:
            await anyio.sleep(1)  # here: reads
            await self.left()

    async def write(self) -> None:
        await anyio.sleep(0.5)
        async with self.none:
            while self.count:
                await self.none.wait()


def reads(*, careful: bool) -> Program:
    """Two read, one writes."""

    async def reads() -> None:
        table = Readers(careful=careful)
        async with anyio.create_task_group() as group:
            group.start_soon(table.read)
            group.start_soon(table.read)
            group.start_soon(table.write)

    return reads


# A worker that nothing ends --------------------------------------------------------------------------


async def works_on() -> None:
    """A worker on trio that catches everything, the end of its channel excepted."""
    send, receive = trio.open_memory_channel[int](1)

    async def work() -> None:
        while True:
            try:
                await receive.receive()  # here: works on
            except trio.EndOfChannel:
                return
            except BaseException:  # noqa: S112 - the bug
                continue

    async with trio.open_nursery() as nursery, send:
        nursery.start_soon(work)
        await send.send(1)


async def works_on_natively() -> None:
    """The same on asyncio, in two loops around each other."""
    queue = asyncio.Queue[int | None](1)

    async def work() -> None:
        item: int | None = 0
        while item is not None:
            with suppress(BaseException):
                while item is not None:
                    with suppress(BaseException):
                        item = await queue.get()  # here: works on natively

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        await queue.put(1)
        await queue.put(None)


# A cleanup that takes time, below another one's task group -------------------------------------------


async def takes_its_time() -> None:
    """Healthy: the native group cancels once, and waits for what its tasks still have to do."""

    async def use() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        group.create_task(use())
        group.create_task(use())


# Orders that need more than a change of places -------------------------------------------------------


def adds(*, careful: bool) -> Program:
    """Reads, waits, writes; each begins when the one before has ended, if nobody is slow."""

    async def adds() -> None:
        total = 0
        lock = anyio.Lock()

        async def add(after: int) -> None:
            nonlocal total
            for _ in range(after):
                await checkpoint()
            if careful:
                await lock.acquire()
            seen = total
            await checkpoint()
            total = seen + 1
            if careful:
                lock.release()

        async with anyio.create_task_group() as group:
            for after in (0, 3, 6):
                group.start_soon(add, after)
        assert total == 3, total  # here: adds

    return adds


def is_up(*, careful: bool) -> Program:
    """A server that is up after some time, which its client knows, or only guesses."""

    async def is_up() -> None:
        ports: list[int] = []
        up = anyio.Event()

        async def serve() -> None:
            await checkpoint()
            ports.append(80)
            up.set()

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            if careful:
                await up.wait()
            for _ in range(3):
                await checkpoint()
            assert ports  # here: is up

    return is_up


def asks(*, careful: bool, pause: float) -> Program:
    """Asks again and again for a flag that may be gone by then."""

    async def asks() -> None:
        is_set = False

        async def show() -> None:
            nonlocal is_set
            await checkpoint()
            is_set = True
            await checkpoint()
            is_set = careful

        async with anyio.create_task_group() as group:
            group.start_soon(show)
            while not is_set:  # noqa: ASYNC110 - the bug
                await anyio.sleep(pause)  # here: asks

    return asks
