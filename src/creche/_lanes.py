"""Lanes: the pending calls that need the same named limits, in the order in which they come.

What it is for: the calls of one lane need the same, so that none of them can start while the first of
them cannot. Only the first ones are ever compared.

What it does not know: places, clocks, which lane comes first.

Invariant: the first entry is that of a pending call, whenever it is asked for; entries of calls that
were cancelled while they waited are passed over, and never outnumber those that wait.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, final

from ._limits import Gate
from ._slot import Slot
from ._states import State

Entry = tuple[float, int, Slot[Any]]
"""A rank, the lower the sooner; a number, which decides between equal ranks; whose it is."""

# Below this many leftovers a sweep costs more than it frees. Arbitrary.
FEW = 32


@final
class Lane:
    """The pending calls that need the same limits.

    Attributes:
        gates: the limits.
        is_listed: whether the queue has it on its list of those to look at.
        has_moved: whether its first call was cancelled, and the queue has not taken note.
        asks: the limiter object that its first call waits for, and for nothing else.
    """

    __slots__ = ("_entries", "_withdrawn", "asks", "gates", "has_moved", "is_listed")

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        self.gates = gates
        self.is_listed = self.has_moved = False
        self.asks: Gate | None = None
        self._entries: list[Entry] = []
        self._withdrawn = 0
        for gate in gates:
            gate.lanes[self] = None

    def __len__(self) -> int:
        return len(self._entries) - self._withdrawn

    def push(self, entry: Entry) -> None:
        """One more call waits."""
        heappush(self._entries, entry)

    def first(self) -> Entry | None:
        """The entry of the call that is to start next."""
        while self._entries:
            entry = self._entries[0]
            if entry[2].state is State.PENDING:
                return entry
            heappop(self._entries)
            self._withdrawn -= 1
            self.has_moved = True
        return None

    def pop(self) -> Slot[Any]:
        """Take out what `first` has given."""
        return heappop(self._entries)[2]

    def swap(self, slot: Slot[Any], other: Slot[Any]) -> None:
        """A call of this lane has another slot by now."""
        index = next(index for index, entry in enumerate(self._entries) if entry[2] is slot)
        self._entries[index] = (*self._entries[index][:2], other)

    def withdraw(self) -> None:
        """Count out a call of this lane that is about to be settled while it waits."""
        self._withdrawn += 1

    def tidy(self) -> None:
        """One is settled that was counted out."""
        if self._withdrawn > FEW and 2 * self._withdrawn > len(self._entries):
            self._withdrawn = 0
            self._entries = [entry for entry in self._entries if entry[2].state is State.PENDING]
            heapify(self._entries)
        self.first()

    def entries(self) -> list[Entry]:
        """Those of the calls that wait, in no order."""
        return [entry for entry in self._entries if entry[2].state is State.PENDING]

    # The limits ------------------------------------------------------------------------------------

    def lacks(self, first: Entry, now: float) -> list[Gate]:
        """What its first call cannot have now: what is short, or kept for a call that comes before.

        Args:
            first: the entry of that call.
            now: in seconds.

        Returns:
            the limits; they are kept for this call from now on.
        """
        lacking = [gate for gate in self.gates if gate.due() > now or self._is_kept(gate, first)]
        for gate in lacking:
            gate.closers[self] = None
        return lacking

    def _is_kept(self, gate: Gate, first: Entry) -> bool:
        for other in gate.closers:
            if other is not self:
                before = other.first()
                if before is not None and before < first:
                    return True
        return False

    def borrow(self, slot: Slot[Any]) -> Gate | None:
        """Borrow of every limiter object, or of none.

        Args:
            slot: for whose call.

        Returns:
            one that has nothing to lend; it is kept for this call from now on.
        """
        for gate in self.gates:
            if not gate.borrow(slot):
                for other in self.gates:
                    other.give_back(slot)
                gate.closers[self] = None
                return gate
        return None

    def open(self) -> list[Gate]:
        """Keep nothing any more; what was kept."""
        kept = [gate for gate in self.gates if gate.closers.pop(self, self) is None]
        self.asks = None
        return kept

    def leave(self) -> None:
        """Nobody waits here any more, and nothing is kept."""
        self.open()
        for gate in self.gates:
            del gate.lanes[self]
