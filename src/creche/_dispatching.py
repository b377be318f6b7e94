"""Getting a carrier to each call that has a place, and the books of who is busy with what.

What it is for: a call that was queued, or for which something came free, goes to a carrier that waits
idle, or to a new one. Without a limit there are more of them only for calls that block (see `_growth`).
At the exit of the run it is seen here that nothing goes on any more, or that all wait for each other.

What it does not know: how a carrier goes about a call, keys, how the run is opened and closed.

Invariant: a call that has left the queue has a carrier, or is on its way to one; of those, `_busy`
counts the ones that do not wait for another call.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from ._backend import CARRIER_NAME, Backend, Nursery
from ._board import Board
from ._call import UNTAKEN, Call
from ._carrier import CARRIED, Carrier
from ._growth import BASE, Growth
from ._guests import Guests
from ._halting import Guest, Halting
from ._ki import protected
from ._lending import callers_here
from ._pacing import Pacer
from ._performing import Performer
from ._places import Places
from ._queue import Queue
from ._slot import Slot
from ._thread_calls import ThreadCall, ThreadCalls
from ._waiting_room import WaitingRoom

# How many carriers wait idle at most, in a run without a limit: each keeps some kilobytes. Arbitrary.
_KEPT = 64

Work = tuple[Slot[Any], Call]


class Dispatcher(abc.ABC):
    """Gets a carrier to each call of one run that has a place.

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
        # A submit that may be refused for want of room must know whether its call starts at once.
        self._growth = Growth() if room is None else None
        self._room = room
        self._when_drained = when_drained
        self._when_stalled = when_stalled
        # Used as a stack: the one that was busy last is the one whose stack is warm.
        self._idle: dict[Carrier, None] = {}
        # The tasks whose calls wait for other calls, each with the deadline of its wait; and how many
        # calls have a carrier, or are on their way to one, and do not wait.
        self._waits: dict[object, float] = {}
        self._busy = 0
        self._leaving = False
        # The deadline of the host at the exit: a call that waits with an earlier one will wake up by it.
        self._deadline = math.inf
        self._guests = Guests(backend, nursery, halting, self._look_for_drained)
        self._lineage = backend.ancestry()
        self._in_threads = ThreadCalls(
            backend,
            nursery,
            board,
            self._guests,
            performer,
            self,
            callers_here(backend),
            when_ended=self._note_sent,
            go_on=self._go_on_with,
        )
        performer.abandon_more = self._in_threads.abandon
        self._context = copy_context()
        self._pacer = Pacer(backend, nursery, queue, halting, self.fetch, self._look_for_end)

    @property
    def idle(self) -> int:
        """How many carriers wait for a call."""
        return len(self._idle)

    def fetch(self) -> None:
        """A call was queued, or something came free: get a carrier to whatever can start now."""
        queue = self._queue
        if not queue.is_simple:
            self.fetch_all()
            return
        growth = self._growth
        if self._room is not None:
            if (work := self._next()) is not None:
                self._dispatch(work)
            self._room.look()
            return
        if queue.places is not None:
            if not queue.places.has_free:
                return
        elif growth is not None and not self._idle and growth.young >= BASE and self._busy >= BASE:
            # It has a carrier soon, one that is free by then, or if need be one of its own.
            if not growth.is_watched and len(queue):
                growth.is_watched = True
                self._backend.start_soon(self._nursery, copy_context(), self._grow, growth, CARRIER_NAME)
            return
        if (work := self._next()) is not None:
            self._dispatch(work)

    def fetch_all(self) -> None:
        """Much may have come free at once."""
        while True:
            while (work := self._next()) is not None:
                self._dispatch(work)
            if self._room is None or not self._room.look():
                break
        self._pacer.look()
        self._look_for_stall()

    @protected
    async def _grow(self, growth: Growth) -> None:
        """Start carriers for what is queued, as long as there is something; see `Growth`."""
        backend = self._backend
        try:
            while self._halting.halted is None and len(self._queue):
                await backend.shielded_checkpoint()
                for _ in range(growth.count_pass()):
                    work = self._next()
                    if work is None:
                        break
                    self._dispatch(work)
        finally:
            growth.is_watched = False
            self._look_for_end()

    def _dispatch(self, work: Work) -> None:
        slot, call = work
        if not call.is_async and call.wishes.timeout is None and self._performer.is_light:
            self._send(slot, call)
            return
        context = call.context
        while self._idle:
            carrier, _ = self._idle.popitem()
            if carrier.is_idle:
                if self._backend.take_up(carrier.task, carrier.mark, context):
                    carrier.hand(work)
                    return
                carrier.hand(None)
        self.live += 1
        self._backend.start_soon(self._nursery, context, self._carry, work, CARRIER_NAME)

    def _send(self, slot: Slot[Any], call: Call) -> None:
        """Have a plain call carried out in a thread, without a task."""
        self.live += 1
        job = self._in_threads.begin(slot, call)
        self._begin(job.carrier, call)
        self._in_threads.send(job)

    def _note_sent(self, job: ThreadCall) -> None:
        """A call that was sent has ended."""
        self._end(job.carrier)
        self.live -= 1
        queue, gates = self._queue, job.call.wishes.gates
        if gates:
            queue.end(job.slot, gates)
        if self._halting.halted is None and self._backend.is_cut_from(self._nursery):
            self._halting.note_cancelled()
        if self._halting.halted is None:
            self._supply()
            self.fetch()
        self._look_for_end()

    def _supply(self) -> None:
        """If nothing waits, whoever has more to be done has it wait here, as there is a place for it."""
        queue = self._queue
        if queue.sources and not len(queue):
            supplied = queue.supply()
            if supplied is not None:
                queue.push(supplied[0], supplied[1].wishes.priority, self._backend.current_time())

    def _begin(self, carrier: Carrier, call: Call) -> None:
        """A carrier has been given a call."""
        carrier.is_busy = True
        if self._growth is not None:
            carrier.since = self._growth.begin()
        if call.places:
            carrier.occupy(call.places)

    def _end(self, carrier: Carrier) -> None:
        """Its call has ended, and with it all that it had."""
        carrier.is_busy = False
        carrier.vacate()
        self._busy -= 1
        if self._growth is not None:
            self._growth.end(carrier.since)
        # Else its thread was left to itself, and waits for ever.
        self._busy += self._waits.pop(carrier.task, None) is not None

    def resize(self, number: int | None) -> None:
        """Let so many calls run at once from now on; `None` for no limit.

        What runs goes on; above a lower limit nothing starts until enough calls have ended.
        """
        places = self._queue.places
        if places is None and number is not None:
            # Calls run that have none, or are on their way: those on the loop get one each now.
            places = self._queue.places = Places(number)
            for slot in self._board.open_slots():
                call = slot.pending_call
                if call is not None and call.places is not UNTAKEN:
                    places.join()
                    call.places = places
            sent = [job.carrier for job in self._in_threads.going_on]
            for carrier in (*CARRIED.values(), *sent):
                if carrier.lender is self and carrier.is_busy and not carrier.lends:
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
        self._guests.hold_open()
        self._look_for_end()

    def note_wait(self, task: object, deadline: float | None) -> None:
        """A task that carries out a call waits for a slot until then at most; `None`: it has ended."""
        if deadline is not None:
            self._waits[task] = deadline
            self._busy -= 1
        else:
            del self._waits[task]
            self._busy += 1
        self._look_for_stall()

    def hold_open(self, guest: Guest) -> None:
        """Let the exit wait for something that goes on outside the nursery; a halt cancels it."""
        self._busy += 1
        self._guests.add(guest)
        if self._leaving:
            self._guests.hold_open()

    def let_go(self, guest: Guest) -> None:
        """It has ended."""
        self._guests.remove(guest)
        self._busy -= 1
        self._look_for_stall()

    def start_at_once(self, slot: Slot[Any], call: Call) -> None:
        """Carry a call out whether there is a place or not: somebody who has one waits for it."""
        self._busy += 1
        self.live += 1
        self._note_coming()
        self._backend.start_soon(self._nursery, call.context, self._carry, (slot, call), CARRIER_NAME)

    @property
    def _keeps_idle(self) -> bool:
        return self._queue.places is not None or len(self._idle) < _KEPT

    def _next(self) -> Work | None:
        queue = self._queue
        work = queue.next() if queue.is_simple else queue.next(self._backend.current_time())
        if work is not None:
            self._busy += 1
            self._note_coming()
        return work

    def _note_coming(self) -> None:
        if self._growth is not None:
            self._growth.come()

    def _look_for_end(self) -> None:
        self._look_for_drained()
        self._look_for_stall()

    def _look_for_drained(self) -> None:
        """At the exit: without a call that runs or will, none can be submitted any more."""
        if self._leaving and self.live == 0 and not (self._guests.are_awaited or self._is_starting_more):
            self._in_threads.close()
            self._when_drained()

    @property
    def _is_starting_more(self) -> bool:
        return self._pacer.is_waiting or (self._growth is not None and self._growth.is_watched)

    def _look_for_stall(self) -> None:
        """At the exit: when every call waits for another, somebody waits for what cannot come.

        Not while one of them waits with a time limit of its own, or has child tasks: it goes on then,
        or they do, and may submit. Nor while a call is queued: a place is about to be lent to it.
        """
        if (
            self._leaving
            and self._busy == 0
            and not self._is_starting_more
            and self._queue.is_blocked
            and self._board.reserved
            and all(deadline >= self._deadline for deadline in self._waits.values())
            and not self._backend.have_children(self._waits)
        ):
            self._when_stalled()

    @abc.abstractmethod
    def _go_on_with(self, job: ThreadCall, awaitable: Any) -> None:  # noqa: ANN401 - whatever it is
        """The function of a call that was sent has given an awaitable: await it on the loop."""

    @abc.abstractmethod
    async def _carry(self, first: Work) -> None:
        """The body of a carrier's task."""
