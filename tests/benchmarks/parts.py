"""What the parts cost that a call could be made of.

What it is for: saying where the time of a call goes, and where the floor is: what the loop itself takes
to let a task pass it once, a task, a cancel scope, an event that wakes somebody, a token of a limiter.

What it does not know: how creche is made.

Invariant: each does one thing n times, as it is used in code that does nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

import anyio
import trio
from bodies import PASS, Contender, Read, keys_of
from bounding import contenders, hundred_workers

Step = Callable[[], Awaitable[Any]]


def repeated(make_step: Callable[[], Step]) -> Contender:
    """One step after another."""

    async def repeat(n: int) -> Read:
        step = make_step()
        for _ in keys_of(n):
            await step()
        return lambda: keys_of(n)

    return repeat


def in_tasks(open_group: Callable[[], Any], start: str) -> Contender:
    """A task each, which does nothing: it begins, ends, and is counted by its group."""

    async def nothing() -> None:
        pass

    async def start_all(n: int) -> Read:
        async with open_group() as group:
            for _ in keys_of(n):
                if start == "start_soon":
                    group.start_soon(nothing)
                else:
                    group.create_task(nothing())
        return lambda: keys_of(n)

    return start_all


def woken(make_event: Callable[[], Any], open_group: Callable[[], Any], start: str) -> Contender:
    """An event each, which a task waits for and another one sets, by turns."""

    async def wake(n: int) -> Read:
        events = {key: make_event() for key in keys_of(n + 1)}

        async def waiter(first: int) -> None:
            for key in range(first, n + 1, 2):
                await events[key].wait()
                events[key + 1].set()

        async with open_group() as group:
            for first in (1, 2):
                if start == "start_soon":
                    group.start_soon(waiter, first)
                else:
                    group.create_task(waiter(first))
            events[1].set()
        return lambda: (key for key in keys_of(n) if events[key].is_set())

    return wake


def scope_of(make: Callable[[], Any]) -> Callable[[], Step]:
    """Entering and leaving a cancel scope."""

    async def step() -> None:
        with make():
            pass

    return lambda: step


def limiter_of(make: Callable[[int], Any]) -> Callable[[], Step]:
    """Taking and giving back what a limiter has more than enough of."""

    def make_step() -> Step:
        limiter = make(100)

        async def step() -> None:
            async with limiter:
                pass

        return step

    return make_step


async def contexts(n: int) -> Read:
    """A copy of the context variables, as is taken for each call that is submitted."""
    for _ in keys_of(n):
        copy_context()
    return lambda: keys_of(n)


OURS = "a call of creche, at most 100"

CONTENDERS: dict[str, dict[str, Contender]] = {
    "trio": {
        "pass the loop once, among 100": hundred_workers(PASS["trio"], trio.open_nursery, "start_soon"),
        "pass the loop once, alone": repeated(lambda: trio.lowlevel.checkpoint),
        "task of a nursery": in_tasks(trio.open_nursery, "start_soon"),
        "task of anyio's task group": in_tasks(anyio.create_task_group, "start_soon"),
        "cancel scope": repeated(scope_of(trio.CancelScope)),
        "event that wakes a task": woken(trio.Event, trio.open_nursery, "start_soon"),
        "token of a limiter": repeated(limiter_of(trio.CapacityLimiter)),
        "copy of the context": contexts,
        OURS: contenders("trio", PASS["trio"])["creche"],
    },
    "asyncio": {
        "pass the loop once, among 100": hundred_workers(
            PASS["asyncio"], asyncio.TaskGroup, "create_task"
        ),
        "pass the loop once, alone": repeated(lambda: lambda: asyncio.sleep(0)),
        "task of a TaskGroup": in_tasks(asyncio.TaskGroup, "create_task"),
        "task of anyio's task group": in_tasks(anyio.create_task_group, "start_soon"),
        "cancel scope (anyio's)": repeated(scope_of(anyio.CancelScope)),
        "event that wakes a task": woken(asyncio.Event, asyncio.TaskGroup, "create_task"),
        "token of a semaphore": repeated(limiter_of(asyncio.Semaphore)),
        "copy of the context": contexts,
        OURS: contenders("asyncio", PASS["asyncio"])["creche"],
    },
}
