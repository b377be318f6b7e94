"""Parking: tasks that wait until somebody wakes them all; and one that waits for what happens once.

What it is for: the one half of the protocol between a loop and what is waited for (`Parkable`) that is
the same wherever tasks wait for a condition, and look at it again when they are woken.

What it does not know: the condition. A class that has one refuses to let a task park that need not.

Invariant: whoever parks is woken by the next `_wake_all`, or by `_wake_up`, unless it has withdrawn; and
only once.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import final


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


class ParkingForOne(abc.ABC):
    """Where one task waits for what happens once, on the thread of its loop; for subclasses."""

    __slots__ = ("_wake",)

    def __init__(self) -> None:
        self._wake: Callable[[], object] | None = None

    @property
    @abc.abstractmethod
    def is_settled(self) -> bool:
        """Whether it has happened."""

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park until it has happened; part of the protocol between a loop and what is waited for."""
        if self.is_settled:
            return False
        self._wake = wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Do not wake after all."""
        del wake  # one task alone parks here
        self._wake = None

    def _wake_up(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()


@final
class Doorbell(ParkingForOne):
    """Wakes the one task that sees to something; rung several times in a turn it wakes it once."""

    __slots__ = ("has_rung",)

    def __init__(self) -> None:
        super().__init__()
        self.has_rung = False

    @property
    def is_settled(self) -> bool:
        """Whether it was rung, and that was not seen to."""
        return self.has_rung

    def ring(self) -> None:
        """Wake the task, at once or when it comes to wait."""
        self.has_rung = True
        self._wake_up()
