"""What the calls of a soak do, wherever they run: on the loop, in threads, in worker processes, on Dask.

What it does not know: creche, runners. It is imported by every worker that is started, so it imports
next to nothing.
"""

from __future__ import annotations

import os
import time
from typing import Any, NoReturn


async def give(value: Any) -> Any:
    """Return it."""
    return value


async def give_after(value: Any, seconds: float) -> Any:
    """Return it after a while, on whatever loop runs."""
    await _sleep(seconds)
    return value


async def fail(error: Exception) -> NoReturn:
    """Raise it."""
    raise error


async def _sleep(seconds: float) -> None:
    # Workers that never come here need no anyio.
    from anyio import sleep  # noqa: PLC0415 - it runs in a worker process

    await sleep(seconds)


def same(value: Any) -> Any:
    """Return it, a plain call."""
    return value


def nap(value: Any, seconds: float) -> Any:
    """Sleep, deaf to everything but a signal that kills, and return it."""
    time.sleep(seconds)
    return value


def refuse(value: Any) -> NoReturn:
    """Raise, over there."""
    raise LookupError(value)


def die() -> NoReturn:
    """End the process that this runs in."""
    os._exit(9)
