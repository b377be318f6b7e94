"""What has come of a call on Dask, from what Dask says of its future.

What it is for: the one place that knows Dask's errors, and what they are called here.

What it does not know: how futures are gathered; user code, whose errors travel as bytes.

Invariant: whatever Dask says, there is a verdict.
"""

from __future__ import annotations

import enum
from concurrent.futures import CancelledError
from typing import Any, final

from creche._errors import CallCrashed, StopCall
from creche._far._pickling import Part

from . import _dask_worker as far
from ._answers import CANCELLED_THERE, unpack
from ._dask_cluster import Connection
from ._dask_flight import STOPPED, STRAYED, UNFED, Flight, Landed, Stopped, Unfed

_SECONDS = 0.5


@final
class Verdict(enum.Enum):
    """What is not the end of a call.

    Attributes:
        AGAIN: it has not begun, and its worker is gone: send it again.
        LATER: what has come of it is not there yet, or not any more: Dask makes it again.
    """

    AGAIN = enum.auto()
    LATER = enum.auto()


def scheduler_lost(flight: Flight) -> CallCrashed:
    """The scheduler is gone, with all that it knew."""
    return flight.crash("scheduler-lost", "the connection to the Dask scheduler was lost")


def judge(
    connection: Connection,
    flight: Flight,
    future: Any,  # noqa: ANN401 - of Dask's
    blob: Any,  # noqa: ANN401 - whatever was gathered
) -> Landed | Verdict:
    """What has come of a call; in a thread.

    Args:
        connection: to ask about workers.
        flight: the call.
        future: of it; done.
        blob: what was gathered, if it was.

    Returns:
        what to land it with.
    """
    try:
        return _judge(connection, flight, future, blob)
    except Exception as exc:  # noqa: BLE001 - of something that nobody has thought of
        return flight.crash(
            "dask", f"what has come of it cannot be told: {type(exc).__name__}: {exc}", exc
        )


def _judge(
    connection: Connection,
    flight: Flight,
    future: Any,  # noqa: ANN401 - as above
    blob: Any,  # noqa: ANN401 - as above
) -> Landed | Verdict:
    if blob is None:
        blob = connection.answer_kept(flight.mark)
    if blob is None:
        try:
            blob = future.result(timeout=_SECONDS)
        except TimeoutError:
            return Verdict.LATER
        except CancelledError as exc:
            return _cancelled(flight, exc)
        except BaseException as exc:  # noqa: BLE001 - whatever Dask, or the way to it, has raised
            return _failed(connection, flight, exc)
    if blob == far.BEGUN:
        return flight.crash("worker-died", "the worker that had begun it was lost")
    if blob == far.UNFED:
        return UNFED
    return STOPPED if blob == far.STOPPED else _opened(flight, blob)


def _opened(flight: Flight, blob: Part) -> Landed:
    try:
        return unpack(flight.key, [blob])
    except StopCall:
        return STRAYED
    except CallCrashed as exc:
        return STOPPED if exc.kind == CANCELLED_THERE else exc


def _cancelled(flight: Flight, exc: BaseException) -> Exception | Stopped | Unfed:
    if flight.stopping:
        return STOPPED
    reason = getattr(exc, "reason", None)
    if reason == "scheduler-connection-lost":
        return scheduler_lost(flight)
    if reason == "lost dependencies":  # it was not even taken on
        return UNFED
    if reason == "scheduler-restart":
        return flight.crash("worker-died", "somebody has restarted the cluster", exc)
    return flight.crash("dask", f"somebody has cancelled it on the cluster: {exc}", exc)


def _failed(
    connection: Connection, flight: Flight, exc: BaseException
) -> Exception | Stopped | Unfed | Verdict:
    kind = type(exc).__name__
    if kind == "KilledWorker":
        if flight.stopping:
            return STOPPED
        worker = _worker(exc)
        if not connection.has_begun(flight.mark, worker):
            # With inputs it may be one of those that has killed the worker, being made again.
            return UNFED if flight.inputs else Verdict.AGAIN
        return flight.crash("worker-died", f"the worker at {worker} died while it ran it", exc)
    if isinstance(exc, ImportError):
        detail = f"the worker cannot import what it takes to run it: {exc}; install that there, too"
        return flight.crash("deserialize", detail, exc)
    if not connection.is_up:
        return scheduler_lost(flight)
    return flight.crash("dask", f"{kind}: {exc}", exc)


def _worker(exc: BaseException) -> str:
    """The address that a `KilledWorker` names."""
    return str(getattr(getattr(exc, "last_worker", None), "address", "?"))
