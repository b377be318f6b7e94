"""From a history to a trace in Chrome's format, which Perfetto opens.

What it is for: ``creche trace``. A run is a process of the trace. A call is a slice for its waiting and
one for each attempt, in lanes (the threads of the trace) by where it was; arrows lead from what a call
was to run after to it, and from the call that has submitted it.

What it does not know: files, and how a history comes about.

Invariant: slices of one lane do not overlap, each is at least a microsecond long, and both ends of an
arrow are inside of slices, the second not before the first.

The format is described as "Trace Event Format". Its times are microseconds; here they are whole ones,
since what is computed with floats may overlap by a rounding.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from ._history import Attempt, CallRecord, History, RunRecord

Event = dict[str, Any]
"""One event of a trace, as it is in the JSON."""

MOST_WAITING = 200
"""How many calls of one run may wait at the same time for each of them to have a slice for it.

Of fifty thousand that are submitted at once nobody looks at fifty thousand lanes. The counters are right
in any case.
"""

LEFT_OUT = "waiting slices left out"
"""In a trace's `otherData`: how many slices there are not, by `MOST_WAITING`."""

_WAITING = "waiting"


class _Slice(NamedTuple):
    """Something that takes time, in microseconds."""

    begin: int
    end: int
    call: CallRecord
    lane: str
    attempt: Attempt | None


class _Placed(NamedTuple):
    """Where a slice has come to be."""

    begin: int
    end: int
    pid: int
    tid: int
    runs: bool


def trace_of(history: History) -> Event:
    """Make a trace of a history.

    Args:
        history: of one or several runs.

    Returns:
        what is to be written as JSON.
    """
    numbers = {run.number: pid for pid, run in enumerate(history.runs, 1)}
    slices: dict[int, list[_Slice]] = {pid: [] for pid in numbers.values()}
    for call in history.calls:
        slices[numbers[call.run]] += _slices_of(call, history.ended)
    events: list[Event] = []
    placed: dict[CallRecord, list[_Placed]] = defaultdict(list)
    left_out, tid = 0, len(numbers)
    for run in history.runs:
        pid = numbers[run.number]
        events += _describe_run(pid, run)
        lanes, left = _assign(slices[pid])
        left_out += left
        for order, (name, lane) in enumerate(lanes):
            tid += 1
            events += _describe_lane(pid, tid, name, order)
            for one in lane:
                events.append(_slice_event(one, pid, tid))
                placed[one.call].append(_Placed(one.begin, one.end, pid, tid, one.attempt is not None))
        events += _count(slices[pid], pid)
    for spots in placed.values():
        spots.sort()
    events += _arrows(history.calls, placed)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"began": history.began, LEFT_OUT: left_out},
    }


def _slices_of(call: CallRecord, ended: float) -> Iterable[_Slice]:
    """Its waiting, its attempts, and its waiting for another one."""
    last = ended if call.finished is None else call.finished
    waited_from = call.submitted
    for attempt in call.attempts:
        if _micro(attempt.started) > _micro(waited_from):
            yield _slice(waited_from, attempt.started, call, _WAITING)
        until = last if attempt.ended is None else attempt.ended
        yield _slice(attempt.started, until, call, call.place, attempt)
        waited_from = until
    if not call.attempts or (call.attempts[-1].delay is not None and last > waited_from):
        yield _slice(waited_from, last, call, _WAITING)


def _slice(
    begin: float, end: float, call: CallRecord, lane: str, attempt: Attempt | None = None
) -> _Slice:
    first = _micro(begin)
    # An arrow cannot end in what takes no time.
    return _Slice(first, max(first + 1, _micro(end)), call, lane, attempt)


def _micro(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000))


def _assign(slices: list[_Slice]) -> tuple[list[tuple[str, list[_Slice]]], int]:
    """Each slice to the first lane of its kind that is free; and how many have none."""
    lanes: dict[str, list[list[_Slice]]] = defaultdict(list)
    free: dict[str, list[int]] = defaultdict(list)
    busy: dict[str, list[tuple[int, int]]] = defaultdict(list)
    left_out = 0
    for one in sorted(slices, key=lambda one: (one.begin, one.end)):
        kind = one.lane
        while busy[kind] and busy[kind][0][0] <= one.begin:
            heapq.heappush(free[kind], heapq.heappop(busy[kind])[1])
        if free[kind]:
            number = heapq.heappop(free[kind])
        elif kind == _WAITING and len(lanes[kind]) >= MOST_WAITING:
            left_out += 1
            continue
        else:
            number = len(lanes[kind])
            lanes[kind].append([])
        lanes[kind][number].append(one)
        heapq.heappush(busy[kind], (one.end, number))
    # What runs is looked at more than what waits.
    kinds = sorted(lanes, key=lambda kind: (kind == _WAITING, kind))
    named = [(f"{kind} {n}", lane) for kind in kinds for n, lane in enumerate(lanes[kind], 1)]
    return named, left_out


