"""Plain functions that hold their thread until they are let go, and runs that have few threads.

What it does not know: what is put ahead.
"""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread

from calls import settle_down
from creche import ConcurrentTaskRunner, Slot


class Work:
    """A plain function that waits in its thread until it may go on."""

    def __init__(self, value: Any = None) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.value = value

    def __call__(self) -> Any:
        self.begun.set()
        assert self.go_on.wait(10)
        return self.value

    async def until_begun(self) -> None:
        assert await anyio.to_thread.run_sync(self.begun.wait, 10)


def helpers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("creche")]


def abandon(runner: ConcurrentTaskRunner) -> None:
    """As the second half of a flow's Ctrl-C does."""
    assert runner._run is not None
    runner._run.performer.abandon_threads()


async def begin(runner: ConcurrentTaskRunner, *works: Work) -> list[Slot[Any]]:
    """Submit works; the first has begun, and the others wait, when it returns."""
    slots = [runner.submit_nowait(n, work) for n, work in enumerate(works)]
    await works[0].until_begun()
    await settle_down()
    return slots
