"""`DaskTaskRunner`: every call runs on a Dask cluster.

What it does not know: Dask; that is the affair of `creche.places.DaskPlace`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, final

from creche._base import TaskConcurrencyType
from creche._events import Instrument
from creche._limits import Limit, Limiter
from creche._options import NO_LIMITS, read_options
from creche._queueing import QueueingTaskRunner
from creche._rates import Rate


@final
class DaskTaskRunner(QueueingTaskRunner):
    """Runs every call on a Dask cluster (extra ``creche[dask]``).

    With nothing given it starts a cluster of processes on this machine, and closes it with itself; an
    existing one, by its address or as an object, survives it. A cancel and a time limit reach the
    worker. What Dask loses is CRASHED with a `CallCrashed`; what it finishes and then loses before it
    was read may run twice.
    """

    def __init__(  # noqa: PLR0913 - its settings
        self,
        address: str | None = None,
        cluster: Any = None,  # noqa: ANN401 - of a class of Dask's, which need not be installed
        cluster_class: Any = None,  # noqa: ANN401 - the same
        cluster_kwargs: Mapping[str, Any] | None = None,
        adapt_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        *,
        max_workers: int | None = None,
        max_pending: int | None = None,
        on_error: Literal["collect", "cancel"] = "collect",
        retain: bool = True,
        ageing: float | None = None,
        grace: float | None = 0,
        limits: Mapping[str, int | Limiter | Rate | Limit] = NO_LIMITS,
        rate: Rate | float | None = None,
        instruments: Iterable[Instrument] = (),
        cancel_grace: float = 2.0,
        on_stuck: Literal["abandon", "restart"] | None = None,
    ) -> None:
        """Set a runner up; nothing is started, and nobody is called.

        Args:
            address: of the scheduler of a cluster that is there.
            cluster: a cluster object that is there.
            cluster_class: of the cluster to start, or where to import it from; by default
                `distributed.LocalCluster`, of processes.
            cluster_kwargs: what it is made with.
            adapt_kwargs: what its `adapt` is called with; `None` for a cluster of one size.
            client_kwargs: what the `distributed.Client` is made with.
            max_workers: how many calls are on the cluster at once; `None` for no limit.
            max_pending: how many calls may wait for that; see `ConcurrentTaskRunner`.
            on_error: `"collect"` or `"cancel"`; see `ConcurrentTaskRunner`. A crash counts as a failure.
            retain: whether settled calls stay on the board.
            ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
            grace: how many seconds running calls get when the run is cancelled from outside; `None`: as
                long as they need.
            limits: what calls may need beside, by name; see `ConcurrentTaskRunner`.
            rate: how many calls start in a time; `None` for no limit.
            instruments: who is told what happens; see `creche.instruments.Instrument`.
            cancel_grace: how many seconds a cancelled call has to stop on its worker, before `on_stuck`.
            on_stuck: what becomes of one that has not: `"abandon"` leaves it to itself, `"restart"`
                restarts its worker, with all that runs there. By default `"restart"` on clusters that
                are started here, and else `"abandon"`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: options exclude each other, or have a value that is not allowed.
            ImportError: distributed is not installed.
        """
        # Not at the top: who has no cluster need not load what it needs.
        place = importlib.import_module("creche.places").DaskPlace(
            address=address,
            cluster=cluster,
            cluster_class=cluster_class,
            cluster_kwargs=cluster_kwargs,
            adapt_kwargs=adapt_kwargs,
            client_kwargs=client_kwargs,
            grace=cancel_grace,
            on_stuck=on_stuck,
        )
        self._options = read_options(
            max_workers=max_workers,
            max_pending=max_pending,
            on_error=on_error,
            retain=retain,
            ageing=ageing,
            grace=grace,
            limits=limits,
            rate=rate,
            instruments=instruments,
            place=place,
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`PARALLEL`."""
        return TaskConcurrencyType.PARALLEL
