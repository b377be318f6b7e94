"""What stands in the text of the page: numbers, runs, places, failures, retries, critical path, limits.

What it is for: it is there without scripts, on paper, and for a screen reader.

What it does not know: HTML. What is told of a long history is bounded, and says what was left out.

Invariant: nothing in it is marked as safe; whatever it says is text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from creche._states import State
from creche.instruments import CallRecord, History, RunRecord

from ._critical import CriticalPaths, Kind, Link, seconds_by_kind
from ._phases import Phases, end_of, phases_of, total
from ._use import Use, uses
from ._words import error_line

MOST_SLOW, MOST_FAILURES = 10, 50
MOST_RETRIED, MOST_LINKS, MOST_RUNS, MOST_CHARTED = 20, 200, 20, 4
_LONGEST_TRACEBACK, _MOST_OF_TRACEBACKS = 8_000, 1_000_000

_FAULTS = (State.FAILED, State.CRASHED)


@dataclass(slots=True)
class FailureGroup:
    """Calls that have failed in the same way: with an error of one type, raised in one place.

    Attributes:
        number: from 1.
        state: of the calls.
        line: the error of the first one in a line.
        traceback: of that error.
        calls: which.
        messages: of all of them, each once.
    """

    number: int
    state: State
    line: str
    traceback: str
    calls: list[CallRecord] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)


class RunRow(NamedTuple):
    """A run, and what is told of it.

    Attributes:
        run: which.
        calls: how many it had.
        end: when it was closed, or the end of the history.
        path: its critical path.
        kinds: what the time of the path was spent on.
        uses: of the runner and its limits, of the longest runs; else empty.
    """

    run: RunRecord
    calls: int
    end: float
    path: list[Link]
    kinds: dict[Kind, float]
    uses: list[Use]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.run.started


class PlaceRow(NamedTuple):
    """A place, and what ran there.

    Attributes:
        name: of the place.
        calls: how many were started there.
        busy: the seconds that they ran, added up.
        first: when the first one was started, in seconds since the history begins.
        last: when the last one ended.
    """

    name: str
    calls: int
    busy: float
    first: float
    last: float


class Overview(NamedTuple):
    """All of it.

    Attributes:
        history: all there is.
        counts: how many calls are in each state.
        phases: what the calls spent their time on, in sum.
        all_phases: the same of each call.
        slowest: the calls that ran longest, and for how long.
        runs: in the order of their starts.
        longest: those of them that took longest and are shown in full, the longest one first.
        places: in the order of their names.
        failures: the first groups of calls that failed.
        failed: how many calls failed or crashed.
        untold: how many of them are in no group.
        retried: the calls with most attempts.
        retries: how many calls needed more than one attempt.
    """

    history: History
    counts: dict[State, int]
    phases: Phases
    all_phases: list[Phases]
    slowest: list[tuple[CallRecord, float]]
    runs: list[RunRow]
    longest: list[RunRow]
    places: list[PlaceRow]
    failures: list[FailureGroup]
    failed: int
    untold: int
    retried: list[CallRecord]
    retries: int

    @property
    def critical(self) -> list[CallRecord]:
        """The calls on the critical path of any run, as often as they are."""
        return [link.call for row in self.runs for link in row.path if link.call is not None]


def overview(history: History) -> Overview:
    """What there is to tell.

    Args:
        history: all there is.

    Returns:
        the overview.
    """
    calls = history.calls
    all_phases = [phases_of(call, history) for call in calls]
    ran = [(call, one.running) for call, one in zip(calls, all_phases, strict=True) if call.attempts]
    counts = Counter(call.state for call in calls)
    failures = _failures(calls)
    failed = sum(counts[state] for state in _FAULTS)
    runs = _runs(history)
    retried = [call for call in calls if len(call.attempts) > 1]
    return Overview(
        history,
        {state: counts[state] for state in State},
        total(all_phases) if all_phases else Phases(),
        all_phases,
        sorted(ran, key=lambda pair: -pair[1])[:MOST_SLOW],
        runs,
        [row for row in sorted(runs, key=lambda row: -row.seconds) if row.uses],
        _places(history, ran),
        failures,
        failed,
        failed - sum(len(group.calls) for group in failures),
        sorted(retried, key=lambda call: -len(call.attempts))[:MOST_RETRIED],
        len(retried),
    )


def _failures(calls: list[CallRecord]) -> list[FailureGroup]:
    """Up to so many groups, and up to so much text: an error may be long, and different each time."""
    groups: dict[tuple[State, str, str], FailureGroup] = {}
    left = _MOST_OF_TRACEBACKS
    for call in calls:
        if call.state not in _FAULTS:
            continue
        error = call.error or {}
        message, text = str(error.get("message", "")), str(error.get("traceback", ""))
        frames, _, after = text.rpartition(message) if message else (text, "", "")
        ident = (call.state, str(error.get("type")), frames + after)
        group = groups.get(ident)
        if group is None:
            if len(groups) == MOST_FAILURES or left <= 0:
                continue
            text = _last_of(text)
            left -= len(text)
            group = FailureGroup(len(groups) + 1, call.state, error_line(error), text)
            groups[ident] = group
        group.calls.append(call)
        group.messages.add(message)
    return list(groups.values())


def _last_of(text: str) -> str:
    """The end of a traceback is what says most."""
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


def _runs(history: History) -> list[RunRow]:
    by_run: dict[int, list[CallRecord]] = {run.number: [] for run in history.runs}
    for call in history.calls:
        by_run[call.run].append(call)
    ends = {run.number: history.ended if run.closed is None else run.closed for run in history.runs}
    by_length = sorted(history.runs, key=lambda run: run.started - ends[run.number])
    shown = {run.number for run in [one for one in by_length if by_run[one.number]][:MOST_CHARTED]}
    paths = CriticalPaths(history)
    rows = []
    for run in history.runs:
        calls = by_run[run.number]
        # The path of a run whose calls all have a parent is a part of another run's.
        path = paths.of(run) if any(call.parent is None for call in calls) else []
        use = uses(run, calls, history) if run.number in shown else []
        rows.append(RunRow(run, len(calls), ends[run.number], path, seconds_by_kind(path), use))
    return rows


def _places(history: History, ran: list[tuple[CallRecord, float]]) -> list[PlaceRow]:
    rows: dict[str, PlaceRow] = {}
    for call, seconds in ran:
        started, end = call.started or 0.0, end_of(call, history)
        row = rows.get(call.place) or PlaceRow(call.place, 0, 0.0, started, end)
        rows[call.place] = PlaceRow(
            call.place,
            row.calls + 1,
            row.busy + seconds,
            min(row.first, started),
            max(row.last, end),
        )
    return [rows[name] for name in sorted(rows)]