def _describe_run(pid: int, run: RunRecord) -> list[Event]:
    workers = "" if run.max_workers is None else f", max_workers={run.max_workers}"
    name = f"run {run.number}: {run.name} on {run.loop}{workers}"
    return [
        _metadata("process_name", pid, 0, name=_valid(name)),
        _metadata("process_sort_index", pid, 0, sort_index=pid),
    ]


def _describe_lane(pid: int, tid: int, name: str, order: int) -> list[Event]:
    return [
        _metadata("thread_name", pid, tid, name=_valid(name)),
        _metadata("thread_sort_index", pid, tid, sort_index=order),
    ]


def _metadata(what: str, pid: int, tid: int, **args: object) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _slice_event(one: _Slice, pid: int, tid: int) -> Event:
    call, attempt = one.call, one.attempt
    args: Event = {"key": _valid(call.key), "state": call.state.name}
    if attempt is None:
        kind = _WAITING if one.begin == _micro(call.submitted) else "waiting to retry"
    else:
        kind = "running"
        args["attempt"] = attempt.number
    if call.finished is None:
        args["finished"] = False
    error = call.error if attempt is None else attempt.error
    for name, given in (
        ("origin", call.origin),
        ("reason", call.reason),
        ("error", f"{error['type']}: {error['message']}" if error else ""),
        ("traceback", error["traceback"] if error else ""),
        ("limits", ", ".join(call.limits)),
        ("tags", ", ".join(call.tags)),
        ("args", ", ".join(call.args or ())),
        ("value", call.value),
    ):
        if given:
            args[name] = _valid(given)
    return {
        "ph": "X",
        "name": _valid(call.key) or "(no name)",
        "cat": kind,
        "pid": pid,
        "tid": tid,
        "ts": one.begin,
        "dur": one.end - one.begin,
        "args": args,
    }


def _count(slices: list[_Slice], pid: int) -> list[Event]:
    """How many run and how many wait, whenever that changes."""
    changes: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for one in slices:
        which = 1 if one.attempt is None else 0
        changes[one.begin][which] += 1
        changes[one.end][which] -= 1
    running = waiting = 0
    events: list[Event] = []
    for when, (more_run, more_wait) in sorted(changes.items()):
        running, waiting = running + more_run, waiting + more_wait
        args = {"running": running, "pending": waiting}
        events.append({"ph": "C", "name": "calls", "pid": pid, "tid": 0, "ts": when, "args": args})
    return events


def _arrows(calls: list[CallRecord], placed: dict[CallRecord, list[_Placed]]) -> list[Event]:
    events: list[Event] = []
    number = 0
    for call in calls:
        spots = placed.get(call)
        if not spots:
            continue
        begun = next((spot for spot in spots if spot.runs), spots[0])
        for other in call.after:
            sources = placed.get(other)
            if sources:
                number += 1
                events += _arrow("dependency", number, sources[-1], sources[-1].end, begun)
        if call.parent is not None:
            when = _micro(call.submitted)
            for source in placed.get(call.parent, ()):
                if source.runs and source.begin <= when <= source.end:
                    number += 1
                    events += _arrow("parent", number, source, when, spots[0])
                    break
    return events


def _arrow(kind: str, number: int, source: _Placed, when: int, target: _Placed) -> list[Event]:
    """From a moment in a slice to the beginning of another; none if that would lead back in time."""
    arrives = target.begin
    leaves = min(when, source.end - 1, arrives)
    if leaves < source.begin:  # it was cancelled with what it waited for: to where it ended
        arrives = target.end - 1
        leaves = min(when, source.end - 1, arrives)
    if leaves < source.begin:
        return []
    both = {"name": kind, "cat": kind, "id": number}
    return [
        {"ph": "s", **both, "pid": source.pid, "tid": source.tid, "ts": leaves},
        {"ph": "f", "bp": "e", **both, "pid": target.pid, "tid": target.tid, "ts": arrives},
    ]


def _valid(text: str) -> str:
    """Half a character, which Python allows in a string, is not what readers of JSON expect."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
