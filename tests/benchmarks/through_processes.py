"""W8, W9 and W-kill: calls in worker processes: such as take five milliseconds, nothing, or for ever.

What it is for: how much of two processors is used, what it costs to hand a call over, and how long it
takes until a call that never returns has been stopped.

What it does not know: the clock, which is the wall's: the processor's does not count other processes.

Invariant: each contender's workers have been started, and have carried out a call, before the clock is;
what is measured are the calls.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

import anyio
import anyio.to_process
from bodies import keys_of
from event_loops import run_on
from loky import ProcessPoolExecutor as LokyExecutor
from results import Sample

from creche import ProcessTaskRunner

WORKERS = 2

Batch = Callable[[Callable[[int], int], Iterable[int]], Awaitable[list[int]]]
"""Carries a function out for each key, and gives what it gave."""

Opener = Callable[[], AbstractAsyncContextManager[Batch]]


def nothing(key: int) -> int:
    """A call that does nothing."""
    return key


def busy(key: int) -> int:
    """A call that works for some five milliseconds: always the same work, whoever is beside it."""
    left = 280_000
    while left:
        left -= 1
    return key


def for_ever(key: int) -> int:
    """A call that works for ever, and hears nothing."""
    while key:
        pass
    return key


@asynccontextmanager
async def here() -> AsyncIterator[Batch]:
    """No process: one call after the other, in this very thread."""

    async def work(fn: Callable[[int], int], keys: Iterable[int]) -> list[int]:
        return [fn(key) for key in keys]

    yield work


def creche(batch: Any = "auto") -> Opener:
    """A runner of processes."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Batch]:
        async with ProcessTaskRunner(WORKERS, prewarm=WORKERS, batch=batch).start() as runner:

            async def work(fn: Callable[[int], int], keys: Iterable[int]) -> list[int]:
                for key in keys:
                    runner.submit_nowait(key, fn, key)
                values = [await runner.result(key) for key in keys]
                for key in keys:
                    runner.forget(key)
                return values

            yield work

    return opened


@asynccontextmanager
async def creche_map() -> AsyncIterator[Batch]:
    """Its `map`."""
    async with ProcessTaskRunner(WORKERS, prewarm=WORKERS).start() as runner:
        yield runner.map


def executor(make: Callable[[], Any]) -> Opener:
    """An executor of `concurrent.futures`, which holds up the loop meanwhile."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Batch]:
        with make() as pool:

            async def work(fn: Callable[[int], int], keys: Iterable[int]) -> list[int]:
                return list(pool.map(fn, keys))

            yield work

    return opened


@asynccontextmanager
async def anyio_processes() -> AsyncIterator[Batch]:
    """A task for each call, which waits for a process."""
    limiter = anyio.CapacityLimiter(WORKERS)

    async def work(fn: Callable[[int], int], keys: Iterable[int]) -> list[int]:
        values: dict[int, int] = {}

        async def one(key: int) -> None:
            values[key] = await anyio.to_process.run_sync(fn, key, cancellable=True, limiter=limiter)

        async with anyio.create_task_group() as group:
            for key in keys:
                group.start_soon(one, key)
        return [values[key] for key in keys]

    yield work


SPAWNED = get_context("spawn")  # a fork of a process with threads and a loop may hang

CONTENDERS: dict[str, Opener] = {
    "ProcessPoolExecutor.map": executor(partial(ProcessPoolExecutor, WORKERS, mp_context=SPAWNED)),
    "creche": creche(),
    "creche, no batches": creche(1),
    "creche map": creche_map,
    "anyio.to_process": anyio_processes,
    "loky": executor(partial(LokyExecutor, WORKERS)),
}
SERIAL = "one after the other, here"

UNITS = {"wall": "µs of wall time a call"}


def take_batch(
    name: str,
    opened: Opener,
    fn: Callable[[int], int],
    loop: str,
    n: int,
    *,
    collect: bool = False,
) -> Sample:
    """Carry a function out n times, by workers that are there already.

    Args:
        name: the contender's.
        opened: opens it.
        fn: the function.
        loop: on which loop.
        n: how many calls.
        collect: leave the garbage collector on.

    Returns:
        microseconds of wall time for each call.

    Raises:
        RuntimeError: what it gave is not right.
    """

    async def main() -> Sample:
        async with opened() as work:
            await work(nothing, keys_of(20 * WORKERS))
            begun = time.perf_counter()
            values = await work(fn, keys_of(n))
            took = time.perf_counter() - begun
        if values != list(keys_of(n)):
            raise RuntimeError(f"{name} has not done what was to be done {n} times")
        return {"wall": took / n * 1e6}

    gc.collect()
    if not collect:
        gc.disable()
    try:
        return run_on(loop, main)
    finally:
        gc.enable()


# Stopping ------------------------------------------------------------------------------------------

KILLERS = ("creche", "anyio.to_process")
KILL_UNITS = {"p50": "ms until it is over"}


def take_kill(name: str, loop: str) -> Sample:
    """Have a call begin that never returns, cancel it, and wait until it is over.

    Args:
        name: one of `KILLERS`.
        loop: on which loop.

    Returns:
        milliseconds from the cancel until its worker is dead and the caller told.
    """

    async def by_creche() -> float:
        async with ProcessTaskRunner(1, prewarm=1).start() as runner:
            await runner.submit("spins", for_ever, 1)
            await anyio.sleep(0.3)
            begun = time.perf_counter()
            runner.cancel("spins")
            await runner.wait("spins")
            return time.perf_counter() - begun

    async def by_anyio() -> float:
        await anyio.to_process.run_sync(nothing, 1)

        async def stuck() -> None:
            await anyio.to_process.run_sync(for_ever, 1, cancellable=True)

        async with anyio.create_task_group() as group:
            group.start_soon(stuck)
            await anyio.sleep(0.3)
            begun = time.perf_counter()
            group.cancel_scope.cancel()
        return time.perf_counter() - begun

    return {"p50": run_on(loop, by_creche if name == "creche" else by_anyio) * 1e3}
