"""Waiting for many slots at once, until the last of them has settled.

What it is for: whoever needs all of some calls is woken once, however many they are.

Nothing is counted, and of all the slots only one is listened to: one that is still open. When it
settles, the next open one is looked for, and what has settled meanwhile has cost nothing. The last of
them is listened to first, since calls end about in the order in which they were made: then most of
the others have ended with it. A counter would be enrolled in each of a million slots, and wake at each.

What it does not know: runners, keys; whether a call may wait at all, which its home knows.

Invariant: at any moment one thread at most goes through the slots: whoever has been told by one that it
has settled, by its waking or by its refusal to enroll. Who is let go leaves no trace in a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from ._circles import refuse_own
from ._slot import Slot
from ._waiting import LoopHome


@final
class AllOf:
    """Several slots as one thing to wait for, by one task: it happens when all have settled.

    Attributes:
        left: what is not known to have settled yet, in the order of waiting backwards.
    """

    __slots__ = ("_listens_to", "_wake", "left")

    def __init__(self, slots: list[Slot[Any]]) -> None:
        self.left = slots
        self._listens_to = slots[-1]
        self._wake: Callable[[], object] | None = None

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park; part of the protocol between a loop and what is waited for."""
        self._wake = wake
        if self._listen():
            return True
        self._wake = None
        return False

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Let go."""
        del wake
        self._wake = None
        self._listens_to.withdraw(self)

    def __call__(self) -> None:
        """A slot has settled, in whose thread this runs: it is this object that slots wake.

        So it is found again by its identity, and is no ring, as it would be with a method of its own.
        """
        wake = self._wake
        if wake is not None and not self._listen():
            self._wake = None
            wake()

    def _listen(self) -> bool:
        """Whether a slot is open still, which wakes this when it settles."""
        left = self.left
        while left:
            slot = left[-1]
            if not slot.done:
                self._listens_to = slot
                if slot.enroll(self):
                    if self._wake is None:  # let go in another thread, just before this slot was reached
                        slot.withdraw(self)
                    return True
            left.pop()
        return False


async def wait_for_all(home: LoopHome, slots: Sequence[Slot[Any]], timeout: float | None) -> None:
    """Wait until all slots have settled; one wake-up, and a checkpoint as a wait for one slot is.

    Args:
        home: of the runner that is asked; the slots may be of others.
        slots: any; the same one may come twice.
        timeout: seconds, checked already; `None` for no limit.

    Raises:
        RuntimeError: one of the slots is of the very call that asks, or waits for it without a limit.
    """
    left = [slot for slot in slots if not slot.done]
    if not left:
        await home.pass_by()
        return
    homes = [one for one in {slot.home for slot in left} if isinstance(one, LoopHome)]
    home = next((one for one in homes if one.is_elsewhere), homes[0])
    try:
        await home.wait_with_care(home.anywhere(), AllOf(left), timeout, left)
    finally:
        del slots, left  # what is raised may be the outcome of one of them


async def until_all_done(home: LoopHome, open_slots: Callable[[], Iterable[Slot[Any]]]) -> None:
    """Wait until nothing is open any more, whatever comes meanwhile; one wake-up for many slots.

    Args:
        home: of the slots.
        open_slots: what is open now; asked again when all of that has settled.

    Raises:
        RuntimeError: one of the slots is of the very call that asks.
    """
    while slots := list(open_slots()):
        backend = home.anywhere()
        refuse_own(slots, backend.current_task())
        await home.park(backend, AllOf(slots))
