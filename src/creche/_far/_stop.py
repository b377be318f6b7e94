"""Which call runs here, and whether it was asked to stop; for code that asks.

What it is for: plain code asks (`is_stopping`), async code has its own loop's cancellation, which hangs
on the same `Stop` for as long as it runs.

What it does not know: who asks a call to stop, and how that travels.

Invariant: what hangs on a stop is called at most once, and never after it was taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, final


class Cut(BaseException):
    """A call that was asked to stop has let the cancellation of its loop through."""


@final
class Stop:
    """What becomes true when a call is to stop.

    Attributes:
        is_set: whether it was asked to.
    """

    __slots__ = ("_tell", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._tell: Callable[[], object] | None = None

    def set(self) -> None:
        """Ask the call to stop; idempotent. In any thread, or a signal handler."""
        self.is_set = True
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def clear(self) -> None:
        """For the next call."""
        self.is_set = False

    def when_set(self, tell: Callable[[], object] | None) -> None:
        """Have something called when the call is to stop; at once if it is already.

        Args:
            tell: what to call, in whatever thread `set` is called; `None` takes it off again.
        """
        self._tell = tell
        if tell is not None and self.is_set:
            self.set()


CURRENT: ContextVar[Stop | None] = ContextVar("creche stop", default=None)
"""Of the call that runs here; `None` outside of one."""

Name = tuple[Any, str, int, str, str]
"""What a call is called where it was submitted: its key, or what that looks like; the name of the
runner; which attempt it is; the name of the place, and of the flow."""

NAME: ContextVar[Name | None] = ContextVar("creche call", default=None)
"""Of the call that runs here; `None` outside of one."""


def enter(stop: Stop | None, name: Name | None) -> None:
    """In the context of a call: this call runs in it.

    Args:
        stop: is set, from elsewhere, when the call is to stop.
        name: of the call, if it has one.
    """
    CURRENT.set(stop)
    NAME.set(name)


def is_stopping() -> bool:
    """Whether the call that runs here, on a far side, was asked to stop."""
    stop = CURRENT.get()
    return stop is not None and stop.is_set
