"""What goes to a Dask cluster and comes back, many calls at a time.

What it is for: a message to the cluster costs about as much as carrying out a hundred small calls. So
one thread sends all that is queued with one `client.map`; another one gathers all that has finished, and
wakes the loop once for it.

What it does not know: user code, cancellation, loops.

Invariant: a flight that was sent lands. What nobody will answer any more, since the scheduler is gone,
is CRASHED at once, and so is what is sent after that.
"""

from __future__ import annotations

import importlib
import pickle
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, final

from outcome import Error, Value

from ._dask_cluster import Connection
from ._dask_faults import Verdict, judge, scheduler_lost
from ._dask_flight import STOPPED, UNFED, Flight, Landed
from ._dask_threads import start, within

# A message takes milliseconds, however few calls it is about.
_AT_ONCE = 1000
_BYTES_AT_ONCE = 1_000_000
# While more is under way, what has finished waits for company, the longer the more there is: seconds for
# each call that is out, and at most.
_LINGER, _LONGEST = 0.0002, 0.03
# Gathering may wait for a value that was lost with its worker, and is being made again: others go on.
_PATIENCE = 0.5
_PATIENCE_OF_GATHER = 3.0
_MOST_ATTEMPTS = 50


@final
class Traffic:
    """Of one run."""

    def __init__(self, connection: Connection, post: Callable[[Callable[[], object]], None]) -> None:
        self._connection = connection
        self._post = post
        self._lock = threading.Lock()
        self._outbox: queue.SimpleQueue[Flight | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Flight | None] = queue.SimpleQueue()
        # Sent, and not seen back: by the name that Dask knows.
        self._aloft: dict[str, Flight] = {}
        self._is_lost = False
        start(self._keep_sending, "creche dask sender")
        start(self._keep_receiving, "creche dask receiver")

    # On the loop's thread ---------------------------------------------------------------------------

    def send(self, flight: Flight) -> None:
        """Send it soon.

        Raises:
            CallCrashed: the scheduler is gone.
        """
        if self._is_lost:
            if not self._connection.is_up:
                raise scheduler_lost(flight)
            self._is_lost = False
        self._outbox.put(flight)

    def drop(self, flight: Flight) -> bool:
        """Do not send it after all; False when it was sent already."""
        with self._lock:
            flight.dropped = not flight.sent
            return flight.dropped

    def close(self) -> None:
        """Nothing is sent any more."""
        self._outbox.put(None)
        self._ready.put(None)

    # Sending ----------------------------------------------------------------------------------------

    def _keep_sending(self) -> None:
        waiting: Flight | None = None
        while True:
            flight = waiting or self._outbox.get()
            waiting = None
            if flight is None:
                return
            batch, size = [flight], len(flight.blob)
            while len(batch) < _AT_ONCE and size < _BYTES_AT_ONCE:
                try:
                    flight = self._outbox.get_nowait()
                except queue.Empty:
                    break
                if flight is None:
                    return
                if flight.group != batch[0].group:
                    waiting = flight
                    break
                batch.append(flight)
                size += len(flight.blob)
            self._send_all(batch, size)

    def _send_all(self, batch: list[Flight], size: int) -> None:
        with self._lock:
            batch = [flight for flight in batch if not flight.dropped]
            for flight in batch:
                flight.sent = True
                self._aloft[flight.dask_key] = flight
        if not batch:
            return
        try:
            if not self._connection.is_up:
                self._lose()
                return
            futures = self._map(batch, size)
        except Exception as exc:  # noqa: BLE001 - it is what these calls are CRASHED with
            self.bring_back(
                [
                    (flight, UNFED if flight.inputs else flight.crash("dask", _said(exc), exc))
                    for flight in batch
                ]
            )
            return
        for flight, future in zip(batch, futures, strict=True):
            flight.future = future
            future.add_done_callback(partial(self._on_done, flight))
        if not self._connection.is_up:
            # It may have been lost between: Dask keeps for later what is sent then, and says nothing.
            self._lose()

    def _map(self, batch: list[Flight], size: int) -> Sequence[Any]:
        options = dict(batch[0].options)
        dask = importlib.import_module("dask")
        with ExitStack() as around:
            if "annotations" in options:
                around.enter_context(dask.annotate(**options.pop("annotations")))
            if size >= _BYTES_AT_ONCE:
                # A large argument is the user's wish, and no reason for a warning about graphs.
                setting = "distributed.admin.large-graph-warning-threshold"
                around.enter_context(dask.config.set({setting: "1 PiB"}))
            client, first = self._connection.client, batch[0]
            if first.inputs:  # it is the only one
                given = {"key": first.dask_key, "pure": False, "retries": 0, **options}
                return [client.submit(pickle.loads, first.blob, buffers=list(first.inputs), **given)]
            return client.map(  # type: ignore[no-any-return]  # distributed has no types
                pickle.loads,
                [flight.blob for flight in batch],
                key=[flight.dask_key for flight in batch],
                pure=False,
                retries=0,
                **options,
            )

    # Receiving --------------------------------------------------------------------------------------

    def _on_done(self, flight: Flight, future: object) -> None:
        """In the one thread that Dask has for this: nothing slow."""
        del future
        self._ready.put(flight)

    def _keep_receiving(self) -> None:
        while True:
            try:
                flight = self._ready.get(timeout=1.0)
            except queue.Empty:
                if self._aloft and not self._connection.is_up:
                    self._lose()
                continue
            batch = [] if flight is None else [flight]
            if len(self._aloft) > 1:
                time.sleep(min(_LONGEST, _LINGER * len(self._aloft)))
            with suppress(queue.Empty):
                while flight is not None:
                    flight = self._ready.get_nowait()
                    if flight is not None:
                        batch.append(flight)
            if batch:
                start(partial(self._collect, batch), "creche dask gather").join(_PATIENCE)
            if flight is None:
                return

    def _collect(self, batch: list[Flight]) -> None:
        # One that was given up meanwhile is not aloft any more.
        out = [(flight, flight.future) for flight in batch if flight.dask_key in self._aloft]
        out = [(flight, future) for flight, future in out if future is not None]
        blobs = self._fetch([pair for pair in out if pair[1].status == "finished"])
        landed: list[tuple[Flight, Landed]] = []
        for flight, future in out:
            verdict = judge(self._connection, flight, future, blobs.get(flight.dask_key))
            if verdict is Verdict.LATER:
                future.add_done_callback(partial(self._on_done, flight))
            elif verdict is Verdict.AGAIN:
                self._send_again(flight)
            else:
                landed.append((flight, verdict))
        self.bring_back(landed)

    def _fetch(self, finished: list[tuple[Flight, Any]]) -> dict[str, Any]:
        """Their answers, by the names that Dask knows; without those that do not come at once."""
        blobs: dict[str, Any] = {}
        away: list[tuple[Flight, Any]] = []
        for flight, future in finished:
            # On this machine it lies there, and need not pass through the scheduler.
            blob = blobs[flight.dask_key] = self._connection.answer_kept(flight.mark)
            if blob is None:
                away.append((flight, future))
        if away:
            # A value whose worker is lost, or frozen, is waited for by those alone that it belongs to.
            gather = partial(self._connection.client.gather, [one for _, one in away], errors="skip")
            came: list[Any] = within(_PATIENCE_OF_GATHER, gather, [])
            if len(came) == len(away):
                blobs.update(
                    (flight.dask_key, blob) for (flight, _), blob in zip(away, came, strict=True)
                )
        return blobs

    def _send_again(self, flight: Flight) -> None:
        del self._aloft[flight.dask_key]
        if flight.stopping:
            self.bring_back([(flight, STOPPED)])
        elif flight.again(_MOST_ATTEMPTS):
            self._outbox.put(flight)
        else:
            detail = "the workers that it was queued on died, again and again"
            self.bring_back([(flight, flight.crash("worker-died", detail))])

    # Both -------------------------------------------------------------------------------------------

    def forget(self, flights: list[Flight]) -> None:
        """These are given up; what comes of them is of no interest."""
        for flight in flights:
            self._aloft.pop(flight.dask_key, None)

    def bring_back(self, landed: list[tuple[Flight, Landed]]) -> None:
        """Wake those who wait for these; from any thread."""
        for flight, what in landed:
            self._aloft.pop(flight.dask_key, None)
            if isinstance(what, (Value, Error)):
                self._connection.forget(flight.mark)
        if landed:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._post(partial(_land, landed))

    def _lose(self) -> None:
        """The scheduler is gone: nothing that is out will be answered."""
        self._is_lost = True
        self.bring_back([(flight, scheduler_lost(flight)) for flight in list(self._aloft.values())])


def _land(landed: list[tuple[Flight, Landed]]) -> None:
    for flight, what in landed:
        flight.land(what)


def _said(exc: BaseException) -> str:
    return f"it could not be sent: {type(exc).__name__}: {exc}"
