"""The books of a soak: every key is submitted once, settles once, and is told once to who submitted it.

What it is for: an instrument hears of submissions and ends, and submitters say what they were told. The
three must agree, for every key, whatever was killed or cancelled in between.

What it does not know: runners; what a call does.

Invariant: it keeps the keys that are open, and counts the rest: it does not grow with a run, and what is
said of a key a second time, or after it was closed, is an error.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass

from creche import State
from creche.instruments import CallEvent, Instrument

MOST_ERRORS = 50

CRASHABLE = frozenset({"process", "dask"})
"""The places where a call may be lost with its worker, which is not its own fault."""


@dataclass(slots=True)
class Entry:
    """One key that is open.

    Attributes:
        expected: the names of the states in which it may end.
        submitted: whether the runner has said that it was checked in.
        ended: the state in which it has settled, and where its body ran, as the runner says.
        told: the state as who submitted it was told.
    """

    expected: frozenset[State]
    submitted: bool = False
    ended: State | None = None
    told: State | None = None


class Ledger(Instrument):
    """Who owes what. Told from any thread."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.error_count = 0
        self.opened = 0
        self.withdrawn = 0
        self.states: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.retries = 0
        self.closed: deque[Hashable] = deque()
        self._open: dict[Hashable, Entry] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many keys are open."""
        return len(self._open)

    # By who submits ----------------------------------------------------------------------------------

    def key(self, kind: str, *expected: State) -> str:
        """A fresh key, for a call that is expected to end in one of these states."""
        with self._lock:
            self.opened += 1
            key = f"{kind} {self.opened}"
            self._open[key] = Entry(frozenset(expected))
        return key

    def withdraw(self, key: str) -> None:
        """It was not submitted after all."""
        with self._lock:
            entry = self._open.pop(key, None)
            self.withdrawn += 1
            if entry is None or entry.submitted:
                self._wrong(f"{key!r} was submitted, and who did so was told that it was not")

    def tell(self, key: Hashable, state: State) -> None:
        """Who submitted it was told this."""
        with self._lock:
            entry = self._open.get(key)
            if entry is None or entry.told is not None:
                self._wrong(f"{key!r} was told of twice, or was not open: {state.name}")
                return
            entry.told = state
            self._close_if_complete(key, entry)

    def wrong(self, said: str) -> None:
        """Something else is not as it must be."""
        with self._lock:
            self._wrong(said)

    # By the runner -----------------------------------------------------------------------------------

    def call_submitted(self, event: CallEvent) -> None:
        """It is on the board."""
        with self._lock:
            entry = self._open.get(event.key)
            if entry is None or entry.submitted:
                self._wrong(f"{event.key!r} was submitted twice, or was not open")
            else:
                entry.submitted = True

    def call_retrying(self, event: CallEvent) -> None:
        """Count."""
        self.retries += 1

    def call_finished(self, event: CallEvent) -> None:
        """It has settled."""
        with self._lock:
            entry = self._open.get(event.key)
            if entry is None or not entry.submitted or entry.ended is not None:
                self._wrong(f"{event.key!r} has settled twice, or was not submitted: {event.state.name}")
                return
            entry.ended = event.state
            self.states[event.state.name] += 1
            if event.state is State.CRASHED:
                is_wanted = State.CRASHED in entry.expected
                self.crashes["asked for" if is_wanted else event.place] += 1
            is_lost = event.state is State.CRASHED and event.place in CRASHABLE
            if event.state not in entry.expected and not is_lost:
                self._wrong(f"{event.key!r} has ended as {event.state.name}: {event.error!r}")
            self._close_if_complete(event.key, entry)

    # -------------------------------------------------------------------------------------------------

    def _close_if_complete(self, key: Hashable, entry: Entry) -> None:
        if entry.ended is None or entry.told is None:
            return
        if entry.ended is not entry.told:
            self._wrong(f"{key!r} is {entry.ended.name}, and who waited was told {entry.told.name}")
        del self._open[key]
        self.closed.append(key)

    def _wrong(self, said: str) -> None:
        self.error_count += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(said)

    def still_open(self) -> list[str]:
        """What is not accounted for, a line each."""
        with self._lock:
            return [f"{key!r}: {entry}" for key, entry in list(self._open.items())[:MOST_ERRORS]]
