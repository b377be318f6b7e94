"""One function in a worker thread, and whether the loop may stop waiting for it.

What it is for: both loops let a wait for a thread be torn by something that no shield stops: Ctrl-C in
trio's main task, `Task.cancel` on asyncio. Then the thread has not begun and never will, or it is
waited for all the same.

What it does not know: loops. How to wait is the caller's affair.

Invariant: the function is called at most once, and never after `has_begun` has said no.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, final


def leave_loop(context: Context) -> None:
    """Take the mark of the loop out of a context, for code that is to run in a thread without one.

    Args:
        context: entered nowhere now.
    """
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None and context.get(sniffio.current_async_library_cvar) is not None:
        context.run(sniffio.current_async_library_cvar.set, None)


def named(name: str, fn: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it gives
    """Call a function with the present thread called something else meanwhile.

    Args:
        name: of the thread.
        fn: the function.

    Returns:
        what it returned.
    """
    thread = threading.current_thread()
    before, thread.name = thread.name, name
    try:
        return fn()
    finally:
        thread.name = before
        del fn  # what it raises leads back to this frame


@final
class ThreadCall:
    """A function to be called in a thread; itself what the thread calls.

    Attributes:
        came: what the function returned, once it has.
    """

    __slots__ = ("_begun", "_dropped", "_ended", "_fn", "_lock", "_when_ended", "came")

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.came: Any = None
        self._fn: list[Callable[[], Any]] = [fn]
        self._lock = threading.Lock()
        self._begun = self._ended = self._dropped = False
        self._when_ended: Callable[[], object] | None = None

    def __call__(self) -> Any:  # noqa: ANN401 - whatever it gives
        """Call the function; in the thread."""
        with self._lock:
            if self._dropped:
                return None
            self._begun = True
        came = None
        try:
            # It does not raise. Nothing of ours holds it, or what came, when it has ended: an exception
            # that came leads back to this frame.
            self.came = came = self._fn.pop()()
            with self._lock:
                self._ended = True
            if self._when_ended is not None:
                self._when_ended()
            return came
        finally:
            del self, came

    def has_begun(self) -> bool:
        """On the loop: whether the function was called; if it was not, it will not be any more."""
        with self._lock:
            self._dropped = not self._begun
            return self._begun

    def tell_when_ended(self, fn: Callable[[], object]) -> None:
        """On the loop: have a function called when it has ended; at once if it has.

        Args:
            fn: hands over to the loop, from any thread.
        """
        with self._lock:
            self._when_ended = fn
            ended = self._ended
        if ended:
            fn()
