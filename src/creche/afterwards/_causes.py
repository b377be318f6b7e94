"""Why each call of a history began when it did: what is measured, as causes and lengths of time.

What it is for: a simulation must know what would move if something else had moved. A history says when a
call was submitted, not what its submitter had waited for; here that is inferred, from times alone.

What it does not know: how the causes are replayed.

Invariant: replayed with as many places as there were, the causes give the measured times again.

The theory. Whoever submits calls, the body of a flow or of a call, is a script: it waits for some of its
calls, goes on for a while, submits the next one, and in the end ends. Between two of these marks it has

- waited, if one of its calls ended just before the mark, or if by the mark all of them had ended. Then
  what is left after the last of these ends is its own time;
- not waited otherwise, and all the time is its own.

A call that waits has lent its place. When it began to wait is not in the events: it is taken to have
gone on with its own work until its place was needed, or what it waited for was there. After the wait it
gets its place back when one is free, and only from then on is the time its own; see `_places_held`.
"""

from __future__ import annotations

import heapq
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, final

from creche._rates import Bucket
from creche.instruments import Attempt, CallRecord, History, RunRecord
from creche.instruments._words import calls

from ._inside import Begun, find_inside
from ._places_held import AT_ONCE, Span, find_places_held

# Seconds: times in event files are rounded to less.
_ROUNDED = 1e-5


class Step(NamedTuple):
    """A part of a script, up to the next mark.

    Attributes:
        before: seconds of its own before it waits.
        waits: for which calls.
        seconds: of its own, after that.
        submits: what it submits then; `None` at its end.
        order: with which event it did so, counted in the history.
    """

    before: float
    waits: tuple[Node, ...]
    seconds: float
    submits: Node | None
    order: int


@dataclass(eq=False, repr=False)
class Node:
    """A call that ran.

    Attributes:
        number: of all those of a history.
        call: as it is in the history.
        after: what it runs after.
        attempts: the script of each try, and the seconds until the next one.
        is_inside: whether it ran inside of its submit, which has waited for it, in a sequential run.
    """

    number: int
    call: CallRecord
    after: tuple[Node, ...] = ()
    attempts: list[tuple[list[Step], float]] = field(default_factory=list)
    is_inside: bool = False


@dataclass(eq=False, repr=False)
class Session:
    """Runs that overlap in time.

    Attributes:
        runs: in the order of their starts.
        begins: for each of them, the seconds after the first one.
        scripts: for each of them, that of what submitted its calls and is no call; of a sequential one
            as if it had waited for none of them.
        waiting: the same, but of a sequential one as it was.
        nodes: the calls.
        late: by how many seconds calls that waited for a rate have started after it let them.
    """

    runs: list[RunRecord]
    begins: list[float]
    scripts: list[list[Step]]
    waiting: list[list[Step]]
    nodes: list[Node]
    late: float = 0.0


