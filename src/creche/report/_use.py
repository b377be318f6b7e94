"""How full a runner and each of its limits were, over time.

What it does not know: limits that calls of other runs hold as well; how the use is drawn.

Invariant: a call counts from when a place was found for it until its attempt ended, and not while it
waits for the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from creche.instruments import CallRecord, History, RunRecord

from ._phases import end_of

Span = tuple[float, float]
Steps = list[tuple[float, int]]


class Use(NamedTuple):
    """The use of one limit in one run.

    Attributes:
        name: of the limit; `None` for the calls that run at all.
        size: how many may hold it; `None` for no limit.
        most: how many held it at once.
        mean: how many held it, over the time of the run.
        full: the part of that time in which it was full, from 0 to 1; 0 without a size.
        begin: of the run, in seconds since the history begins.
        end: likewise.
        steps: from when on how many held it.
    """

    name: str | None
    size: float | None
    most: int
    mean: float
    full: float
    begin: float
    end: float
    steps: Steps


def uses(run: RunRecord, calls: Iterable[CallRecord], history: History) -> list[Use]:
    """The use of a runner and of its limits.

    Args:
        run: of the history.
        calls: of the run.
        history: all there is.

    Returns:
        the use of the runner, and of each limit that it has or that a call has needed.
    """
    spans: dict[str | None, list[Span]] = {None: []}
    spans.update((name, []) for name in run.limits)
    for call in calls:
        held = list(_held(call, history))
        for name in (None, *dict.fromkeys(call.limits)):
            spans.setdefault(name, []).extend(held)
    end = history.ended if run.closed is None else run.closed
    sizes: dict[str | None, float | None] = {None: run.max_workers}
    sizes.update(run.limits)
    return [_use(name, sizes.get(name), run.started, end, held) for name, held in spans.items()]


def steps_of(spans: Iterable[Span]) -> Steps:
    """How many spans there are at once.

    Args:
        spans: begin and end of each, in any order.

    Returns:
        times at which the number changes, and the number from then on.
    """
    changes: dict[float, int] = {}
    for begin, end in spans:
        if end > begin:
            changes[begin] = changes.get(begin, 0) + 1
            changes[end] = changes.get(end, 0) - 1
    steps: Steps = []
    number = 0
    for time in sorted(changes):
        if changes[time]:
            number += changes[time]
            steps.append((time, number))
    return steps


def most_in_each(steps: Steps, begin: float, end: float, parts: int) -> list[int]:
    """The largest number in each of many equal parts of a time.

    Args:
        steps: as `steps_of` gives them.
        begin: of the time.
        end: of the time.
        parts: how many.

    Returns:
        a number for each part.
    """
    most = [0] * parts
    width = (end - begin) / parts
    if width <= 0:
        return most
    for (time, number), (until, _) in pairwise([*steps, (end, 0)]):
        first = max(0, int((time - begin) / width))
        # One that ends where a part begins is not in that part.
        last = min(parts - 1, int((until - begin) / width - 1e-9))
        for part in range(first, last + 1):
            most[part] = max(most[part], number)
    return most


def _held(call: CallRecord, history: History) -> Iterator[Span]:
    for index, attempt in enumerate(call.attempts):
        begin = attempt.started
        if index == 0 and call.admitted is not None:
            begin = call.admitted
        yield begin, end_of(call, history) if attempt.ended is None else attempt.ended


def _use(name: str | None, size: float | None, begin: float, end: float, spans: list[Span]) -> Use:
    steps = steps_of(spans)
    area = full = 0.0
    for (time, number), (until, _) in pairwise([*steps, (end, 0)]):
        area += number * (until - time)
        if size is not None and number >= size:
            full += until - time
    seconds = end - begin
    mean, full = (area / seconds, full / seconds) if seconds > 0 else (0.0, 0.0)
    return Use(
        name, size, max((number for _, number in steps), default=0), mean, full, begin, end, steps
    )
