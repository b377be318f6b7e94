"""Dask as a place: calls run on the workers of a cluster.

What it is for: the settings, checked where they are passed, in the spelling of prefect-dask; and opening
the cluster for a run, and closing it again.

What it does not know: runners, keys, slots; nor how calls travel. `distributed` is not imported before
a run begins.

Invariant: a cluster that was begun here is closed with the run, in every way in which that ends; one
that was passed is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, final

from creche._backends import detect
from creche._checks import check_choice, check_installed, check_timeout
from creche._place import Host, Place

from ._dask_cluster import Connection, Wanted
from ._dask_flight import check_options
from ._dask_open import OpenDask
from ._dask_threads import in_thread


@final
class DaskPlace(Place):
    """Runs calls on a Dask cluster: one that is there, or a local one of its own.

    With nothing given, each run starts a `distributed.LocalCluster` of worker processes.

    Attributes:
        name: `"dask"`.
    """

    name = "dask"
    keeps_results = True

    def __init__(
        self,
        address: str | None = None,
        cluster: Any = None,  # noqa: ANN401 - of any of Dask's projects
        cluster_class: Any = None,  # noqa: ANN401 - as above
        cluster_kwargs: Mapping[str, Any] | None = None,
        adapt_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        *,
        grace: float = 2.0,
        on_stuck: str | None = None,
    ) -> None:
        """Check the settings; nothing is started.

        Args:
            address: of a scheduler that is there, `"tcp://host:8786"`.
            cluster: a cluster object that is there, which survives the run.
            cluster_class: what to start for each run: a class, or its import path
                (`"dask_kubernetes.operator.KubeCluster"`); by default `distributed.LocalCluster`.
            cluster_kwargs: what to start it with.
            adapt_kwargs: what to call its `adapt` with, so that it grows and shrinks by need.
            client_kwargs: for `distributed.Client`, such as `timeout` or `security`.
            grace: seconds that a cancelled call has to stop, before `on_stuck`.
            on_stuck: what becomes of one that has not: `"abandon"` leaves it to itself, `"restart"`
                restarts its worker, with all that runs there. By default `"restart"` on clusters that
                are started here, and else `"abandon"`.

        Raises:
            ModuleNotFoundError: `distributed`, or what it needs, is not installed.
            TypeError: a setting is of the wrong type.
            ValueError: settings exclude each other, or one has a value that is not allowed.
        """
        check_installed("calls on Dask need", ("distributed", "dask", "cloudpickle"), "dask")
        self._wanted = Wanted(
            address,
            cluster,
            cluster_class,
            None if cluster_kwargs is None else _mapping("cluster_kwargs", cluster_kwargs),
            None if adapt_kwargs is None else _mapping("adapt_kwargs", adapt_kwargs),
            {} if client_kwargs is None else _mapping("client_kwargs", client_kwargs),
        )
        _check(self._wanted)
        grace_checked = check_timeout(grace, "grace")
        self._grace = math.inf if grace_checked is None else grace_checked
        if on_stuck is not None:
            check_choice("on_stuck", on_stuck, ("abandon", "restart"))
        self._on_stuck = on_stuck

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DaskPlace):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((DaskPlace, self._wanted.address, self._grace, self._on_stuck))

    def __repr__(self) -> str:
        given = {name: value for name, value in self._wanted._asdict().items() if value}
        return f"DaskPlace({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check the `place_options` of a call.

        Args:
            options: `resources`, `workers`, `allow_other_workers`, `priority`, `annotations`.

        Raises:
            TypeError: one is of the wrong type.
            ValueError: there is no such option.
        """
        check_options(options)

    @asynccontextmanager
    async def open(self, host: Host) -> AsyncGenerator[OpenDask]:
        """Connect, after starting a cluster if none was given.

        Args:
            host: the run that it is opened for.

        Yields:
            the open place.

        Raises:
            ConnectionError: no scheduler answers at the address.
        """
        backend = detect()
        connection = Connection(self._wanted)
        try:
            name = f"creche dask {host.runner_name}"
            await in_thread(backend, connection.open, name, connection.give_up)
            on_stuck = self._on_stuck or ("restart" if connection.is_ours else "abandon")
            place = OpenDask(backend, host, connection, self._grace, on_stuck)
            try:
                yield place
            finally:
                place.close()
        finally:
            with backend.open_scope(shield=True):
                await in_thread(backend, connection.close, f"creche dask {host.runner_name}")


def _mapping(option: str, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        msg = f"{option} must be a dict of keyword arguments, not {given!r}"
        raise TypeError(msg)
    return dict(given)


def _check(wanted: Wanted) -> None:
    address, cluster, cluster_class = wanted.address, wanted.cluster, wanted.cluster_class
    if address is not None and not isinstance(address, str):
        msg = f"address must be a string such as 'tcp://host:8786', not {address!r}"
        raise TypeError(msg)
    if address is not None and not address.strip():
        msg = "address must not be empty; leave it out to start a cluster of our own"
        raise ValueError(msg)
    if cluster is not None and not hasattr(cluster, "scheduler_address"):
        cure = "pass an address as address=" if isinstance(cluster, str) else "call a class first"
        msg = f"cluster must be a cluster object of Dask's, not {cluster!r}; {cure}"
        raise TypeError(msg)
    if isinstance(cluster, type):
        msg = f"cluster must be an object, not the class {cluster.__name__}; pass that as cluster_class="
        raise TypeError(msg)
    if getattr(cluster, "asynchronous", False) is True:
        msg = "cluster was made with asynchronous=True, and works on its own loop only; leave that out"
        raise ValueError(msg)
    if cluster_class is not None and not callable(cluster_class):
        if not isinstance(cluster_class, str):
            msg = f"cluster_class must be a class or its import path, not {cluster_class!r}"
            raise TypeError(msg)
        if not all(part.isidentifier() for part in cluster_class.split(".")) or "." not in cluster_class:
            msg = (
                "cluster_class must be an import path such as 'distributed.LocalCluster', "
                f"not {cluster_class!r}"
            )
            raise ValueError(msg)
    timeout = wanted.client_kwargs.get("timeout")
    if isinstance(timeout, (bool, int, float)) and (isinstance(timeout, bool) or not timeout >= 0):
        msg = (
            f"client_kwargs['timeout'] must be 0 seconds or more, not {timeout!r}; by default Dask's own"
        )
        raise ValueError(msg)
    _check_together(wanted)


def _check_together(wanted: Wanted) -> None:
    has = {name for name, value in wanted._asdict().items() if value is not None}
    for one, others, cure in (
        ("address", ("cluster",), "pass the one that is meant"),
        ("address", ("cluster_class", "cluster_kwargs", "adapt_kwargs"), "no cluster is started there"),
        ("cluster", ("cluster_class", "cluster_kwargs"), "it is started already"),
    ):
        for other in others:
            if {one, other} <= has:
                msg = f"{one} and {other} exclude each other: {cure}; leave one of them out"
                raise ValueError(msg)
    for option, given, names in (
        ("client_kwargs", wanted.client_kwargs, ("address", "asynchronous", "set_as_default")),
        ("cluster_kwargs", wanted.cluster_kwargs or {}, ("asynchronous",)),
    ):
        for name in names:
            if name in given:
                msg = f"{option} must not have {name!r}, which creche sets itself; leave it out"
                raise ValueError(msg)
