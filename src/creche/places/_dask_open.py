"""An open Dask place: a piece of work goes out, and what came of it comes back.

What it is for: packing, sending, parking until it has landed; and stopping it when it is cancelled.

What it does not know: keys, slots; how many calls share a message to the cluster.

Invariant: a cancelled call is let go when it has stopped, or `grace` seconds after it was told to, and
what a worker does is waited for no longer than that.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, final

from outcome import Error, Value

from creche._backend import Backend
from creche._errors import CallCrashed, StopCall
from creche._far._body import DESERIALIZE, EXIT, SERIALIZE
from creche._place import Host, Keepsake, Work

from . import _dask_worker as far
from ._dask_cluster import Connection
from ._dask_flight import (
    STOPPED,
    UNFED,
    Flight,
    Stopped,
    Strayed,
    Unfed,
    check_options,
    errand,
    next_mark,
)
from ._dask_stopping import Stopping
from ._dask_traffic import Traffic
from ._requests import pack

# Kinds of crashes that the answer of a call tells of.
_ANSWERED = frozenset({EXIT, SERIALIZE, DESERIALIZE})

# Place options by which a call can run on some workers only.
_TIES = frozenset({"resources", "workers"})


@final
class Kept:
    """What is left in a keepsake: the cluster keeps a result as long as this is there.

    Attributes:
        future: of Dask's.
    """

    def __init__(self, connection: Connection, mark: str, future: Any) -> None:  # noqa: ANN401 - Dask's
        self.future = future
        self._connection = connection
        self._mark = mark
        connection.hold(mark)

    def __del__(self) -> None:
        self._connection.release(self._mark)


@final
class OpenDask:
    """A Dask cluster while a run is open; made on the loop's thread."""

    def __init__(
        self,
        backend: Backend,
        host: Host,
        connection: Connection,
        grace: float,
        on_stuck: str,
    ) -> None:
        self._backend = backend
        self._loop = host.loop
        self._at = host.runner_name, "dask"
        self._connection = connection
        self._folder = connection.folder
        self._grace = grace
        self._run = uuid.uuid4().hex[:8]
        post = backend.poster()
        self._traffic = Traffic(connection, post)
        self._stopping = Stopping(connection, post, self._traffic, restart=on_stuck == "restart")

    async def run(self, work: Work) -> Value[Any] | Error:
        """Have a piece of work done on the cluster; see `OpenPlace.run`.

        Args:
            work: what to do.

        Returns:
            what the user's code returned or raised.

        Raises:
            CallCrashed: it could not be carried through.
            StopCall: a cancellation came out of it that nobody made.
            TypeError: a place option is of the wrong type.
            ValueError: there is no such place option.
        """
        flight = self._pack(*self._fed(work))
        try:
            await self._fly(flight)
            if flight.landed is UNFED:  # then all that it takes is sent from here
                flight = self._pack(work, ())
                await self._fly(flight)
            return _read(flight)
        finally:
            del flight  # an exception leads back to this frame

    async def _fly(self, flight: Flight) -> None:
        """Send it, and park until it has landed.

        Raises:
            CallCrashed: it could not be sent.
        """
        self._traffic.send(flight)
        try:
            await self._backend.park(flight)
        except self._backend.cancelled:
            await self._stop(flight)
            if not _has_ended(flight):
                raise
            # Before it could be stopped, or in another way.
        except BaseException:
            self._stopping.ask(flight)  # Ctrl-C does not wait
            raise
        finally:
            del flight  # an exception leads back to this frame

    def _fed(self, work: Work) -> tuple[Work, list[Any]]:
        """The work with what the cluster has already left out, and the futures of that."""
        if work.feed is None:
            return work, []
        inputs: dict[Any, far.Fed] = {}

        def swap(keepsake: Keepsake, value: Any) -> Any:  # noqa: ANN401 - whatever a call gave
            if keepsake.left is None:
                return value
            return inputs.setdefault(keepsake.left.future, far.Fed(len(inputs)))

        fn, args = work.feed(swap)
        return work._replace(fn=fn, args=args), list(inputs)

    def _pack(self, work: Work, inputs: Sequence[Any]) -> Flight:
        options = check_options(work.options) if work.options else {}
        name = getattr(work.fn, "__name__", None) or type(work.fn).__name__
        mark = next_mark(self._run)
        parts = pack(work, self._loop, at=self._at, in_band=True)
        blob = errand(self._folder, mark, parts, len(inputs))
        find = work.keepsake
        # What may be made on some workers only could not be made again without these: then whatever
        # takes it would wait for ever.
        keep = None if find is None or options.keys() & _TIES else partial(self._keep, find)
        return Flight(work.key, name, mark, blob, options, inputs, keep)

    def _keep(self, find: Callable[[], Keepsake | None], flight: Flight) -> None:
        """The flight has landed with a value: that stays on the cluster, if other calls will take it."""
        keepsake = find()
        if keepsake is not None and flight.future.status == "finished":
            keepsake.left = Kept(self._connection, flight.mark, flight.future)

    async def _stop(self, flight: Flight) -> None:
        """Have it stopped, behind a shield, and give it some time for that."""
        backend = self._backend
        if not self._traffic.drop(flight):
            self._stopping.ask(flight)
            # A `Task.cancel` of asyncio's own goes through a shield: then it is not waited for.
            with suppress(backend.cancelled):
                await self._wait(flight, self._grace)
                if flight.landed is None:
                    self._stopping.give_up(flight)
                    await self._wait(flight, self._stopping.patience)
        self._traffic.forget([flight])
        flight.land(STOPPED)

    async def _wait(self, flight: Flight, seconds: float) -> None:
        backend = self._backend
        deadline = backend.current_time() + seconds
        with backend.open_scope(deadline=deadline, shield=True):
            while flight.landed is None:
                await backend.park(flight)

    def close(self) -> None:
        """No more calls; those under way have ended."""
        self._traffic.close()


def _has_ended(flight: Flight) -> bool:
    """Whether the call itself has, and not only what carried it out."""
    landed = flight.landed
    return isinstance(landed, (Value, Error)) or (
        isinstance(landed, CallCrashed) and landed.kind in _ANSWERED
    )


def _read(flight: Flight) -> Value[Any] | Error:
    landed = flight.landed
    if isinstance(landed, (Value, Error)):
        return landed
    if isinstance(landed, Strayed):
        raise StopCall
    if isinstance(landed, (Stopped, Unfed)) or landed is None:  # somebody else has told it to stop
        raise CallCrashed(
            flight.key, "stopped", "it was stopped on the cluster, and nobody here asked for it"
        )
    try:
        raise landed
    finally:
        del landed, flight  # an exception leads back to this frame
