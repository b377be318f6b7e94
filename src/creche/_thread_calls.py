"""Plain calls that need nothing but a thread: no task of the loop is theirs.

What it is for: such a call goes to a thread of the run as soon as it has a place, and is settled on the
loop when it comes back, together with all the others that have come back by then. A task that waits for
the thread would cost several times as much as the call.

What it does not know: where calls come from, keys, how threads are kept.

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
from ._halting import SCOPE_CANCELLED
from ._lending import IN_THREAD
from ._performing import Performer
from ._places import Places
from ._slot import Slot
from ._states import Origin, State
from ._thread_job import Job
from ._thread_pool import ThreadPool

# What plain functions mostly return, and nobody can await.
_NOT_AWAITABLE = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})


@final
class ThreadCall(Job):
    """A call on its way through a thread; and what cancels its body, as a scope would."""

    __slots__ = ("call", "carrier", "has_thread", "is_abandoned", "is_waiting", "owner", "slot")

    def __init__(self, owner: ThreadCalls, slot: Slot[Any], call: Call, lender: Lender) -> None:
        super().__init__(call.fn, call.args, call.context.copy(), f"creche {slot.key!r}")
        self.owner = owner
        self.slot = slot
        self.call = call
        self.carrier = Carrier(self, lender)
        # Of those threads that are shared by calls without places: whether it has one, or waits for one.
        self.has_thread = self.is_waiting = False
        # Whether its thread is left to itself when the call is cancelled.
        self.is_abandoned = False

    shield = False  # as of a scope

    def cancel(self) -> None:
        """Cancel the call: it ends at once if no thread has begun with it."""
        self.owner.cancel_one(self)

    def grant(self) -> None:
        """There is a thread for it now; part of `_places.Asking`."""
        self.owner.enter(self)

    def __enter__(self) -> None:
        """Nobody does: it is no scope."""
        raise AssertionError  # pragma: no cover

    def __exit__(self, *_: object) -> None:
        """As above."""
        raise AssertionError  # pragma: no cover


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
        self._go_on = go_on
        self._pool: ThreadPool | None = None
        self._places: Places = performer.threads
        self._abandons = False

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
        # A copy of its own: whoever finds it there later sees that the call has ended.
        job.context.run(IN_THREAD.set, (slot, [carrier, *self._around]))
        slot.begin(carrier)
        self._board.running += 1
        carrier.take(job, "thread")
        if not self.going_on:
            self._guests.add(self)
        self.going_on[job] = None
        return job

    def send(self, job: ThreadCall) -> None:
        """Have it carried out: at once if the call has a place, else when there is a thread for it."""
        if job.carrier.is_bounded:
            self._put(job)
            return
        job.is_waiting = True
        if self._places.ask(job):
            self.enter(job)

    def enter(self, job: ThreadCall) -> None:
        """There is a thread for a call that has no place, or had none when it asked."""
        job.is_waiting = False
        if job.carrier.places is None:
            job.carrier.occupy(self._places)
        else:
            job.has_thread = True
        self._put(job)

    def _put(self, job: ThreadCall) -> None:
        if self._pool is None:
            # How many there are is counted by the places: a call that waits for another lends its own.
            self._pool = ThreadPool(self._backend, self._nursery, sys.maxsize, self._finish)
        self._pool.put(job)

    def close(self) -> None:
        """Nothing more will come: the threads end."""
        if self._pool is not None:
            self._pool.close()

    # Ending ---------------------------------------------------------------------------------------

    def _finish(self, job: ThreadCall) -> None:
        """A thread has come back with it; on the loop."""
        slot, error, value = job.slot, job.error, job.value
        try:
            if error is not None:
                self._fail(job, error)
            elif type(value) not in _NOT_AWAITABLE and inspect.isawaitable(value):
                if job.has_thread:
                    self._places.free()
                elif job.carrier.places is self._places:
                    job.carrier.vacate()
                del self.going_on[job]
                self._look_for_none()
                self._go_on(job, value)
                return
            else:
                board = self._board
                callbacks = slot.complete(value)
                board.counts[State.COMPLETED] += 1
                board.running -= 1
                board.follow_up(slot, callbacks)
            self._end(job)
        finally:
            del self, job, slot, error, value  # what was raised must not lead to the slot that holds it

    def _fail(self, job: ThreadCall, error: BaseException) -> None:
        request = job.carrier.request  # a halt has cancelled them all
        try:
            verdict = classify(error, self._backend.cancelled, enclosing_cancelled=False)
            if verdict.state is not State.CANCELLED:
                assert verdict.error is not None
                self._performer.settle_failed(job.slot, job.call, verdict.state, verdict.error)
            elif request is not None:
                self._board.cancel(job.slot, *request)
            elif self._backend.is_cut_from(self._nursery):
                self._board.cancel(job.slot, "outer", SCOPE_CANCELLED)
            else:
                why = "a cancellation came out of it that nobody here made"
                self._board.cancel(job.slot, "foreign", why)
        finally:
            del self, job, error

    def _end(self, job: ThreadCall) -> None:
        del self.going_on[job]
        if job.has_thread:
            self._places.free()
        self._when_ended(job)
        job.carrier.dismiss()
        self._look_for_none()

    def _look_for_none(self) -> None:
        if not self.going_on:
            self._guests.remove(self)

    def cancel_one(self, job: ThreadCall) -> None:
        """Cancel one of them; it has been noted already why."""
        request = job.carrier.request
        assert request is not None, job.slot
        if job.is_waiting:
            job.is_waiting = False
            self._places.withdraw(job)
        elif self._pool is None or not (
            self._pool.abandon(job) if job.is_abandoned or self._abandons else self._pool.withdraw(job)
        ):
            return
        self._board.cancel(job.slot, *request)
        self._end(job)

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
        if slot is None:
            self._abandons = True
        slots = [job.slot for job in self.going_on]
        for job in tuple(self.going_on):
            if slot is None or job.slot is slot:
                job.is_abandoned = True
                if job.carrier.request is not None:
                    self.cancel_one(job)
        return slots