@final
class Causes:
    """All sessions of a history, and what of it could not be taken as it is.

    Attributes:
        sessions: one after another.
        measured: the seconds that they took; what was between them does not count.
        notes: sentences for people.
    """

    def __init__(self, history: History) -> None:
        self.notes: list[str] = []
        self.sessions: list[Session] = []
        self.measured = 0.0
        self._ended = history.ended
        calls: defaultdict[int, list[CallRecord]] = defaultdict(list)
        for call in history.calls:
            calls[call.run].append(call)
        for runs in _overlapping(history.runs, history.ended):
            self.measured += max(self._end(run) for run in runs) - runs[0].started
            self.sessions.append(self._session(runs, [one for run in runs for one in calls[run.number]]))
        self._take_notes(history)

    def _end(self, run: RunRecord) -> float:
        return self._ended if run.closed is None else run.closed

    def _session(self, runs: list[RunRecord], calls: list[CallRecord]) -> Session:
        calls.sort(key=lambda call: call.submitted)
        nodes = {call: Node(number, call) for number, call in enumerate(calls) if call.attempts}
        upstream: dict[CallRecord, tuple[Node, ...]] = {}
        children: defaultdict[CallRecord | int, list[Node]] = defaultdict(list)
        for call in calls:
            # In its place of what never ran comes what that would have run after.
            found = [
                one
                for other in call.after
                for one in ((nodes[other],) if other in nodes else upstream.get(other, ()))
            ]
            upstream[call] = tuple(dict.fromkeys(found))
            if call in nodes:
                nodes[call].after = upstream[call]
                parent = submitter(call)
                key = parent if parent is not None and parent in nodes else call.run
                children[key].append(nodes[call])
        all_spans: defaultdict[tuple[int, bool], list[Span]] = defaultdict(list)
        self._find_inside(runs, children)
        tries: list[tuple[Node, list[tuple[list[Span], float]]]] = []
        numbered = {run.number: run for run in runs}
        happened = _happened(calls)
        for call, node in nodes.items():
            run, mine = numbered[call.run], []
            for number, attempt in enumerate(call.attempts):
                began, ended = self._lasted(call, number, attempt, run.max_workers)
                if run.rate is None and run.rates.keys().isdisjoint(call.limits):
                    began = _had_place(happened, began)
                own = [one for one in children[call] if number == _attempt_at(call, one.call.submitted)]
                spans = self._script(began, ended, attempt.last or sys.maxsize, own)
                spans[0].ready = self._ready(node, number, has_rate=run.rate is not None)
                all_spans[call.run, node.is_inside] += spans
                mine.append((spans, attempt.delay or 0.0))
            tries.append((node, mine))
        for run in runs:
            if run.max_workers is not None:
                find_places_held(all_spans[run.number, False], run.max_workers)
        for node, mine in tries:
            node.attempts = [([_step(span) for span in spans], delay) for spans, delay in mine]
        return Session(
            runs,
            [run.started - runs[0].started for run in runs],
            [self._body(run, children[run.number], free=is_sequential(run)) for run in runs],
            [self._body(run, children[run.number], free=False) for run in runs],
            list(nodes.values()),
            _late(runs, calls),
        )

    def _find_inside(
        self, runs: list[RunRecord], children: Mapping[CallRecord | int, list[Node]]
    ) -> None:
        """Find out which calls of sequential runs ran inside of their submits."""
        begun: defaultdict[int, list[Begun]] = defaultdict(list)
        numbered = {run.number: run for run in runs}
        nodes: dict[CallRecord, Node] = {}
        for submits, own in children.items():
            end = self._end(numbered[submits]) if isinstance(submits, int) else self._end_of(submits)
            marks = [*(node.call.submitted for node in own), end]
            for node, mark in zip(own, marks[1:], strict=True):
                nodes[node.call] = node
                ready = max([node.call.submitted, *(self._end_of(one.call) for one in node.after)])
                one = Begun(node.call, ready, self._end_of(node.call), mark + _ROUNDED)
                begun[node.call.run].append(one)
        for run in filter(is_sequential, runs):
            for call in find_inside(begun[run.number]):
                nodes[call].is_inside = True

    def _body(self, run: RunRecord, own: Sequence[Node], *, free: bool) -> list[Step]:
        """What submitted calls of a run, and is none of them."""
        return list(map(_step, self._script(run.started, self._end(run), sys.maxsize, own, free=free)))

    def _lasted(
        self, call: CallRecord, number: int, attempt: Attempt, max_workers: int | None
    ) -> tuple[float, float]:
        """From when to when an attempt had a place."""
        began = attempt.started
        # Without a number of workers, a plain call that is admitted waits for a thread still.
        if number == 0 and call.admitted is not None and (max_workers or call.place != "thread"):
            began = call.admitted
        return began, self._ended if attempt.ended is None else max(began, attempt.ended)

    def _ready(self, node: Node, number: int, *, has_rate: bool) -> float | None:
        """Since when an attempt needed nothing but a place; `None` if that cannot be told."""
        if node.call.limits or has_rate:
            return None
        if number:
            tried = node.call.attempts[number - 1]
            return (tried.ended or 0.0) + (tried.delay or 0.0)
        return max([node.call.submitted, *(self._end_of(one.call) for one in node.after)])

    def _script(
        self,
        began: float,
        ended: float,
        last: int,
        children: Sequence[Node],
        *,
        free: bool = False,
    ) -> list[Span]:
        """What a submitter did from its beginning to its end."""
        spans: list[Span] = []
        running: list[tuple[float, int, Node]] = []
        unmet: list[tuple[float, Node]] = []
        previous = began
        marks: list[tuple[float, int, Node | None]] = [
            (one.call.submitted, one.call.first, one) for one in children
        ]
        marks.append((ended, last, None))
        for when, order, child in marks:
            mark = max(previous, when)
            while running and running[0][0] <= mark:
                then, _, node = heapq.heappop(running)
                unmet.append((then, node))
            span = Span(previous, mark, child, order)
            if unmet and child is not None and (free or child.call.pulled):
                # It came when it did because there was room, and waited for no call in particular.
                span.previous = span.wanted = max(previous, unmet[-1][0])
            elif unmet and (not running or mark - unmet[-1][0] <= AT_ONCE):
                met = unmet
                if running:
                    met = [pair for pair in unmet if mark - pair[0] <= AT_ONCE]
                span.waits = tuple(node for _, node in met)
                span.wanted = max(previous, unmet[-1][0])
                unmet = unmet[: len(unmet) - len(met)] if running else []
            elif unmet:
                span.perhaps = tuple(node for _, node in unmet)
                span.wanted = unmet[-1][0]
            spans.append(span)
            if child is not None:
                heapq.heappush(running, (self._end_of(child.call), child.number, child))
            previous = mark
        return spans

    def _end_of(self, call: CallRecord) -> float:
        return self._ended if call.finished is None else call.finished

    def _take_notes(self, history: History) -> None:
        running = sum(1 for call in history.calls if call.attempts and call.finished is None)
        never = sum(1 for call in history.calls if not call.attempts)
        if not history.is_whole:
            self.notes.append("the file ends before its run does, which may have been killed")
        if running:
            self.notes.append(f"{calls(running)} had not ended: taken to have ended with the last event")
        if never:
            self.notes.append(
                f"{calls(never)} never began, and {'is' if never == 1 else 'are'} left out"
            )
        if any(map(is_sequential, history.runs)):
            self.notes.append(
                "a sequential run shows no other dependencies than slots passed as arguments: what "
                "waits for what in its body cannot be seen, and with more workers is taken not to wait"
            )
        if any(len(session.runs) > 1 for session in self.sessions):
            self.notes.append(
                "runs overlap: each gets the workers that are asked for, and begins when it did"
            )
        if len(self.sessions) > 1:
            self.notes.append(
                f"{len(self.sessions)} runs one after another: the times of all are added up, without "
                f"what was between them"
            )


