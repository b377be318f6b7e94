"""A run in a few numbers: how its calls ended, which took longest, which failed and why.

What it is for: the end of ``creche run``, and users who want the same.

What it does not know: terminals, files, clocks. The times are those in the events.

Invariant: it keeps a bounded number of keys, however many calls there are.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple, final

from creche._events import CallEvent, Instrument
from creche._states import State

from ._tally import reason_of


class Failure(NamedTuple):
    """A call that did not complete.

    Attributes:
        key: its key.
        state: FAILED, CANCELLED or CRASHED.
        reason: the exception in one line, or why it was cancelled.
    """

    key: Hashable
    state: State
    reason: str


@final
class Summary(Instrument):
    """An instrument that folds a run into a few numbers.

    Attributes:
        counts: how many calls have ended in each state.
        running: the calls that run now, each with the time of its start, in the loop's seconds; of the
            last attempt, if it is tried again.
        submitted: how many calls were submitted.
        failures: the first calls that failed or crashed, in the order in which they did.
    """

    def __init__(self, *, slowest: int = 5, failures: int = 100) -> None:
        """Set it up; hand it to a runner as one of its `instruments`.

        Args:
            slowest: how many of the slowest calls to remember.
            failures: how many failures to remember.
        """
        self.counts: Counter[State] = Counter()
        self.running: dict[Hashable, float] = {}
        # Of those that are tried again: the seconds that attempts took which have ended; and who waits.
        self._worked: dict[Hashable, float] = {}
        self._waiting: set[Hashable] = set()
        self.submitted: int = 0
        self.failures: list[Failure] = []
        self._most_failures = failures
        self._most_slowest = slowest
        # A heap of the slowest so far, the quickest of them on top; the number breaks ties.
        self._slowest: list[tuple[float, int, Hashable]] = []

    @property
    def settled(self) -> int:
        """How many calls have ended."""
        return sum(self.counts.values())

    @property
    def slowest(self) -> list[tuple[Hashable, float]]:
        """The keys of the slowest calls with their seconds, the slowest first."""
        return [(key, seconds) for seconds, _, key in sorted(self._slowest, reverse=True)]

    def call_submitted(self, event: CallEvent) -> None:
        """Count it."""
        del event
        self.submitted += 1

    def call_started(self, event: CallEvent) -> None:
        """Note when."""
        self.running[event.key] = event.time
        self._waiting.discard(event.key)

    def call_retrying(self, event: CallEvent) -> None:
        """Note how long the attempt took: the wait for the next one is no work."""
        began = self.running.get(event.key, event.time)
        self._worked[event.key] = self._worked.get(event.key, 0.0) + event.time - began
        self._waiting.add(event.key)

    def call_finished(self, event: CallEvent) -> None:
        """Note how, after how long, and why."""
        self.counts[event.state] += 1
        started = self.running.pop(event.key, None)
        worked = self._worked.pop(event.key, 0.0)
        if event.key in self._waiting:
            self._waiting.discard(event.key)
            started = event.time
        if started is not None:
            entry = (worked + event.time - started, -self.settled, event.key)
            if len(self._slowest) < self._most_slowest:
                heapq.heappush(self._slowest, entry)
            else:
                heapq.heappushpop(self._slowest, entry)
        if event.error is not None and len(self.failures) < self._most_failures:
            reason = reason_of(event.error, None)
            self.failures.append(Failure(event.key, event.state, " ".join(reason.split())))
