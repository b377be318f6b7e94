"""Going on after a wait: a call that has lent its place, and given back its limits, has them again.

What it is for: between two attempts a call has neither a place nor a named limit. Where a place is all
that it needs, it asks for that as calls do that have waited for others. Otherwise it stands in the queue
once more, in front of all that have not begun: there it takes its limits at once, together with its
place, and counts as a start where starts are counted.

What it does not know: why a call waits; in which order calls that need different things come.

Invariant: a stand-in in the queue is on no board, and is seen by nobody. It is void when what it stands
for goes on, is cancelled, or the run is halted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

from ._backend import Backend
from ._board import Board
from ._call import UNTAKEN, Call
from ._carrier import Carrier, with_outer
from ._guests import Guests
from ._ki import protected
from ._lending import pause, take_back
from ._parking import ParkingForOne
from ._queue import Queue
from ._slot import Slot
from ._states import Origin


@final
class _Returner(ParkingForOne):
    """A call that stands in the queue to go on."""

    __slots__ = ("call", "carrier", "is_admitted", "slot")

    def __init__(self, slot: Slot[Any], call: Call, carrier: Carrier) -> None:
        super().__init__()
        self.slot = slot
        self.call = call
        self.carrier = carrier
        self.is_admitted = False

    @property
    def is_settled(self) -> bool:
        """Whether it may go on."""
        return self.is_admitted

    def admit(self) -> None:
        """It may."""
        self.is_admitted = True
        self._wake_up()


@final
class Returns:
    """The calls of one run that stand in the queue to go on."""

    def __init__(self, backend: Backend, board: Board, queue: Queue, guests: Guests) -> None:
        self._backend = backend
        self._board = board
        self._queue = queue
        self._guests = guests
        self._returners: dict[Slot[Any], _Returner] = {}

    @protected
    async def rest(self, slot: Slot[Any], call: Call, carrier: Carrier, seconds: float) -> None:
        """Let a call wait for nothing but the time, without what it has. A checkpoint.

        Cancelled, it goes on without: it has to unwind, and no more.

        Args:
            slot: running.
            call: its call.
            carrier: who carries it out, in this task.
            seconds: how long; it is not the limit of getting everything back.
        """
        queue, gates = self._queue, call.wishes.gates
        callers: Sequence[Carrier] = with_outer(carrier)
        queue.end(slot, gates)
        for caller in callers:
            caller.begin_wait()
        if gates:
            carrier.lender.fetch()
        try:
            await pause(self._backend, seconds)
            # One that never was in the queue, carried out where it was submitted, needs nothing of it.
            if not queue.is_simple and call.places is not UNTAKEN:
                callers = callers[1:]
                await self._stand(_Returner(slot, call, carrier))
        except BaseException:
            for caller in callers:
                caller.give_up_wait()
            raise
        await take_back(self._backend, callers)

    async def _stand(self, returner: _Returner) -> None:
        call, carrier = returner.call, returner.carrier
        draft = self._board.draft(returner.slot.key, call)
        if not self._returners:
            self._guests.add(self)
        self._returners[draft] = returner
        self._queue.push(draft, math.inf, self._backend.current_time())
        try:
            carrier.lender.fetch()
            await self._backend.park(returner)
        except BaseException:
            if not returner.is_admitted:
                carrier.give_up_wait()
                self._void(draft)
            raise

    def admit(self, draft: Slot[Any]) -> bool:
        """The queue has handed out a call, with its limits and its place.

        Args:
            draft: its slot.

        Returns:
            whether it is one that goes on, and does so; False for one that is to begin.
        """
        returner = self._returners.get(draft)
        if returner is None:
            return False
        call = returner.call
        for gate in call.wishes.gates:
            gate.pass_on(draft, returner.slot)
        returner.carrier.receive(call.places)
        self._remove(draft)
        returner.admit()
        return True

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The run is halted; part of `_halting.Guest`. The calls themselves are cancelled anyhow."""
        del origin, reason
        for draft in tuple(self._returners):
            self._void(draft)

    def _void(self, draft: Slot[Any]) -> None:
        """It does not stand in the queue any more; nothing happens if it does not already."""
        returner = self._returners.get(draft)
        if returner is not None:
            self._queue.withdraw(returner.call)
            self._remove(draft)
            self._queue.tidy(returner.call)

    def _remove(self, draft: Slot[Any]) -> None:
        del self._returners[draft]
        self._board.void(draft)
        if not self._returners:
            self._guests.remove(self)
