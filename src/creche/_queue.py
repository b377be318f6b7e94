"""Admission: which pending call runs next, and whether there is a place for it.

What it is for: the carriers ask `next`, and tell when a place is free again; nothing else decides.
Named limits, rates and dependencies belong here when they come.

What it does not know: loops, clocks, tasks. It is plain state; `now` is an argument. Without priorities
it costs a deque and an integer.

Invariant: a call that it hands out has a place, if places are limited. Of two calls that wait, the one
with the higher priority comes first, and of equal ones the one that was pushed first; a call
that was cancelled while it waited is passed over, and such leftovers never outnumber those that wait.

With ageing, a call gains one point of priority for each so many seconds that it waits. All gain alike,
so that the order of two calls never changes while they wait: it is that of the times at which they
would reach any given priority.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
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

    __slots__ = ("_ageing", "_numbers", "_ranked", "_waiting", "_withdrawn", "places")

    def __init__(self, max_workers: int | None, *, ageing: float | None = None) -> None:
        self.places = None if max_workers is None else Places(max_workers)
        self._ageing = ageing
        # In the order of pushing, as long as no call has a priority; from then on in a heap.
        self._waiting: deque[Slot[Any]] = deque()
        self._ranked: list[tuple[float, int, Slot[Any]]] | None = None
        self._numbers = count()
        self._withdrawn = 0

    def __len__(self) -> int:
        return len(self._waiting if self._ranked is None else self._ranked) - self._withdrawn

    def push(self, slot: Slot[Any], priority: float = 0, now: float = 0) -> None:
        """Let a pending call wait for its place.

        Args:
            slot: its slot.
            priority: the higher the sooner.
            now: in seconds; what is counted from does not matter.
        """
        call = slot.pending_call
        assert call is not None, slot
        call.queued = True
        if self._ranked is None:
            if priority == 0 and self._ageing is None:
                self._waiting.append(slot)
                return
            self._ranked = [(0, next(self._numbers), waiting) for waiting in self._waiting]
            self._waiting.clear()
        rank = -priority if self._ageing is None else now - priority * self._ageing
        heappush(self._ranked, (rank, next(self._numbers), slot))

    def next(self) -> tuple[Slot[Any], Call] | None:
        """Take a place, and the call that is to have it; `None` if either is missing."""
        places, waiting = self.places, self._waiting if self._ranked is None else self._ranked
        if not waiting or (places is not None and not places.take()):
            return None
        while waiting:
            slot = self._waiting.popleft() if self._ranked is None else heappop(self._ranked)[-1]
            call = slot.pending_call
            if call is not None:
                call.queued = False
                return slot, call
            self._withdrawn -= 1
        if places is not None:
            places.free()
        return None

    def withdraw(self, call: Call) -> None:
        """Note that this call has been settled before it ran.

        Args:
            call: nothing is to do if it is not in the queue.
        """
        if not call.queued:
            return
        self._withdrawn += 1
        if self._withdrawn > _FEW and 2 * self._withdrawn > len(self) + self._withdrawn:
            self._withdrawn = 0
            if self._ranked is None:
                self._waiting = deque(slot for slot in self._waiting if slot.state is State.PENDING)
            else:
                self._ranked = [one for one in self._ranked if one[-1].state is State.PENDING]
                heapify(self._ranked)

    def drop_all(self) -> list[Slot[Any]]:
        """Empty the queue; the calls that still waited, in the order in which they would have run."""
        ranked, self._ranked = self._ranked, None
        waiting = self._waiting if ranked is None else [slot for _, _, slot in sorted(ranked)]
        dropped = [slot for slot in waiting if slot.state is State.PENDING]
        for slot in dropped:
            call = slot.pending_call
            assert call is not None, slot
            call.queued = False  # else it would be counted as withdrawn, of an empty queue
        self._waiting.clear()
        self._withdrawn = 0
        return dropped
