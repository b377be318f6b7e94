"""Bytes for each call: what Python has allocated, and what the process has from the system.

What it is for: a sample of W6, in a process of its own, since a process that has once been large is no
measure any more.

What it does not know: who holds the calls.

Invariant: the garbage collector has run before each reading; the tracing of allocations is not on while
the size of the process is read.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from bodies import keys_of
from event_loops import FAMILY, run_on
from holding import CONTENDERS
from results import Sample

STATM = Path("/proc/self/statm")

METERS = ("tracemalloc", "rss") if STATM.exists() else ("tracemalloc",)
"""How bytes are counted; the size of a process can be read on Linux only, without a package for it."""

UNITS = {
    "pending": "bytes a pending call, tracemalloc",
    "retained": "bytes a retained outcome, tracemalloc",
    "pending_rss": "bytes a pending call, RSS",
    "retained_rss": "bytes a retained outcome, RSS",
}


def resident() -> int:
    """The bytes that this process has in memory."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def allocated() -> int:
    """The bytes that Python's objects have, of those that were made since the tracing began."""
    return tracemalloc.get_traced_memory()[0]


def held(contender: str, loop: str, n: int, meter: str) -> Sample:
    """Let a contender hold n calls, in this process.

    Args:
        contender: its name among those of W6.
        loop: on which loop.
        n: how many calls.
        meter: one of `METERS`.

    Returns:
        bytes for each call.
    """
    hold = CONTENDERS[FAMILY[loop]][contender]
    read: Callable[[], int] = allocated if meter == "tracemalloc" else resident
    ending = "" if meter == "tracemalloc" else "_rss"
    keys = list(keys_of(n))
    counted: dict[str, int] = {}

    def take(when: str) -> None:
        gc.collect()
        counted[when] = read()

    if meter == "tracemalloc":
        tracemalloc.start()
    run_on(loop, lambda: hold(keys, take))
    return {
        f"{when}{ending}": (counted[when] - counted["before"]) / n for when in ("pending", "retained")
    }
