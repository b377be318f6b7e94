"""Admission: which pending call runs next, and whether there is a place for it.

What it is for: the carriers ask `next`, and tell when a place or a limit is free; nothing else decides.

What it does not know: loops, clocks, tasks. It is plain state; `now` is an argument. Without priorities
and limits it costs a deque and an integer.

Invariant: a call that it hands out has a place, if places are limited, and all the named limits that it
needs. Of two calls that need the same, the one with the higher priority comes first, and of equal
ones the one that was pushed first; a call that was cancelled while it waited is passed over, and such
leftovers never outnumber those that wait.

A call that needs a limit which is short is passed over by those that do not need it. From then on that
limit is kept for it: no later call takes it. So a call that needs several limits, and finds now the
one short, now the other, is passed at most as often as they had anything left, and never starves.

With ageing, a call gains one point of priority for each so many seconds that it waits. All gain alike,
so that the order of two never changes: it is that of the times at which they reach any given priority.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count
from types import MappingProxyType
from typing import Any, Protocol, final

from ._call import Call
from ._checks import name_call
from ._lanes import FEW, Lane
from ._limits import Gate
from ._places import Places
from ._rates import Bucket, Rate
from ._slot import Slot
from ._states import State


class Source(Protocol):
    """Somebody who has more to be done, whenever there is a place for it."""

    def supply(self) -> tuple[Slot[Any], Call] | None:
        """The next call, pending and in no queue; `None` if there is none now."""
        ...

    def nudge(self) -> None:
        """Nobody may ask any more: see to it yourself."""
        ...


NO_GATES: Mapping[str, Gate] = MappingProxyType({})


@final
class Queue:
    """The calls that wait for a place, and the places.

    Attributes:
        places: those of the calls that run, or are on their way to a carrier; `None` for no limit.
        gates: the named limits.
        judge: asked before a call is handed out: gives its slot, which may be another one by then; it
            has been settled instead if that gives none. `None` to hand them all out.
        is_simple: whether all that a call may wait for is a place: what comes free then serves one.
        sources: who is asked for calls when none waits, by the carriers that have just ended one.
        wild: those of them who run code of the user's when asked.
        waiting: while `is_simple`: those that wait, and some that were cancelled meanwhile.
        wakes_at: when `next` may have something that it did not have when last asked, though nothing
            else happens; infinity if it will not.
    """

    __slots__ = (
        "_ageing",
        "_bucket",
        "_lanes",
        "_listed",
        "_numbers",
        "_timed",
        "_withdrawn",
        "gates",
        "is_simple",
        "judge",
        "places",
        "sources",
        "waiting",
        "wakes_at",
        "wild",
    )

    def __init__(
        self,
        max_workers: int | None,
        *,
        ageing: float | None = None,
        rate: Rate | None = None,
        gates: Mapping[str, Gate] = NO_GATES,
    ) -> None:
        self.places = None if max_workers is None else Places(max_workers)
        self.gates = gates
        self.judge: Callable[[Slot[Any]], Slot[Any] | None] | None = None
        self.sources: list[Source] = []
        self.wild: list[Source] = []
        self.wakes_at = math.inf
        self._ageing = ageing
        self._bucket = None if rate is None else Bucket(rate)
        # In the order of pushing, as long as calls wait for nothing but a place, and none has a
        # priority; from then on in lanes, by the limits that they need.
        self.waiting: deque[Slot[Any]] = deque()
        self._withdrawn = 0
        self._lanes: dict[tuple[Gate, ...], Lane] | None = None if rate is None else {}
        # Not asked of the lanes each time: that is on the way of every call.
        self.is_simple = self._lanes is None
        self._numbers = count()
        # The lanes that something has happened to since they were looked at, by their first calls.
        self._listed: list[tuple[float, int, Lane]] = []
        # The limits with a rate that are short now, and until when.
        self._timed: dict[Gate, float] = {}

    def __len__(self) -> int:
        if self._lanes is None:
            return len(self.waiting) - self._withdrawn
        return sum(map(len, self._lanes.values()))

    @property
    def is_blocked(self) -> bool:
        """Whether nothing of it will start when a place comes free: it is empty, or there are places."""
        return not len(self) or self.places is None or self.places.has_free

    def find_gates(self, key: object, names: Iterable[str]) -> tuple[Gate, ...]:
        """The named limits that a call needs.

        Args:
            key: the key of the call.
            names: of the limits.

        Returns:
            the limits, in the order of the runner's.

        Raises:
            ValueError: there is no limit of that name.
        """
        wanted = set(names)
        for name in names:
            if name not in self.gates:
                known = ", ".join(map(repr, self.gates)) or "none"
                msg = (
                    f"{name_call(key)} needs limit {name!r}, which the runner does not have (it has "
                    f"{known}); name it in limits= of the runner"
                )
                raise ValueError(msg)
        return tuple(gate for name, gate in self.gates.items() if name in wanted)

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
        gates = call.wishes.gates
        if self._lanes is None:
            if priority == 0 and self._ageing is None and not gates:
                self.waiting.append(slot)
                return
            self._make_lanes()
        rank = -priority if self._ageing is None else now - priority * self._ageing
        self._push(gates, (rank, next(self._numbers), slot))

    def supply(self) -> tuple[Slot[Any], Call] | None:
        """A call of somebody who has more, to begin at once; its slot and itself."""
        if len(self.sources) == 1:
            return self.sources[0].supply()
        for number, source in enumerate(self.sources):
            supplied = source.supply()
            if supplied is not None:
                self.sources.append(self.sources.pop(number))  # the others have their turn first
                return supplied
        return None

    def nudge(self) -> None:
        """Have those who have more see to it themselves."""
        for source in self.sources:
            source.nudge()

    def pass_over(self) -> None:
        """One that was taken from `waiting` had been cancelled."""
        self._withdrawn -= 1

    def next(self, now: float = 0) -> tuple[Slot[Any], Call] | None:
        """Take a place and the limits, and the call that is to have them; `None` if one is missing.

        Args:
            now: in seconds; what is counted from does not matter.
        """
        places = self.places
        if self._lanes is None:  # the hot path, in one frame
            waiting = self.waiting
            if not waiting or (places is not None and not places.take()):
                return None
            while waiting:
                slot = waiting.popleft()
                call = slot.work
                if type(call) is not Call:
                    self._withdrawn -= 1
                    continue
                call.queued, call.places = False, places
                judged = slot if self.judge is None else self.judge(slot)
                if judged is not None:
                    return judged, call
            if places is not None:
                places.free()
            return None
        return self._next_of_many(now)

    def _next_of_many(self, now: float) -> tuple[Slot[Any], Call] | None:
        """The same, where a call may wait for more than a place."""
        places = self.places
        self.wakes_at = math.inf
        if self._bucket is not None and self._bucket.due() > now:
            if len(self):
                self.wakes_at = self._bucket.due()
            return None
        if places is not None and not places.take():
            return None
        slot = self._next_in_lanes(now)
        if slot is None:
            if places is not None:
                places.free()
            return None
        if self._bucket is not None:
            self._bucket.take(now)
        call = slot.pending_call
        assert call is not None, slot
        call.queued, call.places = False, places
        return slot, call

    def end(self, slot: Slot[Any], gates: Iterable[Gate]) -> None:
        """A call has ended, or does not start after all: its limits are free again.

        Args:
            slot: its slot.
            gates: its limits.
        """
        for gate in gates:
            gate.give_back(slot)
            self.look_at(gate)

    def look_at(self, gate: Gate) -> None:
        """Something has happened to a limit: whoever needs it is looked at again, and asks no more."""
        for lane in gate.lanes:
            if lane.asks is gate:
                lane.asks = None  # it may be a while until there is a place, and it is looked at
            self._list(lane)

    def asked(self) -> list[Gate]:
        """The limiter objects that a call waits for, and for nothing else."""
        lanes = () if self._lanes is None else self._lanes.values()
        return list(dict.fromkeys(lane.asks for lane in lanes if lane.asks is not None))

    def withdraw(self, call: Call) -> None:
        """Count this call out; it is settled next, whatever follows from that, and then comes `tidy`."""
        if call.queued:
            call.queued = False
            if self._lanes is None:
                self._withdrawn += 1
            else:
                self._lanes[call.wishes.gates].withdraw()

    def tidy(self, call: Call) -> None:
        """This call, which was counted out if it was in the queue, is settled."""
        if self._lanes is None:
            if self._withdrawn > FEW and 2 * self._withdrawn > len(self.waiting):
                self._withdrawn = 0
                self.waiting = deque(slot for slot in self.waiting if slot.state is State.PENDING)
            return
        lane = self._lanes.get(call.wishes.gates)
        if lane is not None:
            lane.tidy()
            if lane.has_moved:
                self._changed(lane)

    def swap(self, slot: Slot[Any], other: Slot[Any]) -> None:
        """The call of a slot has another slot by now, and keeps its turn.

        Args:
            slot: the former one; nothing happens if it is not in the queue.
            other: the present one, pending.
        """
        call = other.pending_call
        assert call is not None, other
        if self._lanes is None:
            if call.queued:
                self.waiting[self.waiting.index(slot)] = other
            return
        for gate in call.wishes.gates:
            gate.pass_on(slot, other)
        self._lanes[call.wishes.gates].swap(slot, other)

    def in_order(self) -> list[Slot[Any]]:
        """The calls that wait, in the order in which they would run if each needed a place only."""
        if self._lanes is None:
            return [slot for slot in self.waiting if slot.state is State.PENDING]
        entries = [entry for lane in self._lanes.values() for entry in lane.entries()]
        return [slot for _, _, slot in sorted(entries)]

    def drop_all(self) -> list[Slot[Any]]:
        """Empty the queue; the calls that still waited, in the order in which they would have run."""
        dropped = self.in_order()
        self.nudge()
        for lane in list((self._lanes or {}).values()):
            self._drop(lane)
        for slot in dropped:
            call = slot.pending_call
            assert call is not None, slot
            call.queued = False  # else it would be counted as withdrawn, of an empty queue
        self.waiting.clear()
        self._withdrawn = 0
        self._listed.clear()
        self._timed.clear()
        self.wakes_at = math.inf
        return dropped

    # With lanes ------------------------------------------------------------------------------------

    def _make_lanes(self) -> None:
        self._lanes = {}
        self.is_simple = False
        for slot in self.waiting:
            if slot.state is State.PENDING:
                self._push((), (0, next(self._numbers), slot))
        self.waiting.clear()
        self._withdrawn = 0

    def _push(self, gates: tuple[Gate, ...], entry: tuple[float, int, Slot[Any]]) -> None:
        assert self._lanes is not None
        lane = self._lanes.get(gates)
        if lane is None:
            lane = self._lanes[gates] = Lane(gates)
        first = lane.first()
        lane.push(entry)
        if first is None or entry < first:
            self._changed(lane)

    def _list(self, lane: Lane) -> None:
        """Have a lane looked at; it is found by the call that is its first now."""
        first = lane.first()
        if first is not None and not lane.is_listed:
            lane.is_listed = True
            heappush(self._listed, (*first[:2], lane))

    def _changed(self, lane: Lane) -> None:
        """The first call of a lane is another one: what was kept for it concerns others, too."""
        lane.is_listed = lane.has_moved = False  # what is on the list is out of date
        self._list(lane)
        for gate in lane.gates:
            if lane in gate.closers:
                self.look_at(gate)
        if not len(lane):
            self._drop(lane)

    def _drop(self, lane: Lane) -> None:
        assert self._lanes is not None
        lane.leave()
        del self._lanes[lane.gates]

    def _next_in_lanes(self, now: float) -> Slot[Any] | None:
        for gate in [gate for gate, due in self._timed.items() if due <= now]:
            del self._timed[gate]
            self.look_at(gate)
        while self._listed:
            _, number, lane = heappop(self._listed)
            first = lane.first()
            if first is None or first[1] != number or not lane.is_listed:
                continue  # it is on the list a second time, by its present first call
            lane.is_listed = False
            lacking = lane.lacks(first, now)
            lane.asks = None if lacking else lane.borrow(first[2])
            if not lacking and lane.asks is None:
                if self.judge is None or self.judge(first[2]) is not None:
                    return self._start(lane, now)
                self.end(first[2], lane.gates)  # of which it has borrowed
            for gate in lacking:
                if now < gate.due() < math.inf:
                    self._timed[gate] = gate.due()
        self.wakes_at = min(self._timed.values(), default=math.inf)
        return None

    def _start(self, lane: Lane, now: float) -> Slot[Any]:
        slot = lane.pop()
        for gate in lane.gates:
            gate.hold(slot, now)
        for gate in {*lane.open(), *lane.gates}:
            self.look_at(gate)
        self._changed(lane)
        return slot
