"""Calls that are to run after others: they wait here, without a place, until those have ended.

What it is for: a call starts when everything that it was to run after has COMPLETED. When one of those
ends otherwise, the call is cancelled at once, and so is everything that was to run after it.

What it does not know: loops, carriers, where a call goes that is ready.

Invariant: a call is held from `hold` until it is ready, settled or dropped, and no longer enrolled
anywhere then. News is heeded one after another, however long a chain is: nothing recurses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, final

from ._board import Board
from ._call import Call
from ._slot import Slot
from ._spelling import spell
from ._states import Origin, State
from ._tracebacks import in_a_line

Ready = Callable[[Slot[Any], Call], object]
"""Told that a call may run now."""


class House(Protocol):
    """The run that the calls are held for."""

    def hand_over(self, fn: Callable[[], object]) -> object:
        """From any thread: have a function called on the loop of the run."""
        ...

    def hold_open(self, guest: Held) -> object:
        """Let the exit wait for something outside the run."""
        ...

    def let_go(self, guest: Held) -> object:
        """It has ended."""
        ...


@final
class Held:
    """One call that is held.

    Attributes:
        slot: its slot.
        missing: what has not ended yet of that which it is to run after, each with its waker.
    """

    __slots__ = ("any_end", "call", "is_guest", "missing", "ready", "slot")

    def __init__(
        self, slot: Slot[Any], call: Call, ready: Ready, any_end: Collection[Slot[Any]]
    ) -> None:
        self.slot = slot
        self.call = call
        self.ready = ready
        self.any_end = any_end
        self.is_guest = False
        self.missing: dict[Slot[Any], Callable[[], object]] = {}

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The run is halted; it drops what is held by itself."""


@final
class Dependencies:
    """The calls of one run that wait for others."""

    def __init__(self, board: Board, house: House) -> None:
        self._board = board
        board.when_told = self._heed_all
        self._house = house
        self._held: dict[Slot[Any], Held] = {}
        self._news: deque[tuple[Held, Slot[Any]]] = deque()
        self._is_heeding = False

    def hold(
        self,
        slot: Slot[Any],
        call: Call,
        after: Iterable[Slot[Any]],
        ready: Ready,
        any_end: Collection[Slot[Any]],
    ) -> None:
        """Hold a call until others have ended; if they have, it is ready at once, or cancelled.

        Args:
            slot: its slot, pending.
            call: the call.
            after: what it is to run after.
            ready: told when it may run.
            any_end: those of them that may end in any way, and need not complete.
        """
        held = Held(slot, call, ready, any_end)
        upstream = list(dict.fromkeys(after))
        failed = next((one for one in upstream if self._is_bad(held, one)), None)
        if failed is not None:
            self._cancel(slot, failed)
            return
        self._held[slot] = held
        call.after = tuple(one for one in upstream if not one.done)
        for one in call.after:
            held.missing[one] = wake = partial(self._settled, held, one)
            if one.home is not slot.home and not held.is_guest:
                held.is_guest = True
                self._house.hold_open(held)
            one.enroll(wake)
        if not held.missing:
            self._release(held)
            ready(slot, call)

    def discard(self, slot: Slot[Any]) -> None:
        """Hold a call no longer, if it was held: it has been settled."""
        held = self._held.get(slot)
        if held is not None:
            self._release(held)

    def drop_all(self) -> list[Slot[Any]]:
        """Hold nothing any more; the slots of what was held, in the order of submission."""
        dropped = list(self._held.values())
        for held in dropped:
            self._release(held)
        return [held.slot for held in dropped]

    def _settled(self, held: Held, upstream: Slot[Any]) -> None:
        """Called by whoever settles it, which may be the loop of another thread."""
        self._house.hand_over(partial(self._heed, held, upstream))

    def _heed(self, held: Held, upstream: Slot[Any]) -> None:
        self._news.append((held, upstream))
        self._heed_all()

    def _heed_all(self) -> None:
        if self._is_heeding or self._board.is_telling:
            return
        self._is_heeding = True
        try:
            while self._news:
                self._heed_one(*self._news.popleft())
        finally:
            self._is_heeding = False

    def _heed_one(self, held: Held, upstream: Slot[Any]) -> None:
        if held.missing.pop(upstream, None) is None:
            return  # it is not held any more
        if held.slot.done:
            return  # it has just been cancelled, and a done callback of its has settled the other
        if self._is_bad(held, upstream):
            self._release(held)
            self._cancel(held.slot, upstream)
        elif not held.missing:
            self._release(held)
            held.ready(held.slot, held.call)

    def _cancel(self, slot: Slot[Any], upstream: Slot[Any]) -> None:
        self._board.settle(slot, State.CANCELLED, ("upstream", _why(upstream), upstream.root))

    def _release(self, held: Held) -> None:
        del self._held[held.slot]
        held.call.after = ()
        missing, held.missing = held.missing, {}
        for upstream, wake in missing.items():
            upstream.withdraw(wake)
        if held.is_guest:
            self._house.let_go(held)

    @staticmethod
    def _is_bad(held: Held, upstream: Slot[Any]) -> bool:
        return upstream.done and upstream.state is not State.COMPLETED and upstream not in held.any_end


def find_circle(slot: Slot[Any], after: Iterable[Slot[Any]]) -> Sequence[Slot[Any]]:
    """A circle that a call would close by running after others.

    Args:
        slot: the slot of the call; reserved until now, else nothing can run after it yet.
        after: what the call is to run after.

    Returns:
        the slots of the circle from the first of `after` to `slot`; empty when there is none.
    """
    came_from: dict[Slot[Any], Slot[Any] | None] = dict.fromkeys(after)
    stack = list(came_from)
    while stack:
        one = stack.pop()
        if one is slot:
            chain = [one]
            while (before := came_from[chain[-1]]) is not None:
                chain.append(before)
            return chain[::-1]
        call = one.pending_call
        for other in () if call is None else call.after:
            if other not in came_from:
                came_from[other] = one
                stack.append(other)
    return ()


def _why(upstream: Slot[Any]) -> str:
    """Why a call was cancelled that was to run after this one: the root of it, not the whole chain."""
    if upstream.origin == "upstream":
        return upstream.reason or ""
    error = upstream.peek_error()
    # Not by `str`, which of a user's exception may fail.
    detail = upstream.origin if error is None else in_a_line(error)
    return f"{spell(upstream.key)}, which it was to run after, is {upstream.state.name} ({detail})"
