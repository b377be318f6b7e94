"""W5: n calls that sleep are cancelled one by one.

What it is for: the whole of it, from the first submit to the last call that has ended. How long one
takes among many others is in `latency.py`.

What it does not know: the clock.

Invariant: nobody begins to cancel before every call sleeps; what is read are the keys that were seen to
have been cancelled.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import trio
from bodies import SLEEP, Contender, Read, Sleepers, keys_of

from creche import ConcurrentTaskRunner, State


def creche(family: str) -> Contender:
    """By key."""

    async def cancel_each(n: int) -> Read:
        sleepers = Sleepers(n, SLEEP[family])
        runner = ConcurrentTaskRunner()
        async with runner.start():
            for key in keys_of(n):
                runner.submit_nowait(key, sleepers.sleep)
            await sleepers.all_asleep.wait()
            for key in keys_of(n):
                runner.cancel(key)
        return lambda: (key for key in keys_of(n) if runner.slots[key].state is State.CANCELLED)

    return cancel_each


def anyio_handles(family: str) -> Contender:
    """By handle."""

    async def cancel_each(n: int) -> Read:
        sleepers = Sleepers(n, SLEEP[family])
        async with anyio.create_task_group() as group:
            handles: dict[int, Any] = {key: group.start_soon(sleepers.sleep) for key in keys_of(n)}
            await sleepers.all_asleep.wait()
            for key in keys_of(n):
                handles[key].cancel()
        return lambda: (key for key in keys_of(n) if handles[key].status.name == "CANCELLED")

    return cancel_each


async def nursery_and_scopes(n: int) -> Read:
    """A scope for each call, in a dict."""
    sleepers = Sleepers(n, SLEEP["trio"])
    scopes: dict[int, trio.CancelScope] = {}

    async def one(key: int) -> None:
        with scopes[key]:
            await sleepers.sleep()

    async with trio.open_nursery() as nursery:
        for key in keys_of(n):
            scopes[key] = trio.CancelScope()
            nursery.start_soon(one, key)
        await sleepers.all_asleep.wait()
        for key in keys_of(n):
            scopes[key].cancel()
    return lambda: (key for key in keys_of(n) if scopes[key].cancelled_caught)


async def nursery_as_a_whole(n: int) -> Read:
    """Not by key: all at once, for comparison."""
    sleepers = Sleepers(n, SLEEP["trio"])
    cancelled: list[int] = []

    async def one(key: int) -> None:
        try:
            await sleepers.sleep()
        except trio.Cancelled:
            cancelled.append(key)
            raise

    async with trio.open_nursery() as nursery:
        for key in keys_of(n):
            nursery.start_soon(one, key)
        await sleepers.all_asleep.wait()
        nursery.cancel_scope.cancel()
    return lambda: sorted(cancelled)


async def task_group_and_tasks(n: int) -> Read:
    """By task."""
    sleepers = Sleepers(n, SLEEP["asyncio"])
    async with asyncio.TaskGroup() as group:
        tasks = {key: group.create_task(sleepers.sleep()) for key in keys_of(n)}
        await sleepers.all_asleep.wait()
        for key in keys_of(n):
            tasks[key].cancel()
    return lambda: (key for key in keys_of(n) if tasks[key].cancelled())


CONTENDERS: dict[str, dict[str, Contender]] = {
    "trio": {
        "nursery + scopes": nursery_and_scopes,
        "nursery, all at once": nursery_as_a_whole,
        "creche": creche("trio"),
        "anyio TaskHandle": anyio_handles("trio"),
    },
    "asyncio": {
        "TaskGroup + tasks": task_group_and_tasks,
        "creche": creche("asyncio"),
        "anyio TaskHandle": anyio_handles("asyncio"),
    },
}
