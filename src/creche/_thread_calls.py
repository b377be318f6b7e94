"""Plain calls that need nothing but a thread: no task of the loop is theirs.

What it is for: such a call goes to a thread of the run as soon as it has a place, and is settled on the
loop when it comes back, together with all the others that have come back by then. A task that waits for
the thread would cost several times as much as the call.

What it does not know: where calls come from, keys, how threads are kept.

**Ahead.** A thread that has ended a call would wait until the loop has heard of it, has given the place
to the next one, and has woken the thread; for calls that do not block that is most of what they cost.
So the next ones are put ahead of their turn, as long as places go to whoever has asked first: a thread
goes on with one, and the place of the call before goes with it, which the loop books when it hears of
that.

Invariant: a call that was begun is settled once: when its thread has ended, or at once when it is
cancelled and no thread has begun with it, or when its thread is left to itself.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, final

from ._backend import Backend, Nursery
from ._board import Board
from ._call import Call
from ._capture import classify
from ._carrier import Carrier, Lender
from ._guests import Guests
from ._performing import Performer
from ._places import Places
from ._slot import Slot
from ._states import Origin, State
from ._thread_call import ThreadCall
from ._thread_pool import ThreadPool

# What plain functions mostly return, and nobody can await.
_NOT_AWAITABLE = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})


AHEAD = 128
"""How many calls that wait for a thread are put ahead, for one that has ended another. Arbitrary: each
has a context of its own from then on, and so many may begin before the loop has heard of one that ends;
with four times as many a call that does nothing costs a tenth less."""


@final
class ThreadCalls:
    """The plain calls of one run that are in threads, or on their way there.

    Attributes:
        going_on: those.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        board: Board,
        guests: Guests,
        performer: Performer,
        lender: Lender,
        around: Sequence[Carrier],
        *,
        when_ended: Callable[[ThreadCall], object],
        when_all_ended: Callable[[int], object],
        go_on: Callable[[ThreadCall, Any], object],
    ) -> None:
        """Make it, on the loop.

        Args:
            backend: the loop.
            nursery: for the tasks of the threads.
            board: of the run.
            guests: of the run.
            performer: of the run.
            lender: whose places these calls have.
            around: who carries out the calls that the run itself is part of.
            when_ended: told of a call that has ended.
            when_all_ended: told that so many have which it was told of, when it may start others.
            go_on: told of one whose function has given an awaitable, and of that.
        """
        self.going_on: dict[ThreadCall, None] = {}
        self._backend = backend
        self._nursery = nursery
        self._board = board
        self._guests = guests
        self._performer = performer
        self._lender = lender
        self._around = around
        self._when_ended = when_ended
        self._when_all_ended = when_all_ended
        self._ended = 0
        self._go_on = go_on
        self._pool: ThreadPool | None = None
        self._places: Places = performer.threads
        self._places.when_lent = self._call_back
        # How many wait and are ahead, those that a thread has gone on with unheard of included.
        self._ahead = 0

    def begin(self, slot: Slot[Any], call: Call) -> ThreadCall:
        """Begin with a call, which then has to be sent.

        Args:
            slot: pending.
            call: its call.

        Returns:
            the call on its way.
        """
        job = ThreadCall(self, slot, call, self._lender)
        carrier = job.carrier
        carrier.is_busy = True
        slot.begin(carrier)
        self._board.running += 1
        carrier.take(job, "thread")
        if call.places:
            carrier.occupy(call.places)
        if not self.going_on:
            self._guests.add(self)
        self.going_on[job] = None
        return job

    def send(self, job: ThreadCall) -> None:
        """Have it carried out: at once if the call has a place, else when there is a thread for it."""
        places = job.carrier.places
        if places is not None and places.is_bounded:
            self._put(job)
            return
        places = self._places
        job.is_waiting = True
        if places.ask(job):
            self.enter(job)
        elif self._ahead < AHEAD and places.asking == self._ahead + 1 and places.is_for_asking:
            self._put_ahead(job)  # whoever has asked before is ahead, too

    def enter(self, job: ThreadCall) -> None:
        """There is a thread for a call that has no place, or had none when it asked."""
        is_prepared = job.is_ahead
        if is_prepared:
            assert self._pool is not None
            if not self._pool.call_back(job):
                self._adopt(job)
                self._places.free()  # it has that of the call which its thread had before
                return
            self._ahead -= 1
        job.is_waiting = job.is_ahead = False
        job.carrier.occupy(self._places)
        self._put(job, is_prepared=is_prepared)

    def _put(self, job: ThreadCall, *, is_prepared: bool = False) -> None:
        if self._pool is None:
            # How many there are is counted by the places: a call that waits for another lends its own.
            self._pool = ThreadPool(
                self._backend,
                self._nursery,
                sys.maxsize,
                self._finish,
                when_drained=self._look_round,
            )
        if not is_prepared:
            job.prepare(self._around)
        self._pool.put(job)

    def close(self) -> None:
        """Nothing more will come: the threads end."""
        if self._pool is not None:
            self._pool.close()

    # Ahead ----------------------------------------------------------------------------------------

    def _put_ahead(self, job: ThreadCall) -> None:
        """A call waits whose turn is next: a thread may go on with it when it has ended another."""
        if self._pool is not None:
            job.prepare(self._around)
            job.is_ahead = True
            self._ahead += 1
            self._pool.put_ahead(job)

    def _put_more_ahead(self) -> None:
        """Threads have ended calls: let them find others, of those whose turn is next."""
        places = self._places
        if self._ahead > AHEAD // 2 or places.asking == self._ahead or not places.is_for_asking:
            return
        asking = places.first_asking(AHEAD)
        for job in [one for one in asking if not (isinstance(one, ThreadCall) and one.is_ahead)]:
            if not isinstance(job, ThreadCall):
                break  # one with a task of its own, which comes before those behind it
            self._put_ahead(job)

    def _call_back(self) -> None:
        """A call lends its thread, and has it back before another one begins."""
        while self._pool is not None and (job := self._pool.call_back_last()) is not None:
            assert isinstance(job, ThreadCall)
            job.is_ahead = False
            self._ahead -= 1

    def _adopt(self, job: ThreadCall) -> None:
        """A thread has gone on with a call that was put ahead: it has the place of the one before.

        That one is about to give it back, and until then there is one more.
        """
        if not job.is_waiting:
            return  # it was cancelled, or has another place
        job.is_waiting = job.is_ahead = False
        self._ahead -= 1
        self._places.withdraw(job)
        job.carrier.join(self._places)

    # Ending ---------------------------------------------------------------------------------------

    def _finish(self, job: ThreadCall) -> None:
        """A thread has come back with it; on the loop."""
        slot, error, value = job.slot, job.error, job.value
        heir, job.heir = job.heir, None
        if heir is not None:
            assert isinstance(heir, ThreadCall)
            self._adopt(heir)
        try:
            if error is not None:
                self._fail(job, error)
            elif type(value) not in _NOT_AWAITABLE and inspect.isawaitable(value):
                if job.carrier.places is self._places:
                    job.carrier.vacate()
                del self.going_on[job]
                if not self.going_on:
                    self._guests.remove(self)
                self._go_on(job, value)
                return
            else:
                board = self._board
                callbacks = slot.end(State.COMPLETED, value)
                board.counts[State.COMPLETED] += 1
                board.running -= 1
                if callbacks is not None or board.aside or not board.retains:
                    board.follow_up(slot, callbacks)
            self._end(job)
        finally:
            # What was raised must not lead to the slot that holds it.
            del self, job, heir, slot, error, value

    def _fail(self, job: ThreadCall, error: BaseException) -> None:
        request = job.carrier.request  # a halt has cancelled them all
        try:
            verdict = classify(error, self._backend.cancelled, enclosing_cancelled=False)
            if verdict.state is not State.CANCELLED:
                assert verdict.error is not None
                self._performer.settle_failed(job.slot, job.call, verdict.state, verdict.error)
            else:
                is_cut = self._backend.is_cut_from(self._nursery)
                self._performer.settle_cancelled(job.slot, request, is_cut=is_cut)
        finally:
            del self, job, error

    def _end(self, job: ThreadCall) -> None:
        del self.going_on[job]
        self._when_ended(job)
        self._ended += 1
        job.carrier.dismiss()
        if not self.going_on:
            self._guests.remove(self)

    def _look_round(self) -> None:
        """Some have ended: others may start."""
        ended, self._ended = self._ended, 0
        if ended:
            self._when_all_ended(ended)
        self._put_more_ahead()

    def cancel_one(self, job: ThreadCall) -> None:
        """Cancel one of them; it has been noted already why."""
        request = job.carrier.request
        assert request is not None, job.slot
        if job.is_ahead:
            assert self._pool is not None
            if self._pool.call_back(job):
                job.is_ahead = False
                self._ahead -= 1
                job.withdraw()
            else:
                self._adopt(job)
        if job.is_waiting:
            job.is_waiting = False
            self._places.withdraw(job)
        elif self._pool is None or not (
            self._abandon(job) if self._is_abandoned(job) else self._pool.withdraw(job)
        ):
            return
        self._board.cancel(job.slot, *request)
        self._end(job)
        self._look_round()

    def _is_abandoned(self, job: ThreadCall) -> bool:
        return job.is_abandoned or self._performer.guards.abandons

    def _abandon(self, job: ThreadCall) -> bool:
        assert self._pool is not None
        is_queued = job.is_queued
        if not self._pool.abandon(job):
            return False
        if not is_queued:
            self._performer.guards.left.append((job.slot.key, job))
        return True

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The run is halted; part of `_halting.Guest`."""
        for job in tuple(self.going_on):
            job.carrier.cancel(origin, reason)

    def abandon(self, slot: Slot[Any] | None = None) -> list[Slot[Any]]:
        """From now on a cancelled call ends without waiting for its thread.

        Args:
            slot: of the one call that is meant; `None` for all.

        Returns:
            the slots of the calls that are in threads now.
        """
        slots = [job.slot for job in self.going_on]
        for job in tuple(self.going_on):
            if slot is None or job.slot is slot:
                job.is_abandoned = True
                if job.carrier.request is not None:
                    self.cancel_one(job)
        return slots
