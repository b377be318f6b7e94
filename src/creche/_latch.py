"""A latch: something that happens once, for a thread to wait for.

What it is for: Ctrl-C in a waiting main thread must leave nothing locked behind. A `threading.Event`
waits in Python code, and Ctrl-C inside that can leave its lock held for ever: whoever sets it hangs
then, and that is an event loop.

What it does not know: loops, slots.

Invariant: `set` never waits. Once it has happened nobody waits any longer, wherever Ctrl-C has hit.
"""

from __future__ import annotations

import contextlib
import threading
from typing import final


@final
class Latch:
    """Something that happens once."""

    __slots__ = ("_left", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._left = [None]

    @property
    def is_set(self) -> bool:
        """Whether it has happened."""
        return not self._left

    def set(self) -> None:
        """It has happened; by any thread, and again, as often as one likes."""
        with contextlib.suppress(IndexError):
            self._left.pop()  # of several threads, one gets it
            self._let_go()

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until it has happened.

        Args:
            timeout: seconds at most; `None` for no limit.

        Returns:
            False when the time passed first.
        """
        if self.is_set:
            return True
        try:
            return self._lock.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            # Ctrl-C may come when the lock has been taken and nobody knows it yet; others wait for it.
            if self.is_set:
                self._let_go()

    def _let_go(self) -> None:
        with contextlib.suppress(RuntimeError):  # somebody else has
            self._lock.release()
