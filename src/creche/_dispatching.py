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
from itertools import count
from typing import Any

from ._backend import CARRIER_NAME, Backend, Nursery
from ._board import Board
from ._call import NO_WISHES, UNTAKEN, Call
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
from ._returning import Returns
from ._sent_calls import SentCall, SentCalls
from ._slot import Slot
from ._thread_call import ThreadCall
from ._thread_calls import ThreadCalls
from ._waiting_room import WaitingRoom

# How many carriers wait idle at most, in a run without a limit: each keeps some kilobytes. Arbitrary.
_KEPT = 64

Work = tuple[Slot[Any], Call]


class Dispatcher(abc.ABC):
    """Gets a carrier to each call of one run that has a place.

    Attributes:
        live: how many carriers there are.
        is_light: whether calls need nothing but the loop, a thread, or a place; see `Performer`.
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
        self.is_light = performer.is_light
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
            when_all_ended=self._follow_sent,
            go_on=self._go_on_with,
        )
        self._elsewhere = SentCalls(
            backend,
            nursery,
            board,
            self._guests,
            halting,
            performer,
            self,
            when_ended=self._note_sent,
            when_all_ended=self._follow_sent,
        )
        performer.abandon_more = self._in_threads.abandon
        performer.guards.guests = self._guests
        self._returns = performer.retrier.returns = Returns(backend, board, queue, self._guests)
        self._context = copy_context()
        self._turns = count(1)  # of the calls for places elsewhere, as they are taken from the queue
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
        backend, queue = self._backend, self._queue
        try:
            # Where a call may wait for more than a carrier, `fetch_all` sees to whatever can start.
            while self._halting.halted is None and queue.is_simple and queue:
                await backend.shielded_checkpoint()
                most = growth.count_pass()
                while most > 0 and (work := self._next()) is not None:
                    most -= self._needs_task(work[1])
                    self._dispatch(work)
        finally:
            growth.is_watched = False
            self._look_for_end()

    def _dispatch(self, work: Work) -> None:
        slot, call = work
        if not self._needs_task(call):
            self._send(slot, call)
            return
        while self._idle:
            carrier, _ = self._idle.popitem()
            if carrier.is_idle:
                if self._backend.take_up(carrier.task, carrier.mark, call.context):
                    carrier.hand(work)
                    return
                carrier.hand(None)
        self.live += 1
        self._backend.start_soon(self._nursery, call.context, self._carry, work, CARRIER_NAME)

    def _needs_task(self, call: Call) -> bool:
        """Whether a call needs a carrier: more than a thread, or a place that takes it as it is."""
        wishes = call.wishes
        if wishes.timeout is None:
            return call.is_async or not self.is_light
        is_alone = wishes.ticket is not None and wishes.timeout == math.inf and wishes.retry is None
        return not (is_alone and self.is_light and self._elsewhere.may_send(call))

    def _send(self, slot: Slot[Any], call: Call) -> None:
        """Have a call carried out without a task, in a thread or elsewhere."""
        if self._growth is not None:
            self._growth.turn_off()
        self.live += 1
        if call.wishes.ticket is None:
            self._in_threads.send(self._in_threads.begin(slot, call))
        else:
            self._elsewhere.send(slot, call)

    def send_at_once(self, slot: Slot[Any], call: Call) -> None:
        """The same for one that was not queued, in a run without limits whose calls are light."""
        call.places = None
        self._busy += 1
        self.live += 1
        self._in_threads.send(self._in_threads.begin(slot, call))

    def _note_sent(self, job: ThreadCall | SentCall) -> None:
        """A call that was sent has ended."""
        self._close(job.carrier)
        self.live -= 1
        wishes = job.call.wishes
        if wishes is not NO_WISHES and wishes.gates:
            self._queue.end(job.slot, wishes.gates)

    def _follow_sent(self, ended: int) -> None:
        """So many calls that were sent have ended since this was last called: others may start."""
        halting, queue = self._halting, self._queue
        if halting.halted is None and self._backend.is_cut_from(self._nursery):
            halting.note_cancelled()
        if halting.halted is None:
            for _ in range(ended):
                if queue.sources:
                    self._supply()
                if self._room is None and queue.is_simple and not (queue.sources or queue.waiting):
                    break
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
        if self._growth is not None:
            self._growth.end(carrier.since)
        self._close(carrier)

    def _close(self, carrier: Carrier) -> None:
        carrier.is_busy = False
        if carrier.places is not None:
            carrier.vacate()
        self._busy -= 1
        if self._waits:  # else its thread was left to itself, and waits for ever
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
            sent: Any = [*self._in_threads.going_on, *self._elsewhere.going_on]
            for carrier in (*CARRIED.values(), *(one.carrier for one in sent)):
                if carrier.lender is self and carrier.lacks_place:
                    carrier.join(places)
        elif places is not None:
            places.resize(number)
        self.fetch_all()
        self._queue.nudge()  # whoever has more may have more of it open, or less

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

    @property
    def is_leaving(self) -> bool:
        """Whether the body of the run has ended."""
        return self._leaving

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
        if queue.is_simple:
            work = queue.next()
        else:
            work = queue.next(self._backend.current_time())
            while work is not None and self._returns.admit(work[0]):
                work = queue.next(self._backend.current_time())
        if work is not None:
            self._busy += 1
            self._note_coming()
            if work[1].wishes.ticket is not None:
                work[1].turn = next(self._turns)
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
            self._elsewhere.close()
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
