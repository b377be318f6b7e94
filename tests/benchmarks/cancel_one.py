"""W5: one call among n that sleep is cancelled, and waited for until it has ended.

What it is for: how soon a cancellation by key is through, and whether that depends on how many others
there are.

What it does not know: the clock.

Invariant: the others sleep on; what comes back is the key, if its call was seen to have been cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import trio
from bodies import SLEEP, Sleepers, keys_of
from round_trips import Trip

from creche import CallCancelled, ConcurrentTaskRunner

Opener = Callable[[int], AbstractAsyncContextManager[Trip]]


def creche(family: str) -> Opener:
    """By key."""

    @asynccontextmanager
    async def opened(n: int) -> AsyncIterator[Trip]:
        sleepers = Sleepers(n, SLEEP[family])

        async def cancel(key: int) -> int:
            runner.cancel(key)
            outcome = await runner.wait(key)
            return key if isinstance(getattr(outcome, "error", None), CallCancelled) else 0

        async with ConcurrentTaskRunner().start() as runner:
            for key in keys_of(n):
                runner.submit_nowait(key, sleepers.sleep)
            await sleepers.all_asleep.wait()
            yield cancel
            runner.cancel_all()

    return opened


def anyio_handles(family: str) -> Opener:
    """By handle."""

    @asynccontextmanager
    async def opened(n: int) -> AsyncIterator[Trip]:
        sleepers = Sleepers(n, SLEEP[family])

        async def cancel(key: int) -> int:
            handles[key].cancel()
            await handles[key].wait()
            return key if handles[key].status.name == "CANCELLED" else 0

        async with anyio.create_task_group() as group:
            handles: dict[int, Any] = {key: group.start_soon(sleepers.sleep) for key in keys_of(n)}
            await sleepers.all_asleep.wait()
            yield cancel
            group.cancel_scope.cancel()

    return opened


@asynccontextmanager
async def nursery_scope_and_event(n: int) -> AsyncIterator[Trip]:
    """A scope and an event for each call."""
    sleepers = Sleepers(n, SLEEP["trio"])
    scopes = {key: trio.CancelScope() for key in keys_of(n)}
    events = {key: trio.Event() for key in keys_of(n)}

    async def one(key: int) -> None:
        with scopes[key]:
            await sleepers.sleep()
        events[key].set()

    async def cancel(key: int) -> int:
        scopes[key].cancel()
        await events[key].wait()
        return key if scopes[key].cancelled_caught else 0

    async with trio.open_nursery() as nursery:
        for key in keys_of(n):
            nursery.start_soon(one, key)
        await sleepers.all_asleep.wait()
        yield cancel
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def task_group_and_tasks(n: int) -> AsyncIterator[Trip]:
    """By task, in the shortest way; it would swallow a cancellation of who waits."""
    sleepers = Sleepers(n, SLEEP["asyncio"])

    async def cancel(key: int) -> int:
        tasks[key].cancel()
        try:
            await tasks[key]
        except asyncio.CancelledError:
            return key
        return 0

    async with asyncio.TaskGroup() as group:
        tasks = {key: group.create_task(sleepers.sleep()) for key in keys_of(n)}
        await sleepers.all_asleep.wait()
        yield cancel
        for task in tasks.values():
            task.cancel()


CONTENDERS: dict[str, dict[str, Opener]] = {
    "trio": {
        "nursery + scope + event": nursery_scope_and_event,
        "creche": creche("trio"),
        "anyio TaskHandle": anyio_handles("trio"),
    },
    "asyncio": {
        "TaskGroup + tasks": task_group_and_tasks,
        "creche": creche("asyncio"),
        "anyio TaskHandle": anyio_handles("asyncio"),
    },
}
