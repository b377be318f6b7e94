"""W7: whether a call costs more among a million than among a thousand.

What it is for: a sample of W7, in a process of its own, since a million of some contenders' calls take
gigabytes.

What it does not know: what the contenders do; they are those of W1 and W3.

Invariant: both sizes are timed in the same process, the small one many times.
"""

from __future__ import annotations

import statistics

import bounding
import submitting
from bodies import Contender
from event_loops import FAMILY
from results import Sample
from timing import timed

SMALL = 1000
TIMES = 25

UNITS = {
    "growth": "times as much CPU a call as among 1,000",
    "cpu": "µs of CPU a call",
    "cpu_small": "µs of CPU a call, among 1,000",
}

CONTENDERS: dict[str, dict[str, Contender]] = {
    "trio": {
        "nursery + dict": submitting.CONTENDERS["trio"]["nursery + dict"],
        "creche": submitting.CONTENDERS["trio"]["creche"],
        "creche, at most 100": bounding.CONTENDERS["trio"]["creche"],
        "creche map, at most 100": bounding.CONTENDERS["trio"]["creche map"],
    },
    "asyncio": {
        "TaskGroup + dict": submitting.CONTENDERS["asyncio"]["TaskGroup + dict"],
        "creche": submitting.CONTENDERS["asyncio"]["creche"],
        "creche, at most 100": bounding.CONTENDERS["asyncio"]["creche"],
        "creche map, at most 100": bounding.CONTENDERS["asyncio"]["creche map"],
    },
}


def grown(contender: str, loop: str, n: int, collect: bool) -> Sample:
    """Time a small and a large number of calls, in this process.

    Args:
        contender: its name among those of W7.
        loop: on which loop.
        n: the large number.
        collect: leave the garbage collector on.

    Returns:
        microseconds for each call among few and among many, and what these are of those.
    """
    run = CONTENDERS[FAMILY[loop]][contender]
    times = [timed(contender, run, loop, SMALL, collect=collect)["cpu"] for _ in range(TIMES + 1)]
    few = statistics.median(times[1:])
    many = timed(contender, run, loop, n, collect=collect)["cpu"]
    return {"growth": many / few, "cpu": many, "cpu_small": few}
