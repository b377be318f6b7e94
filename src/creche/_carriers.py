"""Carriers: the tasks of a run that take calls from the queue and carry them out.

What it is for: getting a carrier to each call that has a place. On trio a carrier carries call after
call, and waits idle for the next; on asyncio each call has a task of its own, since there code can
keep a task and cancel it when another call's work is long in it.

What it does not know: how a call is carried out, keys, how the run is opened and closed.

Invariant: a call that was taken from the queue is settled before its carrier takes another or ends.
A carrier whose enclosing scope is cancelled starts nothing more: it looks between calls, outside the
call's own scope.

Why the carriers are reused on trio: a task of the nursery costs most of what a call costs there.
What a call leaves behind in the task, a lock that it holds for ever, say, is then the next call's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

from ._backend import Backend, Event, Nursery
from ._board import Board
from ._call import Call
from ._carrier import CARRIED, Carrier
from ._halting import Guest, Halting
from ._pacing import Pacer
from ._performing import Performer
from ._places import Places
from ._queue import Queue
from ._slot import Slot
from ._waiting_room import WaitingRoom

# A carrier that is given call after call lets the others run at least this often. Arbitrary: rare
# enough to cost little, often enough that calls which never wait do not hold up the loop.
_YIELD_EVERY = 16

_TASK_NAME = "creche carrier"

# The "deadline" of a call that does not wait for another.
_NO_WAIT = -math.inf

Work = tuple[Slot[Any], Call]


@final
class Carriers:
    """All the carriers of one run.

    Attributes:
        live: how many carriers there are.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        board: Board,
        queue: Queue,
        halting: Halting,
        performer: Performer,
        room: WaitingRoom | None,
        *,
        when_drained: Callable[[], object],
        when_stalled: Callable[[], object],
    ) -> None:
        self.live = 0
        self._backend = backend
        self._nursery = nursery
        self._board = board
        self._queue = queue
        self._halting = halting
        self._performer = performer
        self._room = room
        self._when_drained = when_drained
        self._when_stalled = when_stalled
        # Used as a stack: the one that was busy last is the one whose stack is warm.
        self._idle: dict[Carrier, None] = {}
        # The tasks that carry out a call now, each with the deadline of its wait for another call, if
        # it waits so; and how many calls have a place and do not wait.
        self._waits: dict[object, float] = {}
        self._busy = 0
        self._leaving = False
        # The deadline of the host at the exit: a call that waits with an earlier one will wake up by it.
        self._deadline = math.inf
        self._held_open = False
        self._departure: Event | None = None
        self._lineage = backend.lineage()
        self._pacer = Pacer(backend, nursery, queue, halting, self.fetch, self._look_for_end)

    @property
    def idle(self) -> int:
        """How many carriers wait for a call."""
        return len(self._idle)

    def fetch(self) -> None:
        """A call was queued, or something came free: get a carrier to whatever can start now."""
        if not self._queue.is_simple:
            self.fetch_all()
            return
        if (work := self._next()) is not None:
            self._dispatch(work)
        if self._room is not None:
            self._room.look()

    def fetch_all(self) -> None:
        """Much may have come free at once."""
        while True:
            while (work := self._next()) is not None:
                self._dispatch(work)
            if self._room is None or not self._room.look():
                break
        self._pacer.look()
        self._look_for_stall()

    def _dispatch(self, work: Work) -> None:
        context = work[1].context
        while self._idle:
            carrier, _ = self._idle.popitem()
            if carrier.is_idle:
                # It takes effect with the carrier's next step, which is the one that `hand` causes.
                self._backend.set_context(carrier.task, context)
                carrier.hand(work)
                return
        self.live += 1
        self._backend.start_soon(self._nursery, context, self._carry, work, _TASK_NAME)

    def resize(self, number: int | None) -> None:
        """Let so many calls run at once from now on; `None` for no limit.

        What runs goes on; above a lower limit nothing starts until enough calls have ended.
        """
        places = self._queue.places
        if places is None and number is not None:
            # Calls run that have none: those on the loop get one each now.
            places = self._queue.places = Places(number)
            for carrier in CARRIED.values():
                if carrier.lender is self and not carrier.lends:
                    carrier.join(places)
        elif places is not None:
            places.resize(number)
        self.fetch_all()

    def leave(self) -> None:
        """Nobody waits idle from now on: a carrier that finds no call ends. For the host, inside."""
        self._leaving = True
        self._deadline = self._backend.current_effective_deadline()
        while self._idle:
            carrier, _ = self._idle.popitem()
            if carrier.is_idle:
                carrier.hand(None)
        self._hold_open_for_guests()
        self._look_for_end()

    def note_wait(self, task: object, deadline: float | None) -> None:
        """A task that carries out a call begins or ends to wait for a slot.

        Args:
            task: the task.
            deadline: when the wait ends at the latest; `None` when it has ended.
        """
        self._waits[task] = _NO_WAIT if deadline is None else deadline
        self._busy += 1 if deadline is None else -1
        self._look_for_stall()

    async def carry_here(self, slot: Slot[Any], call: Call) -> BaseException | None:
        """Carry a call out in the running task, which is not ours; see `Performer.perform`.

        A guest: the nursery neither waits for it nor cancels it, so that both are seen to here.
        """
        carrier = Carrier(self._backend.current_task(), self)
        call.context.run(self._backend.join_lineage, self._lineage)
        # A call that another one submits is carried out in the very task of that one.
        nested = carrier.task in self._waits
        self._busy -= nested
        self.hold_open(carrier)
        try:
            return await self._perform(slot, call, carrier, own=False)
        finally:
            del slot, call  # see Performer.perform
            if nested:
                self._waits[carrier.task] = _NO_WAIT
                self._busy += 1
            self.let_go(carrier)

    def hold_open(self, guest: Guest) -> None:
        """Let the exit wait for something that goes on outside the nursery; a halt cancels it."""
        self._busy += 1
        self._halting.guests[guest] = None
        if self._leaving:
            self._hold_open_for_guests()

    def let_go(self, guest: Guest) -> None:
        """It has ended."""
        del self._halting.guests[guest]
        self._busy -= 1
        if self._departure is not None:
            self._departure.set()
        self._look_for_stall()

    def start_at_once(self, slot: Slot[Any], call: Call) -> None:
        """Carry a call out whether there is a place or not: somebody who has one waits for it."""
        call.needs_place = False
        self._busy += 1
        self.live += 1
        self._backend.start_soon(self._nursery, call.context, self._carry, (slot, call), _TASK_NAME)

    def _hold_open_for_guests(self) -> None:
        if self._halting.guests and not self._held_open:
            self._held_open = True
            self._nursery.start_soon(self._wait_for_guests, name=_TASK_NAME)

    async def _wait_for_guests(self) -> None:
        """Hold the nursery open while calls are carried out in tasks that are not its own."""
        try:
            await self._until_guests_have_gone()
        finally:
            if self._halting.guests:
                self._halting.note_cancelled()
                with self._backend.open_scope(shield=True):
                    await self._until_guests_have_gone()
            self._held_open = False
            self._look_for_drained()

    async def _until_guests_have_gone(self) -> None:
        while self._halting.guests:
            self._departure = self._backend.make_event()
            await self._departure.wait()

    async def _carry(self, work: Work | None) -> None:
        """The body of a carrier's task."""
        carrier = Carrier(self._backend.current_task(), self)
        self._backend.join_lineage(self._lineage)
        places = self._queue.places
        streak = 0
        try:
            while work is not None:
                slot, call = work
                if places is not None and call.needs_place:
                    carrier.occupy(places)
                try:
                    onward = await self._carry_if_wanted(slot, call, carrier)
                finally:
                    work = None
                    if call.wishes.gates:
                        self._queue.end(slot, call.wishes.gates)
                    del slot, call  # see Performer.perform
                    carrier.vacate()
                    self._busy -= 1
                if onward is not None:
                    try:
                        raise onward
                    finally:
                        del onward
                if not self._backend.reuses_tasks:
                    return
                streak += 1
                work = await self._next_work(carrier, streak)
        finally:
            self.live -= 1
            if self._halting.halted is None:
                self.fetch()
            self._look_for_end()

    async def _next_work(self, carrier: Carrier, streak: int) -> Work | None:
        backend = self._backend
        work = self._next()
        if self._room is not None:
            self._room.look()
        if not self._queue.is_simple:
            self.fetch()
        if work is not None:
            switched = backend.set_context(carrier.task, work[1].context)
            if switched or streak % _YIELD_EVERY == 0:
                await backend.shielded_checkpoint()
        elif self._halting.halted is None and not self._leaving:
            self._idle[carrier] = None
            try:
                await backend.park(carrier)
            finally:
                self._idle.pop(carrier, None)
            work, carrier.handed = carrier.handed, None
        return work

    async def _carry_if_wanted(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
    ) -> BaseException | None:
        """Carry a call out, unless it was cancelled on the way here, or nothing may start."""
        halting = self._halting
        try:
            if self._backend.current_effective_deadline() == -math.inf:
                halting.note_cancelled()
            if slot.done:
                return None
            if halting.halted is not None:
                self._board.cancel(slot, "closed", halting.why_dropped())
                return None
            return await self._perform(slot, call, carrier, own=True)
        finally:
            del slot, call  # see Performer.perform

    async def _perform(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        own: bool,
    ) -> BaseException | None:
        self._waits[carrier.task] = _NO_WAIT
        outer = carrier.outer = CARRIED.get(carrier.task)
        CARRIED[carrier.task] = carrier
        try:
            return await self._performer.perform(slot, call, carrier, in_own_task=own)
        finally:
            del slot, call  # see Performer.perform
            if outer is None:
                del CARRIED[carrier.task]
            else:
                CARRIED[carrier.task] = outer
            if self._waits.pop(carrier.task) != _NO_WAIT:
                self._busy += 1  # its thread was left to itself, and waits for ever

    def _next(self) -> Work | None:
        queue = self._queue
        work = queue.next() if queue.is_simple else queue.next(self._backend.current_time())
        if work is not None:
            self._busy += 1
        return work

    def _look_for_end(self) -> None:
        self._look_for_drained()
        self._look_for_stall()

    def _look_for_drained(self) -> None:
        """At the exit: without a call that runs or will, none can be submitted any more."""
        if self._leaving and self.live == 0 and not (self._held_open or self._pacer.is_waiting):
            self._when_drained()

    def _look_for_stall(self) -> None:
        """At the exit: when every call waits for another, somebody waits for what cannot come.

        Not while one of them waits with a time limit of its own, or has child tasks: it goes on then,
        or they do, and may submit. Nor while a call is queued: a place is about to be lent to it.
        """
        if (
            self._leaving
            and self._busy == 0
            and not self._pacer.is_waiting
            and self._queue.is_blocked
            and self._board.reserved
            and all(deadline >= self._deadline for deadline in self._waits.values())
            and not self._backend.have_children(self._waits)
        ):
            self._when_stalled()
