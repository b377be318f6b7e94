"""Who kills workers of a soak at random: those of the process place, and those of Dask.

What it does not know: what the workers do; how a lost call ends.

Invariant: what is killed is a worker, never a nanny, a scheduler or a helper of `multiprocessing`; and
of Dask's no worker that may still be starting, whose nanny gives up then, which is not what is tried.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable
from contextlib import suppress

import anyio
from machine import age, below, command, parents

GROWN_UP = 15.0
"""Seconds after which a worker of Dask's has started, on a machine with much else to do."""


class Killer:
    """Kills, and counts."""

    def __init__(self, draw: random.Random, others: Iterable[int], cluster: Iterable[int]) -> None:
        self.kills = {"process": 0, "dask": 0}
        self.is_over = False
        self._draw = draw
        self._cluster = set(cluster)
        self._others = set(others) | self._cluster

    def workers(self) -> set[int]:
        """The processes of the process place: our children beside those that are known."""
        mine = os.getpid()
        return {pid for pid, parent in parents().items() if parent == mine} - self._others

    def on_dask(self) -> set[int]:
        """The workers of the cluster, below their nannies."""
        return {pid for pid in below(self._cluster, parents()) if "spawn_main" in command(pid)}

    async def kill(self, what: str, every: float) -> None:
        """Kill one at random moments, on the average each so many seconds; until it is over."""
        while not self.is_over:
            await anyio.sleep(self._draw.uniform(0.5, 1.5) * every)
            found = sorted(self.workers())
            if what == "dask":
                found = sorted(pid for pid in self.on_dask() if age(pid) > GROWN_UP)
            if found:
                with suppress(ProcessLookupError):
                    os.kill(self._draw.choice(found), signal.SIGKILL)
                    self.kills[what] += 1
