"""W3: the same calls as in W1, at most 100 of them at once.

What it is for: creche with `max_workers` and its `map`, beside limiters, semaphores, aiometer, and the
loop over a shared iterator that people write by hand.

What it does not know: the clock.

Invariant: never more than 100 calls run at once; the function that a call is does not know of the limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import aiometer
import anyio
import trio
from bodies import PASS, Call, Contender, Read, keys_of
from submitting import creche

from creche import ConcurrentTaskRunner

AT_ONCE = 100


def creche_map(call: Call, max_workers: int = AT_ONCE) -> Contender:
    """`map` pulls an item when there is a place for it."""

    async def map_all(n: int) -> Read:
        async with ConcurrentTaskRunner(max_workers).start() as runner:
            values = await runner.map(call, keys_of(n))
        return lambda: values

    return map_all


def anyio_and_limiter(call: Call) -> Contender:
    """A task for each call, which waits for a token."""

    async def limited(n: int) -> Read:
        results: dict[int, int] = {}
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def one(key: int) -> None:
            async with limiter:
                results[key] = await call(key)

        async with anyio.create_task_group() as group:
            for key in keys_of(n):
                group.start_soon(one, key)
        return lambda: (results[key] for key in keys_of(n))

    return limited


def aiometer_run_all(call: Call) -> Contender:
    """The library that is made for this."""

    async def run_all(n: int) -> Read:
        calls = [partial(call, key) for key in keys_of(n)]
        values = await aiometer.run_all(calls, max_at_once=AT_ONCE)
        return lambda: values

    return run_all


def hundred_workers(call: Call, open_group: Callable[[], Any], start: str) -> Contender:
    """As many tasks as may run at once, each of which takes the next key: the least there is."""

    async def share(n: int) -> Read:
        results: dict[int, int] = {}
        left = iter(keys_of(n))

        async def worker() -> None:
            for key in left:
                results[key] = await call(key)

        async with open_group() as group:
            for _ in range(AT_ONCE):
                if start == "start_soon":
                    group.start_soon(worker)
                else:
                    group.create_task(worker())
        return lambda: (results[key] for key in keys_of(n))

    return share


def nursery_and_limiter(call: Call) -> Contender:
    """A task for each call, which waits for a token."""

    async def limited(n: int) -> Read:
        limiter = trio.CapacityLimiter(AT_ONCE)
        results: dict[int, int] = {}

        async def one(key: int) -> None:
            async with limiter:
                results[key] = await call(key)

        async with trio.open_nursery() as nursery:
            for key in keys_of(n):
                nursery.start_soon(one, key)
        return lambda: (results[key] for key in keys_of(n))

    return limited


def task_group_and_semaphore(call: Call) -> Contender:
    """A task for each call, which waits for the semaphore."""

    async def limited(n: int) -> Read:
        semaphore = asyncio.Semaphore(AT_ONCE)
        results: dict[int, int] = {}

        async def one(key: int) -> None:
            async with semaphore:
                results[key] = await call(key)

        async with asyncio.TaskGroup() as group:
            for key in keys_of(n):
                group.create_task(one(key))
        return lambda: (results[key] for key in keys_of(n))

    return limited


def contenders(family: str, call: Call) -> dict[str, Contender]:
    """Everybody who runs on a family of loops, with a call of any kind."""
    everywhere = {
        "creche": creche(call, AT_ONCE),
        "creche map": creche_map(call),
        "anyio + limiter": anyio_and_limiter(call),
        "aiometer": aiometer_run_all(call),
    }
    if family == "trio":
        return {
            "nursery + limiter": nursery_and_limiter(call),
            "nursery, 100 workers": hundred_workers(call, trio.open_nursery, "start_soon"),
            **everywhere,
        }
    return {
        "TaskGroup + semaphore": task_group_and_semaphore(call),
        "TaskGroup, 100 workers": hundred_workers(call, asyncio.TaskGroup, "create_task"),
        **everywhere,
    }


CONTENDERS = {family: contenders(family, call) for family, call in PASS.items()}
