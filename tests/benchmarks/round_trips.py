"""W2: on an idle loop, one call is submitted, begins, settles, and who waits for it resumes.

What it is for: what one call costs that nothing else hides: not how many of them fit into a second.

What it does not know: the clock.

Invariant: one call at a time, each of which passes the loop once; its value has come back when a round
trip ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import aioresult
import anyio
import trio
from ancestor import Ancestor
from bodies import PASS, Call

from creche import ConcurrentTaskRunner

Trip = Callable[[int], Awaitable[int]]
"""There and back: is given a key, gives it back."""

Opener = Callable[[], AbstractAsyncContextManager[Trip]]


def awaited_directly(call: Call) -> Opener:
    """No task at all: what the call itself takes."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Trip]:
        yield call

    return opened


def creche(call: Call, max_workers: int | None = None) -> Opener:
    """By key, on a runner that is open."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Trip]:
        async with ConcurrentTaskRunner(max_workers).start() as runner:

            async def trip(key: int) -> int:
                runner.submit_nowait(key, call, key)
                value: int = await runner.result(key)
                return value

            yield trip

    return opened


def creche_slots(call: Any) -> Opener:
    """Without a key of one's own: the slot is awaited, and none is kept."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Trip]:
        async with ConcurrentTaskRunner(retain=False).start() as runner:

            async def trip(key: int) -> int:
                value: int = await runner.submit_nowait(None, call, key)
                return value

            yield trip

    return opened


def anyio_handle(call: Any) -> Opener:
    """A task, and its handle is awaited."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Trip]:
        async with anyio.create_task_group() as group:

            async def trip(key: int) -> int:
                handle: Any = group.start_soon(call, key)
                value: int = await handle
                return value

            yield trip

    return opened


def aioresult_capture(call: Any, open_group: Callable[[], Any]) -> Opener:
    """A task, and its `ResultCapture` is waited for."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Trip]:
        async with open_group() as group:

            async def trip(key: int) -> int:
                capture = aioresult.ResultCapture.start_soon(group, call, key)
                await capture.wait_done()
                value: int = capture.result()
                return value

            yield trip

    return opened


def ancestor(call: Call) -> Opener:
    """By key."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Trip]:
        async with Ancestor().start() as runner:

            async def trip(key: int) -> int:
                await runner.submit(key, partial(call, key))
                value: int = await runner.wait(key)
                return value

            yield trip

    return opened


@asynccontextmanager
async def nursery_and_event() -> AsyncIterator[Trip]:
    """A task that stores its value and sets an event."""
    call = PASS["trio"]
    results: dict[int, int] = {}

    async def one(key: int, event: trio.Event) -> None:
        results[key] = await call(key)
        event.set()

    async with trio.open_nursery() as nursery:

        async def trip(key: int) -> int:
            event = trio.Event()
            nursery.start_soon(one, key, event)
            await event.wait()
            return results[key]

        yield trip


@asynccontextmanager
async def task_group_and_task() -> AsyncIterator[Trip]:
    """A task, which is awaited."""
    call: Any = PASS["asyncio"]
    async with asyncio.TaskGroup() as group:

        async def trip(key: int) -> int:
            task: asyncio.Task[int] = group.create_task(call(key))
            return await task

        yield trip


def everywhere(family: str) -> dict[str, Opener]:
    """Who runs on each loop."""
    call = PASS[family]
    return {
        "awaited directly": awaited_directly(call),
        "creche": creche(call),
        "creche, at most 100": creche(call, 100),
        "creche, slot, retain=False": creche_slots(call),
        "anyio TaskHandle": anyio_handle(call),
        "aioresult": aioresult_capture(
            call, trio.open_nursery if family == "trio" else anyio.create_task_group
        ),
        "ancestor": ancestor(call),
    }


CONTENDERS: dict[str, dict[str, Opener]] = {
    "trio": {"nursery + event": nursery_and_event, **everywhere("trio")},
    "asyncio": {"TaskGroup + task": task_group_and_task, **everywhere("asyncio")},
}
