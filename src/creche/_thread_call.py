"""One plain call on its way through a thread.

What it is for: the record of a call that has no task of the loop: it stands for its task, for its scope,
and for whoever asks for a thread.

What it does not know: which threads there are, when it is its turn; that is its owner's.

Invariant: it has what it needs as a job from `prepare` on, and not before: very many may wait here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, final

from ._call import Call
from ._carrier import Carrier, Lender
from ._lending import IN_THREAD
from ._slot import Slot
from ._spelling import spell
from ._thread_job import Job


class Owner(Protocol):
    """Who has such calls, of one run."""

    def cancel_one(self, job: ThreadCall, /) -> object:
        """Cancel one of them; it has been noted already why."""
        ...

    def enter(self, job: ThreadCall, /) -> object:
        """There is a thread for one that has asked for it."""
        ...


@final
class ThreadCall(Job):
    """A call on its way through a thread; and what cancels its body, as a scope would."""

    __slots__ = (
        "call",
        "carrier",
        "is_abandoned",
        "is_ahead",
        "is_waiting",
        "owner",
        "slot",
    )

    def __init__(self, owner: Owner, slot: Slot[Any], call: Call, lender: Lender) -> None:
        self.owner = owner
        self.slot = slot
        self.call = call
        self.carrier = Carrier(self, lender)
        # Whether it waits for one of the threads that are shared by calls without places.
        self.is_waiting = False
        # Whether it waits, and the pool has it for a thread that has ended another one.
        self.is_ahead = False
        # Whether its thread is left to itself when the call is cancelled.
        self.is_abandoned = False

    def prepare(self, around: Sequence[Carrier]) -> None:
        """There is a thread for it.

        Args:
            around: who carries out the calls that the run itself is part of.
        """
        call, slot = self.call, self.slot
        context = call.context.copy()
        Job.__init__(self, call.fn, call.args, context, f"creche {spell(slot.key)}")
        # A copy of its own: whoever finds it there later sees that the call has ended.
        context.run(IN_THREAD.set, (slot, [self.carrier, *around]))

    def cancel(self) -> None:
        """Cancel the call: it ends at once if no thread has begun with it."""
        self.owner.cancel_one(self)

    def grant(self) -> None:
        """There is a thread for it now; part of `_places.Asking`."""
        self.owner.enter(self)
