"""W4: n plain functions that do nothing, through threads, each waited for.

What it is for: what it costs to hand a function to a thread and to have its value back on the loop.

What it does not know: the clock, which here is the wall's: the processor's counts all threads.

Invariant: each contender has the number of threads that it has by default, except where its name says
otherwise; what is measured is what a user gets who sets nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import trio
from bodies import Call, Contender, Read, give, keys_of
from bounding import creche_map
from submitting import creche

FEW = 8

plain: Call = give  # type: ignore[assignment]  # a runner takes plain functions where it takes async ones


def in_a_group(open_group: Callable[[], Any], to_thread: Callable[..., Awaitable[int]]) -> Contender:
    """A task for each function, which waits for a thread."""

    async def hand_over(n: int) -> Read:
        results: dict[int, int] = {}

        async def one(key: int) -> None:
            results[key] = await to_thread(give, key)

        async with open_group() as group:
            for key in keys_of(n):
                group.start_soon(one, key)
        return lambda: (results[key] for key in keys_of(n))

    return hand_over


async def few_trio_threads(n: int) -> Read:
    """The same, with a limiter of our own."""
    limiter = trio.CapacityLimiter(FEW)

    async def to_thread(fn: Callable[[int], int], key: int) -> int:
        return await trio.to_thread.run_sync(fn, key, limiter=limiter)

    return await in_a_group(trio.open_nursery, to_thread)(n)


async def asyncio_to_thread(n: int) -> Read:
    """A task for each function."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.to_thread(give, key)) for key in keys_of(n)]
    return lambda: (task.result() for task in tasks)


async def asyncio_executor(n: int) -> Read:
    """No task: a future of the loop's for each function."""
    loop = asyncio.get_running_loop()
    values = await asyncio.gather(*[loop.run_in_executor(None, give, key) for key in keys_of(n)])
    return lambda: values


def executor_alone(max_workers: int | None = None) -> Contender:
    """No loop in it at all, which is held up meanwhile: what the threads themselves cost."""

    async def submit_and_wait(n: int) -> Read:
        with ThreadPoolExecutor(max_workers) as executor:
            futures = [executor.submit(give, key) for key in keys_of(n)]
            for future in futures:
                future.result()
        return lambda: (future.result() for future in futures)

    return submit_and_wait


EVERYWHERE: dict[str, Contender] = {
    "creche": creche(plain),
    "creche map": creche_map(plain, 40),
    "creche, 8 threads": creche(plain, FEW),
    "anyio.to_thread": in_a_group(anyio.create_task_group, anyio.to_thread.run_sync),
    "ThreadPoolExecutor alone": executor_alone(),
    "ThreadPoolExecutor alone, 8 threads": executor_alone(FEW),
}

CONTENDERS: dict[str, dict[str, Contender]] = {
    "trio": {
        "trio.to_thread": in_a_group(trio.open_nursery, trio.to_thread.run_sync),
        "trio.to_thread, 8 threads": few_trio_threads,
        **EVERYWHERE,
    },
    "asyncio": {
        "asyncio.to_thread": asyncio_to_thread,
        "run_in_executor + gather": asyncio_executor,
        **EVERYWHERE,
    },
}
