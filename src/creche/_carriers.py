"""Carriers: the tasks of a run that take calls from the queue and carry them out.

What it is for: a carrier carries call after call, and waits idle for the next. On asyncio, where code
can keep a task and cancel it when another call's work is long in it, only for as long as nobody has
kept its task, or left anything in it.

What it does not know: which carrier gets a call, keys, how the run is opened and closed.

Invariant: a call that was taken from the queue is settled before its carrier takes another or ends.
A carrier whose enclosing scope is cancelled starts nothing more: it looks between calls, outside the
call's own scope.

What a call leaves behind in a task of trio's, a lock, say, is the next call's.
"""

from __future__ import annotations

import math
import sys
from typing import Any, final

from outcome import Error

from ._backend import CARRIER_NAME
from ._call import NO_WISHES, Call, close_unbegun, itself
from ._carrier import CARRIED, Carrier, with_outer
from ._dispatching import Dispatcher, Work
from ._ki import openly, protected
from ._slot import Slot
from ._states import State
from ._thread_call import ThreadCall

# A carrier that is given call after call lets the others run at least this often. Arbitrary.
_YIELD_EVERY = 32

_COMPLETED = State.COMPLETED


@final
class Carriers(Dispatcher):
    """All the carriers of one run."""

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
        enlisted = None if enlist is None else call.context.run(enlist, carrier.task, self._lineage)
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
            carrier.slot = None
            del slot, call  # see Performer.perform
            self._busy += nested
            self.let_go(carrier)

    @protected
    async def _carry(self, first: Work) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot path
        """The body of a carrier's task: call after call.

        A call that needs nothing but a scope is carried out in this very frame: another one, and each
        book that is kept for every call, would cost a twentieth of it.
        """
        backend, board, performer = self._backend, self._board, self._performer
        enlist, is_intact, has_marks = backend.enlist, backend.is_intact, backend.has_marks
        counts, retains, aside = board.counts, board.retains, board.aside
        wild, lineage, is_light = self._queue.wild, self._lineage, performer.is_light
        is_quick, hears = performer.is_quick, board.announcer.hears
        task = backend.current_task()
        carrier = CARRIED[task] = Carrier(task, self)
        streak = 0
        is_clear = False  # whether the next one may begin, as far as is known
        onward: BaseException | None = None
        try:
            self._begin(carrier, first[1])
            work: Work | None = first
            del first
            while work is not None:
                slot, call = work
                work = None
                wishes = call.wishes
                if not (is_clear or self._may_begin(carrier, slot)):
                    is_clear = False
                elif is_quick and call.is_async and (wishes is NO_WISHES or wishes.timeout is None):
                    if carrier.kept is None:
                        performer.keep_scope(carrier)
                    enlisted = None if enlist is None else enlist(task, lineage)
                    slot.begin(carrier)
                    board.running += 1
                    if hears:
                        board.tell_begun(slot, carrier)
                    made: Any = None
                    try:
                        made = call.fn(*call.args)
                        value = await (openly(made) if has_marks else made)
                    except BaseException as exc:  # noqa: BLE001 - stored; what must travel on is raised below
                        is_clear = False
                        onward = performer.end_lightly(slot, call, carrier, raised=exc, made=made)
                    else:
                        if hears and carrier.request is None and is_intact(task, carrier.mark):
                            board.complete_and_tell(slot, value)
                            # Whoever was told may have done anything.
                            is_clear = not wild and is_intact(task, carrier.mark)
                        elif carrier.request is None and is_intact(task, carrier.mark):
                            callbacks = slot.end(_COMPLETED, value)
                            counts[_COMPLETED] += 1
                            board.running -= 1
                            if callbacks is None and retains and not aside:
                                # Else the next may come out of an iterable, which may do anything.
                                is_clear = not wild
                            else:
                                is_clear = False
                                board.follow_up(slot, callbacks)
                            callbacks = None
                        else:
                            is_clear = False
                            onward = performer.end_lightly(slot, call, carrier, value=value)
                        value = None
                    made = None
                    if enlisted is not None:
                        enlisted.clear()
                elif (
                    is_light
                    and wishes.ticket is not None
                    and wishes.timeout == math.inf
                    and wishes.retry is None
                ):
                    is_clear = False
                    onward = await self._hand_on(slot, call, carrier)
                else:
                    is_clear = False
                    if carrier.kept is not None:
                        carrier.leave_kept(None)
                    enlisted = None if enlist is None else enlist(task, lineage)
                    onward = await performer.perform(slot, call, carrier)
                    if enlisted is not None:
                        enlisted.clear()
                if wishes is not NO_WISHES and wishes.gates:
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
                    wishes = NO_WISHES  # they lead to what was kept for the call, which is over
                    work = self._find_work(carrier)
                    if work is None and carrier in self._idle:
                        work = await self._idle_until_handed(carrier)
                if carrier.has_moved:
                    await backend.shielded_checkpoint()
                    is_clear = carrier.has_moved = False
                    if work is not None and work[1].places and carrier.places is None:
                        carrier.occupy(work[1].places)  # a limit was set meanwhile
            if onward is None and (shed := backend.shed_cancel(task)) is not None:
                await shed
        finally:
            self._retire(carrier, sys.exception())
        if onward is not None:
            try:
                raise onward
            finally:
                del onward

    async def _hand_on(self, slot: Slot[Any], call: Call, carrier: Carrier) -> BaseException | None:
        """Have a call that needs nothing but a scope carried out in another place; see `perform`."""
        performer, board = self._performer, self._board
        if carrier.kept is None:
            performer.keep_scope(carrier)
        board.begin(slot, carrier)
        came: Any = None
        ticket = call.wishes.ticket
        assert ticket is not None, call
        carrier.place = ticket.place
        try:
            came = await performer.bodies.at_seat(slot, call, carrier, ticket)
        except BaseException as exc:  # noqa: BLE001 - stored; what must travel on is handed back
            return performer.end_lightly(slot, call, carrier, raised=exc)
        else:
            if isinstance(came, Error):
                return performer.end_lightly(slot, call, carrier, raised=came.error)
            if carrier.request is None and self._backend.is_intact(carrier.task, carrier.mark):
                board.settle(slot, _COMPLETED, came.value)
                return None
            return performer.end_lightly(slot, call, carrier, value=came.value)
        finally:
            carrier.place = "loop"  # as its scope is kept for
            del self, slot, call, carrier, came, performer, board  # see Performer.perform

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
        queue, growth = self._queue, self._growth
        places = queue.places
        if (
            not (queue.waiting or queue.sources)
            or not queue.is_simple
            or growth is None  # and calls may wait for room
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
        ticket = call.wishes.ticket
        if ticket is not None:
            call.turn = next(self._turns)
        if carrier.since != growth.passes:
            carrier.since = growth.end_and_begin(carrier.since)
        goes_on = (
            self._backend.go_on(carrier.task, carrier.mark, call.context)
            if call.is_async and ticket is None
            else self._goes_on(carrier, call)
        )
        if goes_on:
            return slot, call
        call.queued, call.places = False, places
        if goes_on is None:
            growth.end(carrier.since)
            growth.come()
            carrier.pass_on()
            self._dispatch((slot, call))
            return None
        carrier.has_moved = True
        return slot, call

    def _goes_on(self, carrier: Carrier, call: Call) -> bool | None:
        """Whether a carrier may carry out a call next; see `Backend.go_on`. Some need none."""
        if not self._needs_task(call):
            return None
        return self._backend.go_on(carrier.task, carrier.mark, call.context)

    async def _let_others_run(self, carrier: Carrier) -> None:
        """A call that never blocks must not starve the loop; the pass is not one in which it blocks."""
        if self._growth is not None:
            carrier.since = self._growth.end_and_begin(carrier.since)
        await self._backend.shielded_checkpoint()

    def _find_work(self, carrier: Carrier) -> Work | None:
        """The next call for a carrier; `None` when it is to end, or waits idle from now on."""
        if carrier.is_busy:
            self._end(carrier)
        work = self._next()
        if work is None and self._queue.sources and self._halting.halted is None:
            self._supply()
            work = self._next()
        if self._room is not None:
            self._room.look()
        if not self._queue.is_simple:
            self.fetch()
        if work is not None:
            goes_on = self._goes_on(carrier, work[1])
            if goes_on is None:
                self._dispatch(work)
                return None
            # Whoever waited to submit it may have been cancelled, and must be able to say so first.
            carrier.has_moved = not goes_on or self._room is not None
            self._begin(carrier, work[1])
        elif self._may_idle(carrier):
            self._idle[carrier] = None
        return work

    def _may_idle(self, carrier: Carrier) -> bool:
        return (
            self._halting.halted is None
            and not self._leaving
            and self._keeps_idle
            and bool(self._backend.may_idle(carrier.task, carrier.mark, self._context))
        )

    async def _idle_until_handed(self, carrier: Carrier) -> Work | None:
        carrier.slot = None  # it has ended, and may be large
        try:
            await self._backend.park(carrier)
        except self._backend.cancelled:
            if self._backend.is_cut():
                raise
            # By asyncio's `Task.cancel`. It is for no call, and who has kept the task may do it again.
            self._backend.forget_native_cancels(0)
        finally:
            self._idle.pop(carrier, None)
        work, carrier.handed = carrier.handed, None
        if work is not None:
            self._begin(carrier, work[1])
        return work

    def _go_on_with(self, job: ThreadCall, awaitable: Any) -> None:  # noqa: ANN401 - whatever it is
        call = Call(itself, (awaitable,), is_async=True, context=job.call.context)
        call.wishes = job.call.wishes
        self._backend.start_soon(self._nursery, call.context, self._carry_on, (job, call), CARRIER_NAME)

    @protected
    async def _carry_on(self, rest: tuple[ThreadCall, Call]) -> None:
        """The body of a task for the second half of a plain call: what it has given is awaited."""
        job, call = rest
        del rest
        carrier, slot = job.carrier, job.slot
        task = carrier.task = self._backend.current_task()
        CARRIED[task] = carrier
        enlist = self._backend.enlist
        enlisted = None if enlist is None else enlist(task, self._lineage)
        onward: BaseException | None = None
        try:
            onward = await self._performer.perform(slot, call, carrier, is_begun=True)
        finally:
            close_unbegun(call.args[0])  # Ctrl-C may have come before its first step
            if enlisted is not None:
                enlisted.clear()
            del slot, call, CARRIED[task]
            self._note_sent(job)
            self._follow_sent(1)
            carrier.dismiss()
            del job
        if onward is not None:
            try:
                raise onward
            finally:
                del onward

    def _retire(self, carrier: Carrier, raised: BaseException | None) -> None:
        """A carrier ends."""
        if carrier.is_busy:
            self._end(carrier)
        del CARRIED[carrier.task]
        carrier.slot = None
        if carrier.kept is not None:
            carrier.leave_kept(raised)
        self.live -= 1
        queue = self._queue
        if self._halting.halted is None and (
            queue.waiting or queue.sources or not queue.is_simple or self._room is not None
        ):
            queue.nudge()
            self.fetch()
        if self._leaving:
            self._look_for_end()
