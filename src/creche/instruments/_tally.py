"""How one or several runs stand at this moment, folded from their events.

What it is for: whatever shows a run while it goes on asks for a `Standing`, which is plain numbers.

What it does not know: terminals, words, threads that draw. Its clock is handed in: the loops' own clocks
have nothing to do with each other.

Invariant: it keeps the calls that are open, a bounded number of failures and of moments, and nothing of
a call that has ended; `stand` gives what no later event changes.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import NamedTuple, final

from creche._events import CallEvent, RunnerEvent
from creche._states import State

WINDOW = 10.0
"""Over how many seconds the rate is taken."""

_STEP = 0.5
_MOST_FAILURES = 50
_LONGEST_REASON = 1000


class Going(NamedTuple):
    """A call that runs, or waits for its next attempt.

    Attributes:
        key: its key.
        since: when it began, or its last attempt failed.
        place: where it runs.
        attempt: which try this is, from 1.
        is_waiting: whether it waits for its next attempt.
    """

    key: Hashable
    since: float
    place: str
    attempt: int = 1
    is_waiting: bool = False


class Fault(NamedTuple):
    """A call that has failed or crashed.

    Attributes:
        key: its key.
        state: FAILED or CRASHED.
        reason: the exception in a line.
    """

    key: Hashable
    state: State
    reason: str


class Fill(NamedTuple):
    """How full something is: a named limit, or the workers of a run.

    Attributes:
        name: of it.
        held: how many have it.
        size: how many may.
    """

    name: str
    held: int
    size: float


class Standing(NamedTuple):
    """How it stands.

    Attributes:
        submitted: how many calls were submitted.
        counts: how many have ended, by state.
        going: the calls that run or wait for their next attempt, the longest first.
        waiting: how many of them wait for their next attempt.
        retries: how many attempts have failed and are followed by another.
        rate: how many calls have ended in a second, lately; 0 while nothing is known.
        fills: how full the limits are, the workers first.
        faults: the last ones, the newest first.
        runs: the numbers of the runs that are open.
    """

    submitted: int
    counts: Counter[State]
    going: list[Going]
    waiting: int
    retries: int
    rate: float
    fills: list[Fill]
    faults: list[Fault]
    runs: tuple[int, ...]

    @property
    def settled(self) -> int:
        """How many calls have ended."""
        return sum(self.counts.values())


def reason_of(error: BaseException | None, longest: int | None = _LONGEST_REASON) -> str:
    """An exception in a line, also one that cannot be made a string.

    Args:
        error: any.
        longest: how many characters of its message; `None` for all.

    Returns:
        its class and its message.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - code of the user's
        text = "its message cannot be shown"
    return f"{type(error).__name__}: {text[:longest]}".strip(": ")


_Ident = tuple[int, int, Hashable]


def _ident(event: CallEvent) -> _Ident:
    """Which call it is: two under one key have different numbers."""
    return event.run, event.call, event.key


@final
class Tally:
    """Folds the events of one or several runs; from any threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Make it.

        Args:
            clock: seconds.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._begun: float | None = None
        self._submitted = self._retries = 0
        self._counts: Counter[State] = Counter()
        self._open: dict[int, RunnerEvent] = {}
        self._going: dict[_Ident, Going] = {}
        self._limits_of: dict[_Ident, tuple[str, ...]] = {}
        self._held: Counter[tuple[int, str]] = Counter()
        self._admitted: Counter[int] = Counter()
        self._inside: set[_Ident] = set()
        self._faults: deque[Fault] = deque(maxlen=_MOST_FAILURES)
        # How many calls have ended in each half second, the present one last.
        self._ends: deque[tuple[float, int]] = deque(maxlen=int(WINDOW / _STEP) + 1)

    def open(self, event: RunnerEvent) -> int:
        """A run has begun; gives how many are open now."""
        with self._lock:
            self._open[event.run] = event
            if self._begun is None:
                self._begun = self._clock()
            return len(self._open)

    def close(self, event: RunnerEvent) -> int:
        """A run has ended; gives how many are open still."""
        with self._lock:
            self._open.pop(event.run, None)
            return len(self._open)

    def submit(self, event: CallEvent) -> None:
        """A call was submitted."""
        with self._lock:
            self._submitted += 1
            if event.limits:
                self._limits_of[_ident(event)] = event.limits

    def admit(self, event: CallEvent) -> None:
        """A call has its place, and its limits."""
        one = _ident(event)
        with self._lock:
            self._enter(one)

    def begin(self, event: CallEvent) -> None:
        """An attempt begins."""
        one = _ident(event)
        with self._lock:
            self._enter(one)
            self._going[one] = Going(event.key, self._clock(), event.place, event.attempt)

    def retry(self, event: CallEvent) -> None:
        """An attempt has failed, and there will be another one."""
        one = _ident(event)
        with self._lock:
            self._retries += 1
            self._leave(one)  # it has neither its place nor its limits until the next one
            self._going[one] = Going(
                event.key, self._clock(), event.place, event.attempt, is_waiting=True
            )

    def end(self, event: CallEvent) -> None:
        """A call has ended."""
        one = _ident(event)
        reason = None if event.error is None else reason_of(event.error)
        with self._lock:
            self._counts[event.state] += 1
            self._going.pop(one, None)
            self._leave(one)
            self._limits_of.pop(one, None)
            if reason is not None:
                self._faults.append(Fault(event.key, event.state, reason))
            step = self._clock() // _STEP * _STEP
            if self._ends and self._ends[-1][0] == step:
                step, count = self._ends.pop()
                self._ends.append((step, count + 1))
            else:
                self._ends.append((step, 1))

    def _enter(self, one: _Ident) -> None:
        if one not in self._inside:
            self._inside.add(one)
            self._count(one, 1)

    def _leave(self, one: _Ident) -> None:
        if one in self._inside:
            self._inside.discard(one)
            self._count(one, -1)

    def _count(self, one: _Ident, more: int) -> None:
        run = one[0]
        self._admitted[run] += more
        for name in self._limits_of.get(one, ()):
            self._held[run, name] += more

    def stand(self, now: float) -> Standing:
        """How it stands.

        Args:
            now: by the clock.

        Returns:
            the numbers.
        """
        with self._lock:
            going = list(self._going.values())
            counts, faults, ends = self._counts.copy(), list(self._faults), list(self._ends)
            runs, begun = list(self._open.values()), self._begun
            held, admitted = self._held.copy(), self._admitted.copy()
            submitted, retries = self._submitted, self._retries
        going.sort(key=lambda one: one.since)
        fills = [
            Fill("workers", admitted[run.run], run.max_workers)
            for run in runs
            if run.max_workers is not None
        ]
        fills += [
            Fill(name, held[run.run, name], size) for run in runs for name, size in run.limits.items()
        ]
        seconds = 0.0 if begun is None else min(WINDOW, now - begun)
        lately = sum(count for step, count in ends if step > now - WINDOW - _STEP)
        return Standing(
            submitted=submitted,
            counts=counts,
            going=going,
            waiting=sum(one.is_waiting for one in going),
            retries=retries,
            rate=lately / seconds if seconds > 0 else 0.0,
            fills=fills,
            faults=faults[::-1],
            runs=tuple(run.run for run in runs),
        )
