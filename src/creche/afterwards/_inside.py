"""Which calls of a sequential run ran inside of their submits, from when they began and ended.

What it is for: a submit of a sequential runner runs its call in the submitter's own task, beside those
of other tasks; what was only checked in takes its turn at the single place that there is. Events do not
tell the two apart, and a replay has to.

What it does not know: how calls are replayed.

Invariant: a call that has waited for a place had one. Of the others those are taken to have had one that
others may have waited for: replayed so, each begins when it did.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from creche.instruments import CallRecord

from ._places_held import AT_ONCE


class Begun(NamedTuple):
    """A call that has begun.

    Attributes:
        call: that.
        ready: since when it needed nothing but a place.
        ended: when it did.
        mark: when its submitter did the next thing, or ended.
    """

    call: CallRecord
    ready: float
    ended: float
    mark: float


def find_inside(begun: Sequence[Begun]) -> set[CallRecord]:
    """Find them.

    Args:
        begun: the calls of one run.

    Returns:
        those that ran inside of their submits.
    """
    waits = [(one.ready, _began(one)) for one in begun if _began(one) - one.ready > AT_ONCE]
    begins, ends = _merged(waits)
    found: set[CallRecord] = set()
    for one in begun:
        if _began(one) - one.ready > AT_ONCE:
            continue
        number = bisect_left(begins, one.ready) - 1
        # It began at once although others waited for the place.
        has_passed = number >= 0 and ends[number] > _began(one)
        # Nobody waited while it ran, so that it does not matter.
        is_alone = bisect_left(begins, one.ended) == bisect_right(ends, one.ready)
        if one.mark >= one.ended or has_passed or is_alone:
            found.add(one.call)
    return found


def _began(one: Begun) -> float:
    return one.call.attempts[0].started


def _merged(waits: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """From when to when anybody waited."""
    begins: list[float] = []
    ends: list[float] = []
    for begin, end in sorted(waits):
        if ends and begin <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            begins.append(begin)
            ends.append(end)
    return begins, ends
