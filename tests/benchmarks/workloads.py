"""The workloads: what creche does, and what people write today instead, side by side.

What it is for: each contender of a workload does the same work and is judged by the same clock. The
numbers W1, W3 and W5 are those under which such figures are published in the docs.

What it does not know: how it is timed, or how often.

Invariant: a contender checks its own result, so that none is fast because it does less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import aioresult
import anyio
import trio
import trio.testing

from creche import ConcurrentTaskRunner

Contender = Callable[[int], Awaitable[None]]


class Workload(NamedTuple):
    """One thing to do, and who does it.

    Attributes:
        name: what people call it.
        what: what is done n times.
        contenders: by loop, then by name; the first of each is what the others are compared with.
    """

    name: str
    what: str
    contenders: dict[str, dict[str, Contender]]


async def on_trio(n: int) -> int:
    await trio.lowlevel.checkpoint()
    return n


async def on_asyncio(n: int) -> int:
    await asyncio.sleep(0)
    return n


def of_creche(
    call: Callable[[int], Coroutine[Any, Any, int]], max_workers: int | None = None
) -> Contender:
    async def submit_and_wait(n: int) -> None:
        async with ConcurrentTaskRunner(max_workers).start() as runner:
            for key in range(n):
                runner.submit_nowait(key, call, key)
            for key in range(n):
                await runner.wait(key)
            assert await runner.result(n - 1) == n - 1

    return submit_and_wait


def map_of_creche(call: Callable[[int], Coroutine[Any, Any, int]], max_workers: int) -> Contender:
    async def map_all(n: int) -> None:
        async with ConcurrentTaskRunner(max_workers).start() as runner:
            assert (await runner.map(call, range(n)))[-1] == n - 1

    return map_all


def cancel_of_creche(sleep: Callable[[], Awaitable[Any]]) -> Contender:
    async def cancel_each(n: int) -> None:
        async with ConcurrentTaskRunner().start() as runner:
            for key in range(n):
                runner.submit_nowait(key, sleep)
            await anyio.wait_all_tasks_blocked()
            for key in range(n):
                runner.cancel(key)
        assert runner.statistics().cancelled == n

    return cancel_each


# What people write today ------------------------------------------------------------------------------


async def nursery_and_dict(n: int) -> None:
    results: dict[int, int] = {}

    async def one(key: int) -> None:
        results[key] = await on_trio(key)

    async with trio.open_nursery() as nursery:
        for key in range(n):
            nursery.start_soon(one, key)
    assert results[n - 1] == n - 1


async def task_group_and_dict(n: int) -> None:
    results: dict[int, int] = {}

    async def one(key: int) -> None:
        results[key] = await on_asyncio(key)

    async with asyncio.TaskGroup() as group:
        for key in range(n):
            group.create_task(one(key))
    assert results[n - 1] == n - 1


def anyio_handles(call: Callable[[int], Coroutine[Any, Any, int]]) -> Contender:
    async def handles(n: int) -> None:
        async with anyio.create_task_group() as group:
            made: list[Any] = [group.start_soon(call, key) for key in range(n)]
        assert made[-1].return_value == n - 1

    return handles


async def aioresults(n: int) -> None:
    async with trio.open_nursery() as nursery:
        made = [aioresult.ResultCapture.start_soon(nursery, on_trio, key) for key in range(n)]
    assert made[-1].result() == n - 1


async def nursery_and_limiter(n: int) -> None:
    limiter = trio.CapacityLimiter(100)
    results: dict[int, int] = {}

    async def one(key: int) -> None:
        async with limiter:
            results[key] = await on_trio(key)

    async with trio.open_nursery() as nursery:
        for key in range(n):
            nursery.start_soon(one, key)
    assert results[n - 1] == n - 1


async def task_group_and_semaphore(n: int) -> None:
    semaphore = asyncio.Semaphore(100)
    results: dict[int, int] = {}

    async def one(key: int) -> None:
        async with semaphore:
            results[key] = await on_asyncio(key)

    async with asyncio.TaskGroup() as group:
        for key in range(n):
            group.create_task(one(key))
    assert results[n - 1] == n - 1


async def nursery_and_scopes(n: int) -> None:
    scopes: dict[int, trio.CancelScope] = {}
    cancelled: list[int] = []

    async def one(key: int) -> None:
        with trio.CancelScope() as scope:
            scopes[key] = scope
            await trio.sleep_forever()
        cancelled.append(key)

    async with trio.open_nursery() as nursery:
        for key in range(n):
            nursery.start_soon(one, key)
        await trio.testing.wait_all_tasks_blocked()
        for key in range(n):
            scopes[key].cancel()
    assert len(cancelled) == n


async def task_group_and_cancel(n: int) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.Event().wait()) for _ in range(n)]
        await anyio.wait_all_tasks_blocked()
        for task in tasks:
            task.cancel()
    assert all(task.cancelled() for task in tasks)


WORKLOADS = (
    Workload(
        "W1",
        "submit, each call awaits one checkpoint, wait for every key",
        {
            "trio": {
                "nursery + dict": nursery_and_dict,
                "creche": of_creche(on_trio),
                "aioresult": aioresults,
                "anyio handles": anyio_handles(on_trio),
            },
            "asyncio": {
                "TaskGroup + dict": task_group_and_dict,
                "creche": of_creche(on_asyncio),
                "anyio handles": anyio_handles(on_asyncio),
            },
        },
    ),
    Workload(
        "W3",
        "the same, at most 100 at once",
        {
            "trio": {
                "nursery + limiter": nursery_and_limiter,
                "creche": of_creche(on_trio, 100),
                "creche map": map_of_creche(on_trio, 100),
            },
            "asyncio": {
                "TaskGroup + semaphore": task_group_and_semaphore,
                "creche": of_creche(on_asyncio, 100),
                "creche map": map_of_creche(on_asyncio, 100),
            },
        },
    ),
    Workload(
        "W5",
        "cancel calls that sleep, one by one",
        {
            "trio": {
                "nursery + scopes": nursery_and_scopes,
                "creche": cancel_of_creche(trio.sleep_forever),
            },
            "asyncio": {
                "TaskGroup + cancel": task_group_and_cancel,
                "creche": cancel_of_creche(anyio.sleep_forever),
            },
        },
    ),
)
