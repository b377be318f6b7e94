"""The calls of a history as columns of numbers, which is what the scripts of the page read.

What it is for: a column of 50,000 numbers is small, and quickly read. What most calls do not have is in
a table from the number of a call to what it has. Texts that many calls share are there once.

What it does not know: where the columns are put, and how they are shown.

Invariant: all in it is what JSON knows; times are whole microseconds since the history begins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from creche._states import State
from creche.instruments import Attempt, CallRecord, History

from ._lanes import pack
from ._phases import Phases, end_of, phases_of
from ._words import cut, error_line, ranks

_LONGEST_VALUE, _MOST_ARGUMENTS = 200, 20

Sparse = dict[int, Any]


@final
class Texts:
    """Texts, each of which is kept once and has a number."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number_of(self, text: str) -> int:
        """The number of a text.

        Args:
            text: any.

        Returns:
            the same for the same text.
        """
        number = self._numbers.setdefault(text, len(self.all))
        if number == len(self.all):
            self.all.append(text)
        return number


def columns(
    history: History,
    critical: Iterable[CallRecord] = (),
    failures: dict[CallRecord, int] | None = None,
    phases: Sequence[Phases] | None = None,
) -> dict[str, Any]:
    """All that the scripts of the page read.

    Args:
        history: all there is.
        critical: the calls on a critical path.
        failures: of calls that failed, the number of the entry on the page that shows the traceback.
        phases: of each call, if they have been found already.

    Returns:
        the columns, and what belongs to all of them.
    """
    calls = history.calls
    number_of = {call: number for number, call in enumerate(calls)}
    places, texts = Texts(), Texts()
    run_of = {run.number: number for number, run in enumerate(history.runs)}
    if phases is None:
        phases = [phases_of(call, history) for call in calls]
    return {
        "ended": micros(history.ended),
        "states": [state.name for state in State],
        "runs": [{"number": run.number, "name": cut(run.name)} for run in history.runs],
        "key": [call.key for call in calls],
        "rank": ranks([call.key for call in calls]),
        "run": [run_of[call.run] for call in calls],
        "place": [places.number_of(call.place) for call in calls],
        "state": [_STATES[call.state] for call in calls],
        "submitted": [micros(call.submitted) for call in calls],
        "blocked": [micros(one.blocked) for one in phases],
        "queued": [micros(one.queued) for one in phases],
        "running": [micros(one.running) for one in phases],
        "backoff": [micros(one.backoff) for one in phases],
        "attempts": [len(call.attempts) for call in calls],
        "lane": _lanes(history),
        "critical": sorted({number_of[call] for call in critical}),
        "after": {
            number: [number_of[one] for one in call.after]
            for number, call in enumerate(calls)
            if call.after
        },
        "parent": {
            number: number_of[call.parent]
            for number, call in enumerate(calls)
            if call.parent is not None
        },
        "limits": _sparse(calls, lambda call: [texts.number_of(cut(one)) for one in call.limits]),
        "tags": _sparse(calls, lambda call: [texts.number_of(cut(one)) for one in call.tags]),
        "why": _sparse(calls, lambda call: _why(call, texts)),
        "tries": _sparse(calls, lambda call: _tries(call.attempts, texts)),
        "type": _sparse(calls, lambda call: "" if call.key_type == "str" else cut(call.key_type)),
        "args": _sparse(
            calls,
            lambda call: [cut(one, _LONGEST_VALUE) for one in (call.args or ())[:_MOST_ARGUMENTS]],
        ),
        "value": _sparse(calls, lambda call: "" if call.value is None else cut(call.value)),
        "failure": {number_of[call]: number for call, number in (failures or {}).items()},
        "places": places.all,
        "texts": texts.all,
    }


_STATES = {state: number for number, state in enumerate(State)}


def micros(seconds: float) -> int:
    """A time as whole microseconds.

    Args:
        seconds: the time.

    Returns:
        the number.
    """
    return round(seconds * 1_000_000)


def _sparse(calls: list[CallRecord], part: Callable[[CallRecord], object]) -> Sparse:
    """What there is of each call, for those of which there is something."""
    found = ((number, part(call)) for number, call in enumerate(calls))
    return {number: one for number, one in found if one not in ([], "", None)}


def _why(call: CallRecord, texts: Texts) -> int | None:
    """Why a call did not complete, in one line."""
    if call.error is not None:
        return texts.number_of(error_line(call.error))
    if call.origin is None:
        return None
    reason = f"{call.origin}: {call.reason}" if call.reason else str(call.origin)
    return texts.number_of(cut(" ".join(reason.split())))


def _tries(attempts: list[Attempt], texts: Texts) -> list[list[int | None]]:
    """Begin, end, error of each attempt, if there was more than one, or is to be."""
    if len(attempts) == 1 and attempts[0].delay is None:
        return []
    return [
        [
            micros(one.started),
            None if one.ended is None else micros(one.ended),
            None if one.error is None else texts.number_of(error_line(one.error)),
        ]
        for one in attempts
    ]


def _lanes(history: History) -> list[int]:
    """The lane of each call on the timeline, place by place; -1 of one that was not started."""
    by_place: defaultdict[str, list[int]] = defaultdict(list)
    for number, call in enumerate(history.calls):
        if call.started is not None:
            by_place[call.place].append(number)
    lanes = [-1] * len(history.calls)
    for numbers in by_place.values():
        started = [history.calls[number] for number in numbers]
        spans = [(call.started or 0.0, end_of(call, history)) for call in started]
        for number, lane in zip(numbers, pack(spans), strict=True):
            lanes[number] = lane
    return lanes
