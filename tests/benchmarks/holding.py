"""W6: n calls are submitted and wait; then all have ended, and what came of them is kept.

What it is for: how many bytes a call takes that waits, and how many its outcome takes beyond the value.

What it does not know: how bytes are counted.

Invariant: keys are there before, and a call's value is its key, so that neither is counted; nor is the
bound method, which all calls share. "Pending" is taken when as many calls run as may, and the rest
waits; "retained" when all have ended and the runner, or task group, is still open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import aioresult
import anyio
import anyio.lowlevel
import trio
from ancestor import Ancestor

from creche import ConcurrentTaskRunner

AT_ONCE = 100

Take = Callable[[str], None]
"""Counts bytes: "before", "pending", "retained"."""

Holder = Callable[[list[int], Take], Coroutine[Any, Any, None]]


class Gate:
    """Calls wait here, and are let through together."""

    def __init__(self, make_event: Callable[[], Any], calls: int, at_once: int | None = None) -> None:
        self._open = make_event()
        self._asleep = make_event()
        self._ended = make_event()
        self._awake = min(calls, at_once or calls)
        self._left = calls

    async def call(self, key: int) -> int:
        """What is submitted."""
        self._awake -= 1
        if not self._awake:
            self._asleep.set()
        await self._open.wait()
        self._left -= 1
        if not self._left:
            self._ended.set()
        return key

    async def take(self, take: Take) -> None:
        """Count while calls wait, let them through, and count when all have ended."""
        await self._asleep.wait()
        take("pending")
        self._open.set()
        await self._ended.wait()
        # The last ones still have their tasks to leave, and their outcomes to be written.
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        take("retained")


EVENTS: dict[str, Callable[[], Any]] = {"trio": trio.Event, "asyncio": asyncio.Event}


def creche(family: str, max_workers: int | None = None) -> Holder:
    """With a limit most calls wait in the queue; without one all are running, and block."""

    async def hold(keys: list[int], take: Take) -> None:
        gate = Gate(EVENTS[family], len(keys), max_workers)
        call = gate.call
        async with ConcurrentTaskRunner(max_workers).start() as runner:
            take("before")
            for key in keys:
                runner.submit_nowait(key, call, key)
            await gate.take(take)
            assert all(runner.slots[key].result() == key for key in keys)

    return hold


def group_and_dict(family: str, open_group: Callable[[], Any], make_limiter: Any = None) -> Holder:
    """A task for each call; with a limiter most of them wait for a token."""

    async def hold(keys: list[int], take: Take) -> None:
        gate = Gate(EVENTS[family], len(keys), AT_ONCE if make_limiter else None)
        call = gate.call
        limiter: Any = make_limiter(AT_ONCE) if make_limiter else None
        results: dict[int, int] = {}

        async def free(key: int) -> None:
            results[key] = await call(key)

        async def limited(key: int) -> None:
            async with limiter:
                results[key] = await call(key)

        one = limited if make_limiter else free
        async with open_group() as group:
            take("before")
            for key in keys:
                if family == "trio":
                    group.start_soon(one, key)
                else:
                    group.create_task(one(key))
            await gate.take(take)
            assert all(results[key] == key for key in keys)

    return hold


async def task_group_and_tasks(keys: list[int], take: Take) -> None:
    """The tasks are kept."""
    gate = Gate(asyncio.Event, len(keys))
    call = gate.call
    async with asyncio.TaskGroup() as group:
        take("before")
        tasks = {key: group.create_task(call(key)) for key in keys}
        await gate.take(take)
        assert all(tasks[key].result() == key for key in keys)


def anyio_handles(family: str) -> Holder:
    """The handles are kept."""

    async def hold(keys: list[int], take: Take) -> None:
        gate = Gate(EVENTS[family], len(keys))
        call = gate.call
        async with anyio.create_task_group() as group:
            take("before")
            handles: dict[int, Any] = {key: group.start_soon(call, key) for key in keys}
            await gate.take(take)
            assert all(handles[key].return_value == key for key in keys)

    return hold


def aioresults(family: str, open_group: Callable[[], Any]) -> Holder:
    """The captures are kept."""

    async def hold(keys: list[int], take: Take) -> None:
        gate = Gate(EVENTS[family], len(keys))
        call = gate.call
        async with open_group() as group:
            take("before")
            start: Any = aioresult.ResultCapture.start_soon
            captures = {key: start(group, call, key) for key in keys}
            await gate.take(take)
            assert all(captures[key].result() == key for key in keys)

    return hold


def ancestor(family: str) -> Holder:
    """It keeps everything."""

    async def hold(keys: list[int], take: Take) -> None:
        gate = Gate(EVENTS[family], len(keys))
        call = gate.call
        async with Ancestor().start() as runner:
            take("before")
            for key in keys:
                await runner.submit(key, partial(call, key))
            await gate.take(take)
            for key in keys:
                assert await runner.wait(key) == key

    return hold


def everywhere(family: str) -> dict[str, Holder]:
    """Who runs on each loop."""
    return {
        "creche, at most 100": creche(family, AT_ONCE),
        "creche, all of them block": creche(family),
        "anyio TaskHandle": anyio_handles(family),
        "aioresult": aioresults(
            family, trio.open_nursery if family == "trio" else anyio.create_task_group
        ),
        "ancestor": ancestor(family),
    }


CONTENDERS: dict[str, dict[str, Holder]] = {
    "trio": {
        "nursery + dict": group_and_dict("trio", trio.open_nursery),
        "nursery + limiter": group_and_dict("trio", trio.open_nursery, trio.CapacityLimiter),
        **everywhere("trio"),
    },
    "asyncio": {
        "TaskGroup + dict": group_and_dict("asyncio", asyncio.TaskGroup),
        "TaskGroup + semaphore": group_and_dict("asyncio", asyncio.TaskGroup, asyncio.Semaphore),
        "TaskGroup + tasks": task_group_and_tasks,
        **everywhere("asyncio"),
    },
}
