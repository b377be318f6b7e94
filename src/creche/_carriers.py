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

from ._backend import Backend, Nursery
from ._board import Board
from ._call import Call
from ._carrier import Carrier
from ._halting import Halting
from ._performing import Performer
from ._queue import Queue
from ._slot import Slot

# A carrier that is given call after call lets the others run at least this often. Arbitrary: rare
# enough to cost little, often enough that calls which never wait do not hold up the loop.
_YIELD_EVERY = 16

_TASK_NAME = "creche carrier"

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
        self._when_drained = when_drained
        self._when_stalled = when_stalled
        # Used as a stack: the one that was busy last is the one whose stack is warm.
        self._idle: dict[Carrier, None] = {}
        # The tasks that carry out a call now, each with whether it waits for another call; and how
        # many calls have a place and do not wait so.
        self._parked: dict[object, bool] = {}
        self._busy = 0
        self._leaving = False

    @property
    def idle(self) -> int:
        """How many carriers wait for a call."""
        return len(self._idle)

    def fetch(self) -> None:
        """A call was queued, or a place came free: get a carrier to it, if it is its turn."""
        work = self._next()
        if work is None:
            return
        context = work[1].context
        if self._idle:
            carrier, _ = self._idle.popitem()
            # It takes effect with the carrier's next step, which is the one that `hand` causes.
            self._backend.set_context(carrier.task, context)
            carrier.hand(work)
        else:
            self.live += 1
            self._backend.start_soon(self._nursery, context, self._carry, work, _TASK_NAME)

    def leave(self) -> None:
        """Nobody waits idle from now on: a carrier that finds no call ends."""
        self._leaving = True
        while self._idle:
            self._idle.popitem()[0].hand(None)
        if self.live == 0:
            self._when_drained()
        self._look_for_stall()

    def note_parked(self, task: object, *, parked: bool) -> None:
        """A task begins or ends to wait for a slot; heeded if it is one that carries out a call.

        Args:
            task: any task.
            parked: whether it waits from now on.
        """
        if task in self._parked:
            self._parked[task] = parked
            self._busy += -1 if parked else 1
            self._look_for_stall()

    async def carry_here(self, slot: Slot[Any], call: Call) -> BaseException | None:
        """Carry a call out in the running task, which is not ours; see `Performer.perform`."""
        self._busy += 1
        try:
            return await self._perform(slot, call, Carrier(self._backend.current_task()), own=False)
        finally:
            self._busy -= 1
            self._look_for_stall()

    async def _carry(self, work: Work | None) -> None:
        """The body of a carrier's task."""
        carrier = Carrier(self._backend.current_task())
        streak = 0
        try:
            while work is not None:
                try:
                    onward = await self._carry_if_wanted(*work, carrier)
                finally:
                    work = None
                    self._queue.release()
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
            if self._leaving and self.live == 0:
                self._when_drained()
            self._look_for_stall()

    async def _next_work(self, carrier: Carrier, streak: int) -> Work | None:
        backend = self._backend
        work = self._next()
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
        if self._backend.current_effective_deadline() == -math.inf:
            halting.halt("outer", "a scope around the runner was cancelled", cancel=False)
        if slot.done:
            return None
        if halting.halted is not None:
            self._board.cancel(slot, "closed", halting.why_dropped())
            return None
        return await self._perform(slot, call, carrier, own=True)

    async def _perform(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        own: bool,
    ) -> BaseException | None:
        # A sequential call may be carried out in the very task of another, which goes on after it.
        outer = self._parked.get(carrier.task)
        self._parked[carrier.task] = False
        try:
            return await self._performer.perform(slot, call, carrier, in_own_task=own)
        finally:
            if outer is None:
                del self._parked[carrier.task]

    def _next(self) -> Work | None:
        work = self._queue.next()
        if work is not None:
            self._busy += 1
        return work

    def _look_for_stall(self) -> None:
        """At the exit: when every call waits for another, somebody waits for what cannot come."""
        if self._leaving and self._busy == 0:
            self._when_stalled()
