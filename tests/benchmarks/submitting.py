"""W1: submit n calls, each passes the loop once, wait for every one by its key.

What it is for: creche beside what people write today, from the bare task group, which can neither wait
for a key nor cancel one, to those that can.

What it does not know: the clock.

Invariant: each contender is written as its authors would write it, and leaves reading the values to a
function that is called when the clock has stopped.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import aioresult
import anyio
import trio
from ancestor import Ancestor
from bodies import PASS, Call, Contender, Counting, Read, keys_of

from creche import ConcurrentTaskRunner


def creche(call: Call, max_workers: int | None = None, instruments: tuple[Any, ...] = ()) -> Contender:
    """Submit, and wait by key. Any key can be cancelled."""

    async def submit_and_wait(n: int) -> Read:
        runner = ConcurrentTaskRunner(max_workers, instruments=instruments)
        async with runner.start():
            for key in keys_of(n):
                runner.submit_nowait(key, call, key)
            for key in keys_of(n):
                await runner.wait(key)
        return lambda: (runner.slots[key].result() for key in keys_of(n))

    return submit_and_wait


def creche_as_completed(call: Call) -> Contender:
    """Submit, and take the slots as they settle, instead of waiting for each."""

    async def submit_and_take(n: int) -> Read:
        runner = ConcurrentTaskRunner()
        async with runner.start():
            for key in keys_of(n):
                runner.submit_nowait(key, call, key)
            async with runner.as_completed() as slots:
                taken = [slot async for slot in slots]
        return lambda: sorted(slot.result() for slot in taken)

    return submit_and_take


def ancestor(call: Call) -> Contender:
    """Prefect 2.8's runner."""

    async def submit_and_wait(n: int) -> Read:
        values: list[int] = []
        async with Ancestor().start() as runner:
            for key in keys_of(n):
                await runner.submit(key, partial(call, key))
            for key in keys_of(n):
                values.append(await runner.wait(key))  # noqa: PERF401 - its results are nowhere else
        return lambda: values

    return submit_and_wait


def anyio_handles(call: Any) -> Contender:
    """A `TaskHandle` for each call, which can be cancelled, and is waited for."""

    async def handles(n: int) -> Read:
        async with anyio.create_task_group() as group:
            made: list[Any] = [group.start_soon(call, key) for key in keys_of(n)]
            for handle in made:
                await handle.wait()
        return lambda: (handle.return_value for handle in made)

    return handles


def anyio_handles_unawaited(call: Any) -> Contender:
    """The same, and nobody waits for any of them: their group does for all."""

    async def handles(n: int) -> Read:
        async with anyio.create_task_group() as group:
            made: list[Any] = [group.start_soon(call, key) for key in keys_of(n)]
        return lambda: (handle.return_value for handle in made)

    return handles


def aioresults(call: Any, task_group: Any) -> Contender:
    """A `ResultCapture` for each call, which is waited for."""

    async def captures(n: int) -> Read:
        async with task_group() as group:
            made = [aioresult.ResultCapture.start_soon(group, call, key) for key in keys_of(n)]
            for capture in made:
                await capture.wait_done()
        return lambda: (capture.result() for capture in made)

    return captures


# trio alone -------------------------------------------------------------------------------------------


async def nursery_and_dict(n: int) -> Read:
    """The least that keeps results: no wait by key, no cancel by key."""
    results: dict[int, int] = {}
    call = PASS["trio"]

    async def one(key: int) -> None:
        results[key] = await call(key)

    async with trio.open_nursery() as nursery:
        for key in keys_of(n):
            nursery.start_soon(one, key)
    return lambda: (results[key] for key in keys_of(n))


async def nursery_event_and_scope(n: int) -> Read:
    """The same, with what it takes to wait for a key, and to cancel one."""
    results: dict[int, int] = {}
    events: dict[int, trio.Event] = {}
    scopes: dict[int, trio.CancelScope] = {}
    call = PASS["trio"]

    async def one(key: int) -> None:
        with scopes[key]:
            results[key] = await call(key)
        events[key].set()

    async with trio.open_nursery() as nursery:
        for key in keys_of(n):
            events[key] = trio.Event()
            scopes[key] = trio.CancelScope()
            nursery.start_soon(one, key)
        for key in keys_of(n):
            await events[key].wait()
    return lambda: (results[key] for key in keys_of(n))


# asyncio alone ----------------------------------------------------------------------------------------


async def task_group_and_dict(n: int) -> Read:
    """The least that keeps results."""
    results: dict[int, int] = {}
    call = PASS["asyncio"]

    async def one(key: int) -> None:
        results[key] = await call(key)

    async with asyncio.TaskGroup() as group:
        for key in keys_of(n):
            group.create_task(one(key))
    return lambda: (results[key] for key in keys_of(n))


async def task_group_and_tasks(n: int) -> Read:
    """The tasks themselves are kept, waited for by key, and could be cancelled."""
    tasks: dict[int, asyncio.Task[int]] = {}
    call: Any = PASS["asyncio"]

    async with asyncio.TaskGroup() as group:
        for key in keys_of(n):
            tasks[key] = group.create_task(call(key))
        for key in keys_of(n):
            await tasks[key]
    return lambda: (tasks[key].result() for key in keys_of(n))


def everywhere(family: str) -> dict[str, Contender]:
    """Who runs on each loop."""
    call = PASS[family]
    return {
        "creche": creche(call),
        "creche, counting instrument": creche(call, instruments=(Counting(),)),
        "creche, as_completed": creche_as_completed(call),
        "anyio TaskHandle": anyio_handles(call),
        "anyio TaskHandle, not awaited": anyio_handles_unawaited(call),
        "aioresult": aioresults(
            call, trio.open_nursery if family == "trio" else anyio.create_task_group
        ),
        "ancestor": ancestor(call),
    }


CONTENDERS: dict[str, dict[str, Contender]] = {
    "trio": {
        "nursery + dict": nursery_and_dict,
        "nursery + event + scope": nursery_event_and_scope,
        **everywhere("trio"),
    },
    "asyncio": {
        "TaskGroup + dict": task_group_and_dict,
        "TaskGroup + tasks": task_group_and_tasks,
        **everywhere("asyncio"),
    },
}
