"""How a run stands, in numbers.

What it is for: one frozen record, cheap to take, for people who watch a run.

What it does not know: where the numbers come from.
"""

from __future__ import annotations

from typing import NamedTuple


class Statistics(NamedTuple):
    """How a run stands, or how it stood at its end; what `runner.statistics()` gives.

    Attributes:
        reserved: keys that are reserved, without a call yet.
        pending: calls that wait for a place.
        running: calls that hold a place.
        completed: calls that have returned, forgotten ones included; so for the next three.
        failed: calls that have raised.
        cancelled: calls that were cancelled, and reservations that came to nothing.
        crashed: calls that ended through no fault of their own, or with a `KeyboardInterrupt`,
            `SystemExit` and the like.
        max_workers: how many may run at once; `None` for no limit.
        carriers: tasks of the run that carry out calls.
        carriers_idle: those of them that wait for a call.
        submitting: submits that wait for room, because of `max_pending`.
    """

    reserved: int = 0
    pending: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    crashed: int = 0
    max_workers: int | None = None
    carriers: int = 0
    carriers_idle: int = 0
    submitting: int = 0

    @property
    def settled(self) -> int:
        """Calls and reservations that have ended, however they did."""
        return self.completed + self.failed + self.cancelled + self.crashed
