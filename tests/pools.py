"""A pool of threads on whatever loop runs, and what to put into it.

What it does not know: runners.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import anyio

from creche._backend import Backend
from creche._backends import detect
from creche._thread_job import Job
from creche._thread_pool import ThreadPool


def make_job(fn: Callable[..., Any], *args: Any, name: str = "a job") -> Job:
    """A job in a copy of the present context."""
    return Job(fn, args, copy_context(), name)


class Held:
    """A function that says that it was called, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go_on.wait(30)
        self.ended.set()
        return "held"


class Opened:
    """A pool, and what it has finished."""

    def __init__(self, backend: Backend, nursery: Any, limit: int, **options: Any) -> None:
        self.backend = backend
        self.nursery = nursery
        self.finished: list[Job] = []
        self.pool = ThreadPool(backend, nursery, limit, self.finished.append, **options)

    def put(self, fn: Callable[..., Any], *args: Any, name: str = "a job") -> Job:
        """Put a job."""
        job = make_job(fn, *args, name=name)
        self.pool.put(job)
        return job

    async def result(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Put a job, and wait for it."""
        job = self.put(fn, *args)
        await until(lambda: job in self.finished)
        if job.error is not None:
            raise job.error
        return job.value

    async def all_of(self, jobs: list[Job]) -> None:
        """Wait for these jobs."""
        await until(lambda: all(job in self.finished for job in jobs))


@asynccontextmanager
async def open_pool(
    limit: int = 40, *, backend: Backend | None = None, **options: Any
) -> AsyncIterator[Opened]:
    """A pool in a nursery of its own; closed at the end, when the nursery waits for its threads."""
    backend = backend or detect()
    async with backend.open_nursery() as nursery:
        opened = Opened(backend, nursery, limit, **options)
        try:
            yield opened
        finally:
            opened.pool.close()
    assert opened.pool.threads == 0


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that a thread brings about, which cannot tell this loop."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - no events of the loop
            await anyio.sleep(0.0005)


def until_here(condition: Callable[[], object]) -> None:
    """The same, while the loop stands still."""
    pause = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        pause.wait(0.0005)
    raise AssertionError(condition)


def serving() -> int:
    """How many threads of this process are in the service of a pool."""
    code = ThreadPool._serve.__code__
    found = 0
    for top in sys._current_frames().values():
        frame = top
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back  # type: ignore  # it has one, or the walk ends
        found += frame is not None
    return found
