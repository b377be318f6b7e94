"""One soak: a runner of all places, who uses it, who kills its workers, and who looks at it.

What it is for: it runs on the loop that it is awaited on, for as long as it is told, at a steady rate.

What it does not know: command lines; what a good run is.

Invariant: arrivals are open-loop: each trip has a time at which it is due, whether those before it have
ended or not, and its latency is counted from there.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from hands import some_hands
from killing import Killer
from ledger import Ledger
from machine import Yardstick
from sampling import Sampler
from trips import NEED_DASK, TIMED, TRIPS, Desk, Trip, crowded, in_a_process, on_dask

from creche import ConcurrentTaskRunner
from creche.places import DaskPlace, ProcessPlace
from creche.testing import leaks
from creche.testing._leaks import LeakError
from dask_clusters import Cluster

KEPT = 256
"""Settled slots that stay on the board until they are forgotten."""

PATIENCE = 120.0


@dataclass(frozen=True)
class Plan:
    """How long, how much, and with what.

    Attributes:
        seconds: how long trips are begun.
        rate: trips begun in a second; a third of them by threads that are not the runner's.
        every: seconds from sample to sample.
        kill_every: seconds from kill to kill of a worker process, on the average.
        kill_dask_every: the same of a worker of Dask's.
        has_dask: whether there is a cluster.
        seed: of everything that is drawn.
    """

    seconds: float
    rate: float = 40.0
    every: float = 2.0
    kill_every: float = 5.0
    kill_dask_every: float = 20.0
    has_dask: bool = True
    seed: int = 1


# Short logs of the scheduler's: they grow to a hundred thousand entries each otherwise, over there.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "500",
    "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
}


class Soak:
    """A run of it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.ledger = Ledger()
        self.samples = folder / "samples.jsonl"
        self._folder = folder
        self._draw = random.Random(plan.seed)

    async def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Soak; then what was there at the end, for `verdict.judge`."""
        left: list[str] = []
        try:
            async with leaks(grace=10):
                kills = await self._with_helpers(say)
        except LeakError as exc:
            left = exc.left
        ledger = self.ledger
        return {
            "errors": [*ledger.errors],
            "error_count": ledger.error_count,
            "still_open": ledger.still_open(),
            "left": left,
            "kills": kills,
            "crashes": dict(ledger.crashes),
            "states": dict(ledger.states),
            "retries": ledger.retries,
            "keys": ledger.opened,
            "withdrawn": ledger.withdrawn,
            "cores": os.cpu_count() or 1,
        }

    async def _with_helpers(self, say: Callable[[str], None]) -> dict[str, int]:
        with ExitStack() as stack:
            yardstick = stack.enter_context(Yardstick(self.plan.every / 2))
            cluster = None
            if self.plan.has_dask:
                cluster = Cluster(self._folder, workers=2, settings=SETTINGS)
                stack.callback(cluster.close)
            return await self._with_runner(yardstick, cluster, say)

    async def _with_runner(
        self, yardstick: Yardstick, cluster: Cluster | None, say: Callable[[str], None]
    ) -> dict[str, int]:
        processes = ProcessPlace(max_workers=2)
        others = [one.pid for one in cluster.processes] if cluster else []
        killer = Killer(self._draw, [yardstick.pid], others)
        runner = ConcurrentTaskRunner(64, max_pending=64, limits={"few": 3}, instruments=[self.ledger])
        desk = Desk(runner, self.ledger, processes, self._draw)
        if cluster is not None:
            desk = desk._replace(dask=DaskPlace(cluster.address))
        async with runner.start():
            sampler = Sampler(runner, self.ledger, killer, yardstick, self.samples, others)
            hands = some_hands(desk, self.plan.rate / 3, sampler.note, self.plan.seed)
            async with anyio.create_task_group() as helpers:
                helpers.start_soon(killer.kill, "process", self.plan.kill_every)
                helpers.start_soon(self._forget, runner)
                with anyio.fail_after(PATIENCE):
                    await self._warm(desk)
                if cluster is not None:
                    helpers.start_soon(killer.kill, "dask", self.plan.kill_dask_every)
                helpers.start_soon(sampler.run, self.plan.every)
                for hand in hands:
                    hand.start()
                try:
                    with anyio.move_on_after(self.plan.seconds + PATIENCE) as scope:
                        await self._arrive(desk, sampler, killer, say)
                finally:
                    for hand in hands:
                        hand.stop()
                if scope.cancelled_caught:
                    self.ledger.wrong("trips have not ended in two minutes")
                    say(runner.dump())
                    runner.cancel_all(reason="the soak is over")
                for hand in hands:
                    await anyio.to_thread.run_sync(hand.join)
                await runner.until_idle()
                helpers.cancel_scope.cancel()
        if any(not slot.done for slot in runner.slots.values()):
            self.ledger.wrong("a slot is not final after the run")
        say(f"{sum(hand.trips for hand in hands):,} trips were made by other threads")
        return killer.kills

    async def _warm(self, desk: Desk) -> None:
        """A cluster takes seconds to come up, which is nobody's latency; a crowd makes many carriers."""
        for trip in [crowded, in_a_process, *([on_dask] if desk.dask else [])]:
            await trip(desk)

    async def _arrive(
        self, desk: Desk, sampler: Sampler, killer: Killer, say: Callable[[str], None]
    ) -> None:
        """Begin trips when they are due, and wait for the last of them."""
        chosen = {trip: weight for trip, weight in TRIPS.items() if desk.dask or trip not in NEED_DASK}
        trips, weights = list(chosen), list(chosen.values())
        every = 1 / (self.plan.rate * 2 / 3)
        begun = due = time.monotonic()
        said = begun
        async with anyio.create_task_group() as group:
            while due - begun < self.plan.seconds:
                await anyio.sleep(max(0.0, due - time.monotonic()))
                group.start_soon(self._one, self._draw.choices(trips, weights)[0], desk, sampler, due)
                due += every
                if due - said > 60:
                    said = due
                    say(f"{(due - begun) / 60:.0f} min, {sum(self.ledger.states.values()):,} calls")
            # Those under way shall end, on a machine where a worker takes long to start, too.
            killer.is_over = True

    async def _one(self, trip: Trip, desk: Desk, sampler: Sampler, due: float) -> None:
        try:
            await trip(desk)
        except Exception as exc:
            self.ledger.wrong(f"a trip, {trip.__name__}, has raised {exc!r}")
        else:
            if trip in TIMED:
                sampler.note(TIMED[trip], time.monotonic() - due)

    async def _forget(self, runner: ConcurrentTaskRunner) -> None:
        """Keep the board short: what is closed in the books is forgotten after a while, or popped."""
        while True:
            await anyio.sleep(0.1)
            while len(self.ledger.closed) > KEPT:
                key = self.ledger.closed.popleft()
                if key in runner:  # `map` has forgotten its own
                    if self._draw.random() < 0.5:
                        runner.forget(key)
                    elif not runner.pop(key).done:
                        self.ledger.wrong(f"{key!r} was popped, and is not final")
