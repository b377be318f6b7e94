"""What the tests of limits share."""

from __future__ import annotations

from typing import Any

import anyio
import trio

from creche import ConcurrentTaskRunner, State


def running(runner: ConcurrentTaskRunner) -> list[Any]:
    """The keys of what runs now."""
    return [key for key, slot in runner.slots.items() if slot.state is State.RUNNING]


def limiter_of(name: str, tokens: int) -> Any:
    """A limiter object of the loop's own kind."""
    return trio.CapacityLimiter(tokens) if name == "trio" else anyio.CapacityLimiter(tokens)
