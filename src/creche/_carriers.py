"""Carriers: the tasks of a run that take calls from the queue and carry them out.

What it is for: getting a carrier to each call that has a place. On trio a carrier carries call after
call, and waits idle for the next; without a limit there are more of them only for calls that block (see
`_growth`). On asyncio each call has a task of its own, since there code can keep a task and cancel it
when another call's work is long in it.

What it does not know: how a call is carried out, keys, how the run is opened and closed.

Invariant: a call that was taken from the queue is settled before its carrier takes another or ends.
A carrier whose enclosing scope is cancelled starts nothing more: it looks between calls, outside the
call's own scope.

What a call leaves behind in a task that is used again, a lock, say, is the next call's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, final

from ._backend import Backend, Nursery
from ._board import Board
from ._call import Call
from ._carrier import CARRIED, Carrier, with_outer
from ._growth import BASE, Growth
from ._guests import Guests
from ._halting import Guest, Halting
from ._ki import openly, protected
from ._pacing import Pacer
from ._performing import Performer
from ._places import Places
from ._queue import Queue
from ._slot import Slot
from ._states import State
from ._waiting_room import WaitingRoom

# A carrier that is given call after call lets the others run at least this often. Arbitrary.
_YIELD_EVERY = 32

_TASK_NAME = "creche carrier"

_COMPLETED = State.COMPLETED

# How many carriers wait idle at most, in a run without a limit: each keeps some kilobytes. Arbitrary.
_KEPT = 64

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
                self._backend.start_soon(self._nursery, copy_context(), self._grow, growth, _TASK_NAME)
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
        context = work[1].context
        while self._idle:
            carrier, _ = self._idle.popitem()
            if carrier.is_idle:
                if self._backend.take_up(carrier.task, carrier.mark, context):
                    carrier.hand(work)
                    return
                carrier.hand(None)
        self.live += 1
        self._backend.start_soon(self._nursery, context, self._carry, work, _TASK_NAME)

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
                if call is not None and call.taken:
                    places.join()
                    call.places = places
            for carrier in CARRIED.values():
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

    @protected
    async def carry_here(self, slot: Slot[Any], call: Call) -> BaseException | None:
        """Carry a call out in the running task, which is not ours; see `Performer.perform`.

        A guest: the nursery neither waits for it nor cancels it, so that both are seen to here.
        """
        carrier = Carrier(self._backend.current_task(), self)
        outer = carrier.outer = CARRIED.get(carrier.task)
        # A call that another one submits is carried out in the very task of that one.
        nested = any(one.lender is self for one in with_outer(outer))
        self._busy -= nested
        self.hold_open(carrier)
        CARRIED[carrier.task] = carrier
        carrier.is_busy = True
        enlist = self._backend.enlist
        call.context = call.context.copy()  # it is entered
        enlisted = None if enlist is None else call.context.run(enlist, self._lineage)
        try:
            return await self._performer.perform(slot, call, carrier, in_own_task=False)
        finally:
            if enlisted is not None:
                enlisted.clear()
            if outer is None:
                del CARRIED[carrier.task]
            else:
                CARRIED[carrier.task] = outer
            # Else its thread was left to itself, and waits for ever.
            self._busy += self._waits.pop(carrier.task, None) is not None
            del slot, call  # see Performer.perform
            self._busy += nested
            self.let_go(carrier)

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
        if self._growth is not None:
            self._growth.come()
        self._backend.start_soon(self._nursery, call.context, self._carry, (slot, call), _TASK_NAME)

    @protected
    async def _carry(self, work: Work | None) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot path
        """The body of a carrier's task: call after call.

        A call that needs nothing but a scope is carried out in this very frame: another one, and each
        book that is kept for every call, would cost a twentieth of it.
        """
        backend, board, performer = self._backend, self._board, self._performer
        enlist, is_intact, counts = backend.enlist, backend.is_intact, board.counts
        task = backend.current_task()
        carrier = CARRIED[task] = Carrier(task, self)
        streak = 0
        is_clear = False  # whether the next one may begin, as far as is known
        onward: BaseException | None = None
        try:
            if work is not None:
                self._begin(carrier, work[1])
            while work is not None:
                slot, call = work
                work = None
                wishes = call.wishes
                if not (is_clear or self._may_begin(carrier, slot)):
                    is_clear = False
                elif performer.is_light and call.is_async and wishes.timeout is None:
                    if carrier.kept is None:
                        performer.keep_scope(carrier)
                    enlisted = None if enlist is None else enlist(self._lineage)
                    slot.begin(carrier)
                    board.running += 1
                    made: Any = None
                    try:
                        made = call.fn(*call.args)
                        value = await openly(made)
                    except BaseException as exc:  # noqa: BLE001 - stored; what must travel on is raised below
                        is_clear = False
                        onward = performer.end_lightly(slot, call, carrier, raised=exc, made=made)
                    else:
                        if carrier.request is None and is_intact(task, carrier.mark):
                            callbacks = slot.complete(value)
                            counts[_COMPLETED] += 1
                            board.running -= 1
                            is_clear = callbacks is None and board.keeps_all
                            if not is_clear:
                                board.follow_up(slot, callbacks)
                            callbacks = None
                        else:
                            is_clear = False
                            onward = performer.end_lightly(slot, call, carrier, value=value)
                        value = None
                    made = None
                    if enlisted is not None:
                        enlisted.clear()
                else:
                    is_clear = False
                    if carrier.kept is not None:
                        carrier.leave_kept(None)
                    enlisted = None if enlist is None else enlist(self._lineage)
                    onward = await performer.perform(slot, call, carrier)
                    if enlisted is not None:
                        enlisted.clear()
                if wishes.gates:
                    self._queue.end(slot, wishes.gates)
                del slot, call  # see Performer.perform
                if onward is not None:
                    break
                streak += 1
                if streak % _YIELD_EVERY == 0:
                    is_clear = False
                    await self._let_others_run(carrier)
                work = self._follow(carrier)
                if work is None:
                    is_clear = False
                    work = await self._find_work(carrier)
                if carrier.has_moved:
                    is_clear = carrier.has_moved = False
                    await backend.shielded_checkpoint()
        finally:
            self._retire(carrier, sys.exception())
        if onward is not None:
            try:
                raise onward
            finally:
                del onward

    def _begin(self, carrier: Carrier, call: Call) -> None:
        """A carrier has been given a call."""
        carrier.is_busy = True
        if self._growth is not None:
            carrier.since = self._growth.begin()
        if call.places is not None:
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

    def _may_begin(self, carrier: Carrier, slot: Slot[Any]) -> bool:
        """Whether a call may begin now: it was not cancelled on its way here, and the run goes on."""
        halting = self._halting
        if carrier.kept is not None and not self._backend.is_intact(carrier.task, carrier.mark):
            carrier.leave_kept(None)
        if carrier.kept is None and self._backend.is_cut():
            halting.note_cancelled()
        if slot.done:
            return False
        if halting.halted is not None:
            self._board.cancel(slot, "closed", halting.why_dropped())
            return False
        return True

    def _follow(self, carrier: Carrier) -> Work | None:
        """The call of a carrier has ended: the next one, if it may have its place just so.

        None of the books changes hands then. A call that must have another task goes there.
        """
        queue = self._queue
        places = queue.places
        if (
            not queue.is_simple
            or self._room is not None
            or carrier.places is not places
            or not (places is None or (carrier.has_place and not carrier.waiting and places.is_calm))
            or (self._waits and carrier.task in self._waits)
        ):
            return None
        waiting = queue.waiting
        while waiting:
            slot = waiting.popleft()
            call = slot.work
            if type(call) is Call:
                break
            queue.pass_over()
        else:
            # Whoever has more to be done as soon as there is a place has it done now.
            supplied = queue.supply()
            if supplied is None:
                return None
            slot, call = supplied
        growth = self._growth
        if growth is not None and carrier.since != growth.passes:
            carrier.since = growth.end_and_begin(carrier.since)
        goes_on = self._backend.go_on(carrier.task, carrier.mark, call.context)
        if goes_on:
            return slot, call
        call.queued, call.taken, call.places = False, True, places
        if goes_on is None:
            if growth is not None:
                growth.end(carrier.since)
                growth.come()
            carrier.pass_on()
            self._dispatch((slot, call))
            return None
        carrier.has_moved = True
        return slot, call

    async def _let_others_run(self, carrier: Carrier) -> None:
        """A call that never blocks must not starve the loop; the pass is not one in which it blocks."""
        if self._growth is not None:
            carrier.since = self._growth.end_and_begin(carrier.since)
        await self._backend.shielded_checkpoint()

    async def _find_work(self, carrier: Carrier) -> Work | None:
        """The next call for a carrier, if need be after waiting idle; `None` when it is to end."""
        backend = self._backend
        if carrier.is_busy:
            self._end(carrier)
        work = self._next()
        if work is None and self._queue.sources and self._halting.halted is None:
            supplied = self._queue.supply()
            if supplied is not None:
                self._queue.push(supplied[0], supplied[1].wishes.priority, backend.current_time())
                work = self._next()
        if self._room is not None:
            self._room.look()
        if not self._queue.is_simple:
            self.fetch()
        if work is not None:
            goes_on = backend.go_on(carrier.task, carrier.mark, work[1].context)
            if goes_on is None:
                self._dispatch(work)
                return None
            # Whoever waited to submit it may have been cancelled, and must be able to say so first.
            carrier.has_moved = not goes_on or self._room is not None
        elif (
            self._halting.halted is None
            and not self._leaving
            and self._keeps_idle
            and backend.may_idle(carrier.task, carrier.mark)
        ):
            self._idle[carrier] = None
            try:
                await backend.park(carrier)
            except backend.cancelled:
                if backend.is_cut():
                    raise
                # By asyncio's `Task.cancel`: it is nobody's, and this task may be the target again.
                backend.forget_native_cancels(0)
            finally:
                self._idle.pop(carrier, None)
            work, carrier.handed = carrier.handed, None
        if work is not None:
            self._begin(carrier, work[1])
        return work

    def _retire(self, carrier: Carrier, raised: BaseException | None) -> None:
        """A carrier ends."""
        if carrier.is_busy:
            self._end(carrier)
        del CARRIED[carrier.task]
        if carrier.kept is not None:
            carrier.leave_kept(raised)
        self.live -= 1
        if self._halting.halted is None:
            self._queue.nudge()
            self.fetch()
        self._look_for_end()

    @property
    def _keeps_idle(self) -> bool:
        return self._queue.places is not None or len(self._idle) < _KEPT

    def _next(self) -> Work | None:
        queue = self._queue
        work = queue.next() if queue.is_simple else queue.next(self._backend.current_time())
        if work is not None:
            self._busy += 1
            if self._growth is not None:
                self._growth.come()
        return work

    def _look_for_end(self) -> None:
        self._look_for_drained()
        self._look_for_stall()

    def _look_for_drained(self) -> None:
        """At the exit: without a call that runs or will, none can be submitted any more."""
        if self._leaving and self.live == 0 and not (self._guests.are_awaited or self._is_starting_more):
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
