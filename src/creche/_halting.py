"""The end of a run before its time: why it takes and starts nothing more.

What it is for: one place for the order of it: first nothing new, then drop what is pending or
reserved, then cancel what runs. The body of the runner, a crash, a failure, a cancelled scope around
the run all end it here.

What it does not know: carriers, who waits, what comes out of the run in the end.

Invariant: the first halt stands; its origin and reason are those of every call that it cuts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, final

from ._backend import Nursery
from ._board import Board
from ._dependencies import Dependencies
from ._ki import protected
from ._queue import Queue
from ._states import Origin

SCOPE_CANCELLED = "a scope around the runner was cancelled"


class Halt(NamedTuple):
    """Where a halt comes from, and why, as a sentence."""

    origin: Origin
    reason: str


class Guest(Protocol):
    """Something that goes on outside the nursery of a run, and belongs to it."""

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """End it soon; it says when it has ended."""
        ...


@final
class Halting:
    """Whether a run has been halted.

    Attributes:
        halted: the halt; `None` while the run goes on.
        has_cancelled: whether the calls and the body were cancelled from here.
        when_halted: called when nothing more is to start, first of all.
        when_cut: called when the calls that run get no more time.
        guests: what belongs to the run and goes on outside its nursery, where cancelling the nursery
            does not reach.
    """

    def __init__(
        self,
        nursery: Nursery,
        board: Board,
        queue: Queue,
        dependencies: Dependencies,
        is_cut_from: Callable[[Nursery], bool],
    ) -> None:
        self.halted: Halt | None = None
        self.has_cancelled = False
        self.guests: dict[Guest, None] = {}
        self.when_halted: Callable[[], object] = lambda: None
        self.when_cut: Callable[[], object] = lambda: None
        self._nursery = nursery
        self._board = board
        self._queue = queue
        self._dependencies = dependencies
        self._is_cut_from = is_cut_from

    @protected
    def halt(self, origin: Origin, reason: str, *, cancel: bool = True) -> None:
        """Start nothing more: drop what is pending, and cancel what runs, the body included.

        Args:
            origin: where it comes from; the first halt stands.
            reason: why, as a sentence.
            cancel: False when an enclosing scope does the cancelling.
        """
        if self.halted is None:
            self.halted = Halt(origin, reason)
            self.when_halted()
            for guest in tuple(self.guests):
                guest.cancel(origin, reason)
            self.drop_pending(self.why_dropped())
        if cancel:
            self.has_cancelled = True
            self._nursery.cancel_scope.cancel()
        if origin == "closed":
            self.when_cut()

    @protected
    def drop_pending(self, why: str) -> None:
        """Cancel what has not begun, and what is reserved.

        Args:
            why: as a sentence.
        """
        dropped = (*self._queue.drop_all(), *self._dependencies.drop_all())
        # Asked again for each: the callback of one may have settled the next.
        for slot in (slot for slot in dropped if not slot.done):
            self._board.cancel(slot, "closed", why)
        # At once, too: a thread may be waiting for one, and the end of the run for the thread.
        self._board.lose_reservations(why)

    def interrupt(self, reason: str) -> None:
        """Ctrl-C has hit the run: the first halts it as from outside, a further one leaves no time.

        Args:
            reason: where it hit, as a sentence.
        """
        is_further = self.halted is not None
        self.halt("outer", reason)
        if is_further:
            self.when_cut()

    def note_cancelled(self) -> None:
        """A scope around the run was cancelled, which does the cancelling: start nothing more."""
        self.halt("outer", SCOPE_CANCELLED, cancel=False)

    def look(self) -> None:
        """A call was cancelled from outside; by what is around the run, or by what the call has left."""
        if self._is_cut_from(self._nursery):
            self.note_cancelled()

    def why_dropped(self) -> str:
        """The reason of a call that does not start because of the halt."""
        assert self.halted is not None
        return f"the runner was closing: {self.halted.reason}"
