"""Waiting for a slot in a thread that runs no loop.

What it is for: the body of a sync flow, and a plain call in its worker thread, read slots by blocking. A
call that does so without a time limit says so to its run, which must know at its exit that nothing
goes on there.

What it does not know: loops. What is for a run's loop is posted to it.

Invariant: nothing is polled; whoever settles the slot wakes the thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any

from ._slot import Slot

IN_THREAD: ContextVar[Slot[Any] | None] = ContextVar("creche call in thread", default=None)
"""The call that the present worker thread carries out."""

Note = Callable[[Slot[Any], bool], object]
"""Takes note that the thread of a call begins (True) or ends to wait for another call."""


def block(slot: Slot[Any], timeout: float | None, note: Note) -> bool:
    """Block this thread, which runs no loop, until a slot is settled.

    Args:
        slot: what to wait for.
        timeout: seconds, checked already; `None` for no limit.
        note: told of the call that this thread carries out, if it does and waits without limit.

    Returns:
        False when the time passed first.

    Raises:
        RuntimeError: it is the call's own thread that asks; it would wait for ever.
    """
    waiter = IN_THREAD.get()
    if waiter is slot:
        raise waits_for_itself(slot.key)
    settled = threading.Event()
    wake = settled.set
    if not slot.enroll(wake):
        return True
    tells = waiter if timeout is None else None
    if tells is not None:
        note(tells, True)  # noqa: FBT003
    try:
        settled.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
    finally:
        slot.withdraw(wake)
        if tells is not None:
            note(tells, False)  # noqa: FBT003
    return slot.done


def waits_for_itself(key: Hashable) -> RuntimeError:
    """The error for a call that would wait for its own end.

    Args:
        key: the call's.

    Returns:
        the error.
    """
    return RuntimeError(
        f"call {key!r} waits for itself, which would never end; return its value instead, or wait "
        f"from another task",
    )
