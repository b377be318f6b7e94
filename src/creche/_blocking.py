"""Waiting for a slot in a thread that runs no loop.

What it is for: the body of a sync flow, and a plain call in its worker thread, read slots by blocking. A
call that does so lends its place as it would on its loop, and its run must know at its exit that
nothing goes on there.

What it does not know: loops. What is for a run's loop is handed over by its home.

Invariant: nothing is polled; whoever settles the slot wakes the thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, final

from ._carrier import Carrier
from ._lending import check_circle
from ._slot import Slot

IN_THREAD: ContextVar[Slot[Any] | None] = ContextVar("creche call in thread", default=None)
"""The call that the present worker thread carries out."""


class CallersHome(Protocol):
    """The home of a call that waits in its thread."""

    def note_wait(self, task: object, deadline: float | None) -> object:
        """On the loop: the call of a task waits until then at most, or (`None`) has ended to."""
        ...

    def hand_over(self, fn: Callable[[], object]) -> bool:
        """From any thread: have a function called on the loop; False when that has ended."""
        ...


def block(slot: Slot[Any], timeout: float | None, caller: Slot[Any] | None, home: CallersHome) -> bool:
    """Block this thread, which runs no loop, until a slot is settled.

    Args:
        slot: what to wait for.
        timeout: seconds, checked already; `None` for no limit.
        caller: the call that this thread carries out, if it does.
        home: where that one lives.

    Returns:
        False when the time passed first.

    Raises:
        RuntimeError: the call would wait for itself, for ever.
    """
    seconds = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
    carrier = None if caller is None else caller.carrying
    if caller is not None and isinstance(carrier, Carrier):
        return _Waiting(slot, caller, carrier, home, is_timed=timeout is not None).block(seconds)
    settled = threading.Event()
    wake = settled.set
    if slot.enroll(wake):
        try:
            settled.wait(seconds)
        finally:
            slot.withdraw(wake)
    return slot.done


@final
class _Waiting:
    """One wait of a call, in its thread."""

    def __init__(
        self,
        slot: Slot[Any],
        caller: Slot[Any],
        carrier: Carrier,
        home: CallersHome,
        *,
        is_timed: bool,
    ) -> None:
        self._slot = slot
        self._caller = caller
        self._carrier = carrier
        self._home = home
        self._is_timed = is_timed
        self._settled = threading.Event()
        self._back = threading.Event()
        self._waker = self._arrive

    def block(self, seconds: float | None) -> bool:
        if not self._is_timed:
            check_circle(self._carrier, self._slot)
        if not self._slot.enroll(self._waker):
            return True
        if not self._is_timed:
            self._carrier.waits_for = self._slot
        self._hand_over(self._begin)
        self._settled.wait(seconds)
        self._slot.withdraw(self._waker)
        self._carrier.waits_for = None
        if not self._settled.is_set() and not self._slot.done:
            self._hand_over(self._give_up)
            return False
        self._back.wait()
        return True

    def _hand_over(self, step: Callable[[], object]) -> bool:
        """Take a step on the loop of the call, as long as that goes on."""

        def take() -> None:
            if self._caller.carrying is self._carrier:
                step()
            else:
                self._back.set()  # it was left to itself

        return self._home.hand_over(take)

    def _arrive(self) -> None:
        self._settled.set()
        if not self._hand_over(self._end):
            self._back.set()

    def _begin(self) -> None:
        if not self._is_timed:
            self._home.note_wait(self._carrier.task, float("inf"))
        self._carrier.begin_wait()

    def _end(self) -> None:
        if not self._is_timed:
            self._home.note_wait(self._carrier.task, None)
        self._carrier.end_wait()
        if not self._carrier.when_back(self._back.set):
            self._back.set()

    def _give_up(self) -> None:
        self._carrier.give_up_wait()
