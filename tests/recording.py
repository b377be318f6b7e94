"""Workflows that only sleep, run in virtual time with an event log: what simulations are held against.

What it does not know: what is made of the log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import trio
import trio.testing

from conftest import VirtualTimeLoop
from creche import ConcurrentTaskRunner
from creche.instruments import EventLog, History, read_history

Body = Callable[[ConcurrentTaskRunner], Awaitable[object]]


def record(path: Path, body: Body, loop: str = "trio", **options: Any) -> History:
    """Run a body on a runner of its own, and read what has happened.

    Args:
        path: where the log goes.
        body: what submits.
        loop: which one.
        options: of the runner.
    """
    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(instruments=[log], **options)

        async def main() -> None:
            async with runner.start():
                await body(runner)

        if loop == "trio":
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        else:
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as asyncio_runner:
                asyncio_runner.run(main())
    return read_history(path)


async def fan_out(runner: ConcurrentTaskRunner) -> None:
    """One, many beside each other, one."""
    first = runner.submit_nowait("split", anyio.sleep, 3)
    parts = [runner.submit_nowait(f"part {n}", anyio.sleep, 1 + n % 4, after=[first]) for n in range(20)]
    runner.submit_nowait("collect", anyio.sleep, 2, after=parts)


async def chain(runner: ConcurrentTaskRunner) -> None:
    """Each by `after`, and one that waits in the body."""
    slot = runner.submit_nowait(0, anyio.sleep, 1)
    for n in range(1, 8):
        slot = runner.submit_nowait(n, anyio.sleep, n, after=[slot])
    await slot
    await anyio.sleep(2.5)
    await runner.submit_nowait("last", anyio.sleep, 4)
    await anyio.sleep(1)


async def diamond(runner: ConcurrentTaskRunner) -> None:
    """Two ways from one to another."""
    top = runner.submit_nowait("top", anyio.sleep, 2)
    left = runner.submit_nowait("left", anyio.sleep, 5, after=[top])
    right = runner.submit_nowait("right", anyio.sleep, 3, after=[top])
    runner.submit_nowait("bottom", anyio.sleep, 1, after=[left, right])


async def nested(runner: ConcurrentTaskRunner) -> None:
    """Calls that submit calls and wait for them, three deep."""

    async def node(key: str, depth: int) -> None:
        await anyio.sleep(1)
        if depth:
            below = [runner.submit_nowait(f"{key}.{n}", node, f"{key}.{n}", depth - 1) for n in range(3)]
            for slot in below:
                await slot
        await anyio.sleep(0.5)

    for n in range(2):
        runner.submit_nowait(str(n), node, str(n), 2)


async def stages(runner: ConcurrentTaskRunner) -> None:
    """The body waits for all of a stage, and goes on."""
    for stage in range(4):
        slots = [
            runner.submit_nowait((stage, n), anyio.sleep, 1 + (n * 7 + stage) % 5) for n in range(9)
        ]
        for slot in slots:
            await slot
        await anyio.sleep(0.75)


async def limited(runner: ConcurrentTaskRunner) -> None:
    """Some need the database."""
    for n in range(12):
        limits = ["db"] if n % 2 else []
        runner.submit_nowait(f"query {n}", anyio.sleep, 1 + n % 3, limits=limits)


async def mapped(runner: ConcurrentTaskRunner) -> None:
    """Items are pulled where there is room."""
    await runner.map(anyio.sleep, [3, 1, 2, 5, 1, 1, 4, 2, 2, 3])
    await anyio.sleep(1)


async def failing(runner: ConcurrentTaskRunner) -> None:
    """One fails, what comes after it never runs, and one is cancelled while it runs."""

    async def fail() -> None:
        await anyio.sleep(2)
        raise ValueError

    first = runner.submit_nowait("fails", fail)
    second = runner.submit_nowait("never", anyio.sleep, 100, after=[first])
    runner.submit_nowait("all the same", anyio.sleep, 3, after=[first, second], after_any_end=True)
    runner.submit_nowait("too long", anyio.sleep, 50, timeout=7)
    for n in range(5):
        runner.submit_nowait(n, anyio.sleep, n)
    await runner.wait(first)


SHAPES: dict[str, Body] = {
    shape.__name__: shape
    for shape in (fan_out, chain, diamond, nested, stages, limited, mapped, failing)
}


def written(path: Path, *records: dict[str, Any]) -> History:
    """A history of events that are made up."""
    lines = [{"event": "log", "schema": 1, "creche": "0", "wall": 0.0}, *records]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_history(path)


def started(**more: Any) -> dict[str, Any]:
    """Of a runner."""
    usual: dict[str, Any] = {"name": "concurrent", "max_workers": None, "limits": {}, "loop": "trio"}
    return {"event": "runner_started", "run": 1, "time": 0.0, "wall": 0.0, **usual, **more}


def events(key: str, submitted: float, began: float, ended: float, **more: Any) -> list[Any]:
    """Of a call, from its submission to its end."""
    base = {"run": 1, "key": key, "place": "loop"}
    return [
        {"event": "call_submitted", "time": submitted, "state": "PENDING", **base, **more},
        {"event": "call_admitted", "time": began, "state": "RUNNING", **base},
        {"event": "call_started", "time": began, "state": "RUNNING", **base},
        {"event": "call_finished", "time": ended, "state": "COMPLETED", **base},
    ]


def in_time(*calls: list[Any]) -> list[Any]:
    """Events of several calls, in their order."""
    return sorted((event for call in calls for event in call), key=lambda event: event["time"])


async def holds_and_waits(runner: ConcurrentTaskRunner) -> None:
    """A call that has a limit, and waits for another one that needs it: with one of it, for ever."""

    async def outer() -> None:
        await runner.submit_nowait("inner", anyio.sleep, 1, limits=["db"])

    runner.submit_nowait("outer", outer, limits=["db"])
