"""Virtual time: an event loop that jumps to the next timer instead of waiting for it.

For trio there is `trio.testing.MockClock`; for asyncio, a selector that tells the loop how late it is.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import trio.testing

T = TypeVar("T")

# A length of time in which to count. It is a power of two, of which a float holds every multiple up to
# 2**53: the clock never rounds. Not longer, since asyncio waits for a day at most, and then again; not
# shorter, since it takes a timer for due that is due within a nanosecond.
TICK = 2.0**-26


class _JumpingSelector(selectors.DefaultSelector):
    """Where a selector would wait for a timer, it moves the clock there."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else jump."""
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on which an hour of sleep costs nothing."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now


def run_on(backend: str, fn: Callable[[], Awaitable[T]], *, virtual: bool) -> T:
    """Run an async function on a loop of its own: trio's, asyncio's, or uvloop's, which is real only."""
    options: dict[str, Any]
    if backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0) if virtual else None}
        return anyio.run(fn, backend="trio", backend_options=options)
    options = {"loop_factory": VirtualLoop} if virtual else {"use_uvloop": backend == "uvloop"}
    return anyio.run(fn, backend="asyncio", backend_options=options)
