"""A pool of worker processes on whatever loop runs, without a runner, and what to look for outside.

What it does not know: runners.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import anyio
from outcome import Error

from creche._backends import detect
from creche._place import Work
from creche.places._pool import Pool
from creche.places._process import ProcessPlace
from pools import until


class FakeHost:
    """A run, as far as a place asks it."""

    runner_name = "a run"

    def __init__(self) -> None:
        self.loop = detect().name
        self.has_waiting = False
        self.capacities: list[int | None] = []

    def set_capacity(self, number: int | None) -> None:
        self.capacities.append(number)


class Opened:
    """An open place."""

    def __init__(self, pool: Pool, host: FakeHost) -> None:
        self.pool = pool
        self.host = host
        self.crew = pool.crew

    async def outcome(self, fn: Callable[..., Any], *args: Any, is_async: bool = False) -> Any:
        """What becomes of a call."""
        return await self.pool.run(Work(f"call of {args}", fn, args, is_async, copy_context()))

    async def result(self, fn: Callable[..., Any], *args: Any, is_async: bool = False) -> Any:
        """Its value."""
        return (await self.outcome(fn, *args, is_async=is_async)).unwrap()

    async def all_of(self, fn: Callable[..., Any], many: Any) -> list[Any]:
        """The values or exceptions of a call for each of many items, handed over as a run does."""
        found: dict[int, Any] = {}
        waiting = list(enumerate(many))[::-1]
        place = [anyio.Event()]

        async def one(number: int, item: Any) -> None:
            try:
                came = await self.outcome(fn, item)
                found[number] = came.error if isinstance(came, Error) else came.value
            except Exception as exc:
                found[number] = exc
            running[0] -= 1
            place[0].set()

        running = [0]
        async with anyio.create_task_group() as group:
            while waiting:
                while waiting and running[0] < (self.host.capacities[-1] or 1):
                    running[0] += 1
                    number, item = waiting.pop()
                    self.host.has_waiting = bool(waiting)
                    group.start_soon(one, number, item)
                place[0] = anyio.Event()
                await place[0].wait()
        return [found[number] for number in sorted(found)]


@asynccontextmanager
async def open_place(*args: Any, **options: Any) -> AsyncIterator[Opened]:
    """An open place; nothing of it is left at the end."""
    before, fds = children(), descriptors()
    host = FakeHost()
    place = ProcessPlace(*args, **options)
    async with place.open(host) as pool:
        assert isinstance(pool, Pool)
        yield Opened(pool, host)
    assert children() == before
    assert descriptors() == fds


def children() -> set[int]:
    """The processes that this one has started and not seen off; those that are dead too."""
    return {pid for pid, (_, parent) in _processes().items() if parent == os.getpid()}


def descriptors() -> int:
    """How many are open here."""
    return len(list(Path("/proc/self/fd").iterdir()))


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of it."""
    return _processes().get(pid, ("Z", 0))[0] not in "ZX"


def _processes() -> dict[int, tuple[str, int]]:
    """State and parent of each process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        found[int(path.parent.name)] = (state, int(parent))
    return found


async def begun(path: Path) -> int:
    """Wait until a call has written its process id into a file."""
    await until(lambda: _text(path))
    return int(_text(path))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
