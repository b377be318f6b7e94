"""Admission: which pending call runs next, and whether there is a place for it.

What it is for: the carriers ask `next`, and tell when a place is free again; nothing else decides.
Priorities, named limits, rates and dependencies belong here when they come.

What it does not know: loops, clocks, tasks. It is plain state, and what it costs is a deque and an
integer.

Invariant: a call that it hands out has a place, if places are limited. A call that was cancelled
while it waited is passed over, and such leftovers never outnumber the calls that still wait.
"""

from __future__ import annotations

from collections import deque
from typing import Any, final

from ._call import Call
from ._places import Places
from ._slot import Slot
from ._states import State

# Below this many leftovers a sweep costs more than it frees. Arbitrary.
_FEW = 32


@final
class Queue:
    """The calls that wait for a place, and the places.

    Attributes:
        places: those of the calls that run, or are on their way to a carrier; `None` for no limit.
    """

    __slots__ = ("_waiting", "_withdrawn", "places")

    def __init__(self, max_workers: int | None) -> None:
        self.places = None if max_workers is None else Places(max_workers)
        self._waiting: deque[Slot[Any]] = deque()
        self._withdrawn = 0

    def __len__(self) -> int:
        return len(self._waiting) - self._withdrawn

    def push(self, slot: Slot[Any]) -> None:
        """Let a pending call wait for its place, behind those that are there."""
        self._waiting.append(slot)

    def next(self) -> tuple[Slot[Any], Call] | None:
        """Take a place, and the call that is to have it; `None` if either is missing."""
        waiting, places = self._waiting, self.places
        if not waiting or (places is not None and not places.take()):
            return None
        while waiting:
            slot = waiting.popleft()
            call = slot.pending_call
            if call is not None:
                call.taken = True
                return slot, call
            self._withdrawn -= 1
        if places is not None:
            places.free()
        return None

    def withdraw(self, call: Call) -> None:
        """Note that this call has been settled before it ran.

        Args:
            call: one that was pushed; nothing is to do if a carrier has it already.
        """
        if call.taken:
            return
        self._withdrawn += 1
        if self._withdrawn > _FEW and 2 * self._withdrawn > len(self._waiting):
            self._waiting = deque(slot for slot in self._waiting if slot.state is State.PENDING)
            self._withdrawn = 0

    def drop_all(self) -> list[Slot[Any]]:
        """Empty the queue; the calls that still waited, in the order in which they would have run."""
        dropped = [slot for slot in self._waiting if slot.state is State.PENDING]
        self._waiting.clear()
        self._withdrawn = 0
        return dropped
