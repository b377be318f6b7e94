"""Stopping calls on a Dask cluster.

What it is for: Dask forgets a task that is cancelled, and leaves its thread running. So a call is told
to stop on its worker, whose own loop is free to hear it, and answers by ending; one that has not begun
is taken out of Dask's queue.

What it does not know: who waits for that, and how long.

Invariant: nothing here blocks the loop. What hangs with the cluster hangs in a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import final

from creche._log import logger

from . import _dask_worker as far
from ._dask_cluster import Connection
from ._dask_flight import STOPPED, Flight
from ._dask_threads import start, within
from ._dask_traffic import Traffic

# Seconds in which a worker whose own loop is free has heard it.
_HEARS = 1.0


@final
class Stopping:
    """Of one run; used on the loop's thread.

    Attributes:
        patience: seconds that giving a call up may take.
    """

    def __init__(
        self,
        connection: Connection,
        post: Callable[[Callable[[], object]], None],
        traffic: Traffic,
        *,
        restart: bool,
    ) -> None:
        self._connection = connection
        self._post = post
        self._traffic = traffic
        self._restart = restart
        self.patience = 15.0 if restart else 5.0
        # What was asked for in this turn of the loop shares one message each.
        self._asked: list[Flight] = []
        self._given_up: list[Flight] = []

    def ask(self, flight: Flight) -> None:
        """Tell a call to stop; it lands as stopped, or with what has come of it."""
        flight.stopping = True
        if not self._asked:
            self._post(self._ask_all)
        self._asked.append(flight)

    def _ask_all(self) -> None:
        flights, self._asked = self._asked, []
        start(partial(self._tell, flights), "creche dask stop")

    def _tell(self, flights: list[Flight]) -> None:
        """In a thread of its own."""
        client = self._connection.client
        try:
            _await_sending(flights)
            where = _places(client.processing(), {flight.dask_key for flight in flights})
            self._take_back([flight for flight in flights if flight.dask_key not in where])
            there = [flight for flight in flights if flight.dask_key in where]
            marks = [flight.mark for flight in there]
            # Not to every worker: one that is frozen would be waited for.
            workers = sorted(set(where.values()))
            said = (
                client.run(far.tell_to_stop, marks, workers=workers, on_error="ignore") if there else {}
            )
            running = {mark for hit in said.values() for mark in hit}
            waiting = [flight for flight in flights if flight.mark not in running]
            self._take_back([flight for flight in waiting if flight.dask_key in where])
            if waiting:
                # One may have begun between the question and this.
                marks = [flight.mark for flight in waiting]
                client.run(far.tell_to_stop, marks, on_error="ignore")
        except Exception as exc:  # noqa: BLE001 - whoever waits gives it up then
            logger.debug("calls could not be told to stop: %r", exc)

    def _take_back(self, flights: list[Flight]) -> None:
        """Out of Dask's queue; one that has ended lands with what has come of it."""
        futures = [flight.future for flight in flights]
        futures = [future for future in futures if future is not None and future.status == "pending"]
        if futures:
            self._connection.client.cancel(futures, reason="creche", msg="cancelled by its submitter")

    def give_up(self, flight: Flight) -> None:
        """It has not stopped: forget it, and restart its worker if that is wanted."""
        if not self._given_up:
            self._post(self._give_up_all)
        self._given_up.append(flight)

    def _give_up_all(self) -> None:
        flights, self._given_up = self._given_up, []
        start(partial(self._abandon, flights), "creche dask stop")

    def _abandon(self, flights: list[Flight]) -> None:
        """In a thread of its own."""
        client = self._connection.client
        keys = [flight.key for flight in flights]
        try:
            futures = {flight.dask_key: future for flight in flights if (future := flight.future)}
            where: dict[str, str] = {}
            where = within(2.0, lambda: _places(client.processing(), set(futures)), where)
            self._traffic.forget(flights)
            client.cancel(list(futures.values()), reason="creche", msg="given up", force=True)
            if not (self._restart and where and self._end_workers(sorted(set(where.values())), keys)):
                logger.warning("cancelled calls do not stop, and are left to themselves: %r", keys)
        except Exception as exc:  # noqa: BLE001 - they are given up all the same
            logger.warning("calls that do not stop could not be given up: %r", exc)
        self._post_landed(flights)

    def _end_workers(self, workers: list[str], keys: list[Hashable]) -> bool:
        """In a thread: have workers end at once; by their nannies, should they not hear it.

        Args:
            workers: their addresses.
            keys: of the calls for which that is done.

        Returns:
            False when nobody would start them again: then they are left.
        """
        client = self._connection.client
        known = client.scheduler_info(n_workers=-1)["workers"]
        nursed = [worker for worker in workers if known.get(worker, {}).get("nanny")]
        if not nursed:
            return False
        logger.warning("restarting workers, as cancelled calls do not stop: %r", keys)
        within(_HEARS, lambda: client.run(far.leave, workers=nursed, on_error="ignore"), None)
        left = [worker for worker in nursed if worker in client.nthreads()]
        if left:
            client.restart_workers(left, timeout=self.patience - 5, raise_for_error=False)
        return True

    def _post_landed(self, flights: list[Flight]) -> None:
        self._traffic.bring_back([(flight, STOPPED) for flight in flights])


def _await_sending(flights: list[Flight]) -> None:
    """Some are being sent just now: that is a matter of milliseconds."""
    until = time.monotonic() + 2
    while time.monotonic() < until and any(
        flight.future is None and flight.landed is None for flight in flights
    ):
        time.sleep(0.005)


def _places(processing: dict[str, tuple[str, ...]], wanted: set[str]) -> dict[str, str]:
    """Which worker has which of these keys."""
    return {key: worker for worker, keys in processing.items() for key in keys if key in wanted}
