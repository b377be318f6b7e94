"""The threads of a soak that are not the runner's: without a loop, on trio, and on asyncio.

What it does not know: how calls are accounted for; that is the ledger's.

Invariant: each has a steady rate of its own, and the next trip is due when it is due: one that took long
makes those behind it late, which counts as their time.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import anyio
import errands
import trio
from trips import CANCELLED, DONE, ELSEWHERE, FAILED, TIMED, Desk

from creche import Slot

Note = Callable[[str, float], None]
"""Hears of the kind of a trip, and of the seconds that it took since it was due."""


class Hand:
    """A thread at work."""

    def __init__(self, desk: Desk, way: str, rate: float, note: Note) -> None:
        self.desk = desk
        self.trips = 0
        self._every = 1 / rate
        self._note = note
        self._stop = threading.Event()
        ways = {"plain": self._plain, "trio": self._on_trio, "asyncio": self._on_asyncio}
        self._thread = threading.Thread(target=self._main, args=(ways[way],), name=f"{way} hand")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """No further trip is begun; those under way end."""
        self._stop.set()

    def join(self) -> None:
        """Block until it has ended."""
        self._thread.join()

    def _main(self, way: Callable[[], None]) -> None:
        try:
            way()
        except BaseException as exc:
            self.desk.ledger.wrong(f"{self._thread.name} has ended: {exc!r}")

    # Without a loop ----------------------------------------------------------------------------------

    def _plain(self) -> None:
        trips = [self._value, self._cancel, self._fail, self._map, self._time_out]
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            trip = self.desk.draw.choices(trips, [8, 2, 2, 1, 1])[0]
            trip()
            if trip == self._value:
                self._note("foreign", time.monotonic() - due)
            self.trips += 1
            due += self._every

    def _value(self) -> None:
        key = self.desk.ledger.key("foreign", DONE)
        portal = self.desk.runner.from_thread
        slot: Slot[Any] = portal.submit(key, errands.give, key)
        self.desk.told(slot, portal.wait(slot, timeout=60), key)

    def _cancel(self) -> None:
        key = self.desk.ledger.key("foreign-cancel", CANCELLED)
        portal = self.desk.runner.from_thread
        slot: Slot[Any] = portal.submit(key, errands.give_after, key, 3600)
        portal.wait(slot, timeout=self.desk.draw.choice([0, 0.005]))
        portal.cancel(slot)
        self.desk.told(slot, portal.wait(slot, timeout=60))

    def _fail(self) -> None:
        key = self.desk.ledger.key("foreign-fail", FAILED)
        portal = self.desk.runner.from_thread
        slot: Slot[Any] = portal.submit(key, errands.refuse, key)
        self.desk.told(slot, portal.wait(slot, timeout=60))

    def _map(self) -> None:
        keys = [self.desk.ledger.key("foreign-map", DONE) for _ in range(4)]
        portal = self.desk.runner.from_thread
        if portal.map(errands.give, keys, key=lambda key: key) != keys:
            self.desk.ledger.wrong(f"{keys!r}: map gave something else")
        for key in keys:  # it has read them, and forgotten them
            self.desk.ledger.tell(key, DONE)

    def _time_out(self) -> None:
        key = self.desk.ledger.key("foreign-timeout", FAILED)
        portal = self.desk.runner.from_thread
        slot: Slot[Any] = portal.submit(key, errands.give_after, key, 3600, timeout=0.01)
        try:
            portal.result(slot, timeout=60)
        except (TimeoutError, CancelledError):
            self.desk.told(slot, slot.outcome)

    # On a loop of its own ----------------------------------------------------------------------------

    def _on_trio(self) -> None:
        trio.run(self._tasks)

    def _on_asyncio(self) -> None:
        asyncio.run(self._tasks())

    async def _tasks(self) -> None:
        due = time.monotonic()
        trips, weights = list(ELSEWHERE), list(ELSEWHERE.values())
        async with anyio.create_task_group() as group:
            while not self._stop.is_set():
                group.start_soon(self._one, self.desk.draw.choices(trips, weights)[0], due)
                self.trips += 1
                due += self._every
                await anyio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self, trip: Any, due: float) -> None:
        try:
            await trip(self.desk)
        except Exception as exc:
            self.desk.ledger.wrong(f"a trip from another loop, {trip.__name__}, has raised {exc!r}")
        else:
            if trip in TIMED:
                self._note(f"other loop, {TIMED[trip]}", time.monotonic() - due)


def some_hands(desk: Desk, rate: float, note: Note, seed: int) -> list[Hand]:
    """Two without a loop, one on trio, one on asyncio, which make so many trips in a second together."""
    ways = ["plain", "plain", "trio", "asyncio"]
    return [
        Hand(desk._replace(draw=random.Random(f"{seed} {number}")), way, rate / len(ways), note)
        for number, way in enumerate(ways)
    ]