def is_sequential(run: RunRecord) -> bool:
    """Whether it was a run of a sequential runner, where a submit waits for its call."""
    return run.name == "sequential"


def _step(span: Span) -> Step:
    if not span.waits:
        return Step(0.0, (), span.mark - span.previous, span.submits, span.order)
    before = 0.0 if span.lent is None else span.lent - span.previous
    resumed = span.wanted if span.resumed is None else span.resumed
    return Step(before, span.waits, span.mark - resumed, span.submits, span.order)


def submitter(call: CallRecord) -> CallRecord | None:
    """The call whose body submitted a call.

    Args:
        call: any.

    Returns:
        that one; `None` if the body of a flow did, or something else that is no call.
    """
    parent = call.parent
    # One that had ended has left something behind that did.
    while parent is not None and _has_ended(parent, call):
        parent = parent.parent
    return parent


def _has_ended(parent: CallRecord, call: CallRecord) -> bool:
    return parent.finished is not None and parent.finished < call.submitted


def _attempt_at(call: CallRecord, when: float) -> int:
    """Which attempt of a call ran at a time."""
    found = 0
    for number, attempt in enumerate(call.attempts):
        if attempt.started <= when:
            found = number
    return found


def _overlapping(runs: Iterable[RunRecord], ended: float) -> list[list[RunRecord]]:
    """The runs, those together that overlap."""
    sessions: list[list[RunRecord]] = []
    until = 0.0
    for run in sorted(runs, key=lambda run: run.started):
        if not sessions or run.started >= until:
            sessions.append([])
        sessions[-1].append(run)
        until = max(until, ended if run.closed is None else run.closed)
    return sessions


def _happened(calls: Iterable[CallRecord]) -> list[float]:
    """When anything happened that may have let a call begin, in order."""
    times = [call.submitted for call in calls]
    for call in calls:
        times += [one.ended + (one.delay or 0.0) for one in call.attempts if one.ended is not None]
        times += [one.ended for one in call.attempts if one.ended is not None and one.delay]
    return sorted(times)


def _had_place(happened: Sequence[float], began: float) -> float:
    """Since when an attempt had its place: what let it begin has happened just before.

    What is between the two is what the loop takes to get to it; it is as much in a replay.
    """
    index = bisect_right(happened, began) - 1
    return happened[index] if index >= 0 and began - happened[index] <= AT_ONCE else began


def _late(runs: Iterable[RunRecord], calls: Sequence[CallRecord]) -> float:
    """How late the loop is when a rate lets a call start; where it spaces them, that adds up."""
    found = []
    for run in runs:
        rates = [(None, run.rate)] if run.rate is not None else []
        for name, rate in [*rates, *run.rates.items()]:
            bucket = Bucket(rate)
            mine = [one for one in calls if one.run == run.number and (not name or name in one.limits)]
            for start in sorted(one.started for call in mine for one in call.attempts):
                found.append(start - bucket.due())
                bucket.take(start)
    found = [late for late in found if abs(late) <= AT_ONCE]
    late = median(found) if found else 0.0
    return late if late > _ROUNDED else 0.0
