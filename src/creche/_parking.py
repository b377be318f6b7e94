"""Parking: tasks that wait until somebody wakes them all.

What it is for: the one half of the protocol between a loop and what is waited for (`Parkable`) that is
the same wherever tasks wait for a condition, and look at it again when they are woken.

What it does not know: the condition. A class that has one refuses to let a task park that need not.

Invariant: whoever parks is woken by the next `_wake_all`, unless it has withdrawn; and only once.
"""

from __future__ import annotations

from collections.abc import Callable


class Parking:
    """Where tasks wait until all of them are woken; for subclasses."""

    def __init__(self) -> None:
        self._parked: dict[Callable[[], object], None] = {}

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park a task; part of the protocol between a loop and what is waited for."""
        self._parked[wake] = None
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Let a task go that was cancelled."""
        self._parked.pop(wake, None)

    def _wake_all(self) -> None:
        parked, self._parked = self._parked, {}
        for wake in parked:
            wake()
