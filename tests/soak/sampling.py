"""What is looked at every few seconds of a soak, and written down.

What it is for: a line of JSON for each sample. Times are histograms, which can be put together again.

What it does not know: what is too much.

Invariant: nothing is kept in memory: whatever grows, it is not the samples.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
from histogram import Histogram
from killing import Killer
from ledger import Ledger
from machine import Yardstick, below, descriptors, parents, resident

from creche import ConcurrentTaskRunner
from creche.testing._stages import stage_here

LAG = 0.01
COLLECT_EVERY = 4
"""Samples from one pass of the garbage collector to the next: what lives then is what counts."""


class Sampler:
    """Takes samples of a runner, and of the process that it is in."""

    def __init__(
        self,
        runner: ConcurrentTaskRunner,
        ledger: Ledger,
        killer: Killer,
        yardstick: Yardstick,
        file: Path,
        cluster: list[int],
    ) -> None:
        self._runner = runner
        self._ledger = ledger
        self._killer = killer
        self._yardstick = yardstick
        self._file = file
        self._cluster = cluster
        self._times: dict[str, Histogram] = {}
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._taken = 0

    def note(self, kind: str, seconds: float) -> None:
        """A trip of that kind took so long; from any thread."""
        with self._lock:
            self._times.setdefault(kind, Histogram()).add(seconds)

    async def run(self, every: float) -> None:
        """Take one each so many seconds; until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_at_lag)
            self._begun = time.monotonic()
            due = self._begun
            while True:
                due += every
                await anyio.sleep(max(0.0, due - time.monotonic()))
                line = json.dumps(self.take())
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")

    async def _look_at_lag(self) -> None:
        while True:
            begun = time.monotonic()
            await anyio.sleep(LAG)
            self.note("lag", time.monotonic() - begun - LAG)

    def take(self) -> dict[str, Any]:
        """One sample, of now, and of the times since the last one."""
        with self._lock:
            times, self._times = self._times, {}
        yardstick = Histogram()
        for seconds in self._yardstick.take():
            yardstick.add(seconds)
        now = self._runner.statistics()
        used = os.times()
        workers = self._killer.workers()
        self._taken += 1
        live = None
        if self._taken % COLLECT_EVERY == 0:
            gc.collect()
            live = sys.getallocatedblocks()
        return {
            "seconds": round(time.monotonic() - self._begun, 3),
            "calls": now.settled,
            "open": now.reserved + now.pending + now.running,
            "board": len(self._runner.slots),
            "keys": len(self._ledger),
            "carriers": now.carriers,
            "rss": resident([os.getpid()]),
            "live blocks": live,
            "descriptors": descriptors(),
            "threads": threading.active_count(),
            "tasks": len(list(stage_here().tasks())),
            "workers": len(workers),
            "rss of workers": resident(workers),
            "rss of dask": resident(below(self._cluster, parents())),
            "cpu": round(used.user + used.system, 3),
            "load": os.getloadavg()[0],
            "times": {kind: one.as_json() for kind, one in sorted(times.items())},
            "yardstick": yardstick.as_json(),
        }
