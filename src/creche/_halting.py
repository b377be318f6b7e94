"""The end of a run before its time: why it takes and starts nothing more.

What it is for: one place for the order of it: first nothing new, then drop what is pending or
reserved, then cancel what runs. The body of the runner, a crash, a failure, a cancelled scope around the run all end it here.

What it does not know: carriers, who waits, what comes out of the run in the end.

Invariant: the first halt stands; its origin and reason are those of every call that it cuts.
"""

from __future__ import annotations

from typing import NamedTuple, final

from ._backend import Nursery
from ._board import Board
from ._carrier import Carrier
from ._queue import Queue
from ._states import Origin

SCOPE_CANCELLED = "a scope around the runner was cancelled"


class Halt(NamedTuple):
    """Where a halt comes from, and why, as a sentence."""

    origin: Origin
    reason: str


@final
class Halting:
    """Whether a run has been halted.

    Attributes:
        halted: the halt; `None` while the run goes on.
        has_cancelled: whether the calls and the body were cancelled from here.
        guests: who carries out calls in tasks that are not the nursery's, which cancelling the nursery
            does not reach.
    """

    def __init__(self, nursery: Nursery, board: Board, queue: Queue) -> None:
        self.halted: Halt | None = None
        self.has_cancelled = False
        self.guests: dict[Carrier, None] = {}
        self._nursery = nursery
        self._board = board
        self._queue = queue

    def halt(self, origin: Origin, reason: str, *, cancel: bool = True) -> None:
        """Start nothing more: drop what is pending, and cancel what runs, the body included.

        Args:
            origin: where it comes from; the first halt stands.
            reason: why, as a sentence.
            cancel: False when an enclosing scope does the cancelling.
        """
        if self.halted is None:
            self.halted = Halt(origin, reason)
            for carrier in self.guests:
                carrier.cancel(origin, reason)
            for slot in self._queue.drop_all():
                if not slot.done:  # a callback may have been quicker
                    self._board.cancel(slot, "closed", self.why_dropped())
            # At once, too: a thread may be waiting for one, and the end of the run for the thread.
            self._board.lose_reservations(self.why_dropped())
        if cancel:
            self.has_cancelled = True
            self._nursery.cancel_scope.cancel()

    def why_dropped(self) -> str:
        """The reason of a call that does not start because of the halt."""
        assert self.halted is not None
        return f"the runner was closing: {self.halted.reason}"
