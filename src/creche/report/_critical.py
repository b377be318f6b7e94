"""The critical path of a run: the chain of what had to end before the next thing could begin.

What it is for: it says where the time went. To shorten anything that is not on it does not make the run
shorter.

The path is walked backwards, from the end of the call that ended last. A call ran since it was started;
before that it was queued since the last of the calls that it comes after had ended, or, where there is
none, since its parent submitted it, or the body of the run did. Where a call has submitted others that
ended while it ran, the last of them is taken to be what it waited for, and is walked through: events do
not say what a body awaits.

What it does not know: how the path is shown.

Invariant: the links are in the order of time, and each begins where the one before ends, from the start
of the run (or of one that it is nested in) to the end of its last call.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import NamedTuple, final

from creche.instruments import CallRecord, History, RunRecord

from ._phases import end_of


class Kind(StrEnum):
    """What the time of a link was spent on."""

    RUNNING = "running"
    QUEUED = "queued"
    RETRY = "between attempts"
    OUTSIDE = "outside of calls"


class Link(NamedTuple):
    """A part of a critical path.

    Attributes:
        call: whose time it is; `None` for that of the run's body.
        kind: what it was spent on.
        begin: in seconds since the history begins.
        end: likewise.
    """

    call: CallRecord | None
    kind: Kind
    begin: float
    end: float


@final
class CriticalPaths:
    """Finds the critical path of any run of a history."""

    def __init__(self, history: History) -> None:
        """Nothing is walked yet.

        Args:
            history: all there is.
        """
        self._history = history
        self._runs = {run.number: run for run in history.runs}
        self._last: dict[int, CallRecord] = {}
        self._children: defaultdict[CallRecord, list[CallRecord]] = defaultdict(list)
        for call in history.calls:
            if not call.attempts:
                continue
            if call.run not in self._last or self._end(call) > self._end(self._last[call.run]):
                self._last[call.run] = call
            if call.parent is not None:
                self._children[call.parent].append(call)
        for children in self._children.values():
            children.sort(key=self._end)

    def of(self, run: RunRecord) -> list[Link]:
        """The critical path of a run.

        Args:
            run: of the history.

        Returns:
            its links; none if no call of the run was started.
        """
        last = self._last.get(run.number)
        if last is None:
            return []
        links = self._walk(last)
        links.reverse()
        return links

    def _end(self, call: CallRecord) -> float:
        return end_of(call, self._history)

    def _walk(self, call: CallRecord) -> list[Link]:
        """Backwards; `at` never grows, so that of the children of a call each is looked at once."""
        links: list[Link] = []
        at = self._end(call)
        unseen: dict[CallRecord, int] = {}
        entered = {call}
        while True:
            child = self._last_child(call, at, unseen)
            if child is not None:
                _add_body(links, call, self._end(child), at)
                call, at = child, self._end(child)
                continue
            began = at if call.started is None else min(call.started, at)
            _add_body(links, call, began, at)
            last = max(
                (one for one in call.after if one.finished is not None), key=self._end, default=None
            )
            ready = call.submitted if last is None else max(call.submitted, self._end(last))
            at = min(ready, began)
            _add(links, call, Kind.QUEUED, at, began)
            if last is not None and self._end(last) > call.submitted and last not in entered:
                entered.add(last)
                call = last
            elif call.parent is not None:
                call, at = call.parent, min(call.submitted, at)
            else:
                _add(links, None, Kind.OUTSIDE, self._runs[call.run].started, min(call.submitted, at))
                return links

    def _last_child(
        self, call: CallRecord, at: float, unseen: dict[CallRecord, int]
    ) -> CallRecord | None:
        """The child that ended last, not after a time."""
        children = self._children.get(call, [])
        left = unseen.get(call, len(children))
        while left:
            left -= 1
            if self._end(children[left]) <= at:
                unseen[call] = left
                return children[left]
        unseen[call] = 0
        return None


def seconds_by_kind(links: list[Link]) -> dict[Kind, float]:
    """What the time of a path was spent on.

    Args:
        links: of the path.

    Returns:
        the seconds of each kind, in the order of the kinds.
    """
    seconds = dict.fromkeys(Kind, 0.0)
    for link in links:
        seconds[link.kind] += link.end - link.begin
    return seconds


def _add(links: list[Link], call: CallRecord | None, kind: Kind, begin: float, end: float) -> None:
    """Nothing that took no time is a link, but for the running of a call."""
    if end > begin or kind is Kind.RUNNING:
        links.append(Link(call, kind, begin, end))


def _add_body(links: list[Link], call: CallRecord, begin: float, end: float) -> None:
    """A part of a body's time, backwards: its attempts, and what is between them."""
    for attempt in reversed(call.attempts):
        if attempt.started >= end and attempt.started > begin:
            continue
        ended = end if attempt.ended is None else min(attempt.ended, end)
        if ended < begin:
            break
        _add(links, call, Kind.RETRY, ended, end)
        end = max(attempt.started, begin)
        _add(links, call, Kind.RUNNING, end, ended)
    _add(links, call, Kind.RETRY, begin, end)
