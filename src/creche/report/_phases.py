"""What the time of a call was spent on: waiting for others, for a place, running, between attempts.

What it does not know: other calls than those that this one waits for; how it is shown.

Invariant: the four parts add up to the time from the submission of a call to its end, or to the end of
the history where it has none; none is negative, also where a clock went back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from creche.instruments import CallRecord, History


class Phases(NamedTuple):
    """The parts of a call's time, in seconds and in this order.

    Attributes:
        blocked: waiting for the calls that it comes after.
        queued: waiting for a place, a limit or a thread.
        running: in its attempts.
        backoff: between its attempts, and after the last one if it ended while another was to come.
    """

    blocked: float = 0.0
    queued: float = 0.0
    running: float = 0.0
    backoff: float = 0.0


def end_of(call: CallRecord, history: History) -> float:
    """When a call ended; if that is not known, the end of the history.

    Args:
        call: of the history.
        history: all there is.

    Returns:
        seconds since the history begins.
    """
    return history.ended if call.finished is None else call.finished


def ready_at(call: CallRecord) -> float:
    """When a call no longer had to wait for others.

    Args:
        call: any.

    Returns:
        seconds since the history begins; infinity if one of the others has not ended.
    """
    ends = (math.inf if other.finished is None else other.finished for other in call.after)
    return max(call.submitted, *ends) if call.after else call.submitted


def phases_of(call: CallRecord, history: History) -> Phases:
    """The parts of a call's time.

    Args:
        call: of the history.
        history: all there is.

    Returns:
        the parts.
    """
    end = max(call.submitted, end_of(call, history))
    start = end if call.started is None else min(max(call.submitted, call.started), end)
    ready = min(ready_at(call), start)
    running = 0.0
    for attempt in call.attempts:
        running += max(0.0, (end if attempt.ended is None else attempt.ended) - attempt.started)
    running = min(running, end - start)
    return Phases(ready - call.submitted, start - ready, running, end - start - running)


def total(all_phases: list[Phases]) -> Phases:
    """The parts of many calls, added up.

    Args:
        all_phases: of each call.

    Returns:
        the sums.
    """
    return Phases(*(math.fsum(part) for part in zip(*all_phases, strict=True)))
