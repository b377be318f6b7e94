"""The cluster and the client of one run: opened and closed; all of it blocks, and runs in threads.

What it is for: what of Dask's a run begins is begun here, and ends here.

What it does not know: calls, and how they travel.

Invariant: whatever was begun is closed by `close`, also when `open` failed half-way; and that takes no
longer than `_PATIENCE` for each of the two, whatever hangs.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, final

from creche._log import logger

from . import _dask_worker as far
from ._dask_client import connected, first_line
from ._dask_threads import within

_PATIENCE = 20.0

# Seconds; far more than it takes Dask to hear that a value is not wanted any more.
_KEPT = 10.0

# Seconds that another worker has for coming up where one has died, and between two looks. A new one
# takes two on an idle machine.
_HEIR, _LOOK = 10.0, 0.1

# What we set on clusters of ours, and the default of Dask's that it takes the place of: what a user has
# set to something else stays. A call that kills its worker shall not be tried on three more; a worker
# that is frozen shall not be waited for five minutes.
_LIKED = {
    "distributed.scheduler.allowed-failures": (3, 0),
    "distributed.scheduler.worker-ttl": ("5 minutes", "30s"),
}


_GUARD = (
    "The Dask cluster did not start ({}). Worker processes import the file that was started: a script "
    "has to begin its work under `if __name__ == '__main__':`."
)


class Wanted(NamedTuple):
    """What was asked for, checked; see `DaskPlace`."""

    address: str | None
    cluster: Any
    cluster_class: Any
    cluster_kwargs: dict[str, Any] | None
    adapt_kwargs: dict[str, Any] | None
    client_kwargs: dict[str, Any]


@final
class Connection:
    """A client, and maybe a cluster, of one run.

    Attributes:
        client: a `distributed.Client`, once it is open.
        folder: where workers on this machine mark which calls they have begun.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.client: Any = None
        self.folder = ""
        self._wanted = wanted
        self._cluster: Any = None
        self._lock = threading.Lock()
        self._closed = False
        self._over = threading.Event()  # there is a client, or there shall be none
        # Of calls whose answers have arrived: when, and their marks.
        self._arrived: deque[tuple[float, str]] = deque()
        # Of those whose answers stay on the cluster.
        self._held: set[str] = set()
        # The hosts of workers, and whether they see our folder.
        self._hosts: dict[str, bool] = {}
        # Workers that have died, and nobody came after them on their hosts.
        self._deserted: set[str] = set()

    @property
    def is_ours(self) -> bool:
        """Whether the cluster was started here."""
        return self._cluster is not None

    # Opening ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start what has to be started, and connect.

        Raises:
            ConnectionError: no scheduler answers at the address.
        """
        with self._lock:
            if not self._closed:
                self._open()

    def give_up(self) -> None:
        """Have an `open` that is under way end soon: nobody wants it any more. Does not block."""
        self._closed = True
        self._over.set()

    def _open(self) -> None:
        wanted = self._wanted
        # Before `dask.config.set` below, which would else take the defaults of distributed away with it.
        distributed = importlib.import_module("distributed")
        self.folder = tempfile.mkdtemp(prefix="creche-dask-", dir=far.folder_for_marks())
        if wanted.address is None and wanted.cluster is None:
            self._cluster = self._started(distributed)
        cluster: Any = wanted.cluster if self._cluster is None else self._cluster
        if wanted.adapt_kwargs is not None:
            cluster.adapt(**wanted.adapt_kwargs)
        where = wanted.address if cluster is None else cluster
        # A client that has failed is kept by nothing but its error.
        self.client = connected(distributed, where, wanted.client_kwargs, self._over)
        logger.info("Dask dashboard: %s", self.client.dashboard_link)
        self._look_at_workers()

    def _started(self, distributed: Any) -> Any:  # noqa: ANN401 - a cluster of Dask's, which has no types
        wanted = self._wanted
        kwargs = dict(wanted.cluster_kwargs or {})
        make = wanted.cluster_class
        if isinstance(make, str):
            make = _imported(make)
        if make is None:
            make = distributed.LocalCluster
        if make is distributed.LocalCluster:
            # Processes of one thread: a call that takes its worker along takes no other one along. No
            # fixed port: a second cluster would be warned of it.
            one = (
                {} if kwargs.get("processes") is False else {"processes": True, "threads_per_worker": 1}
            )
            kwargs = {"dashboard_address": ":0", **one, **kwargs}
        config = importlib.import_module("dask.config")
        liked = {
            name: ours for name, (theirs, ours) in _LIKED.items() if config.get(name, None) == theirs
        }
        with config.set(liked):
            try:
                cluster = make(**kwargs)
            except RuntimeError as exc:
                exc.add_note(_GUARD.format(_said(exc)))
                raise
        if not hasattr(cluster, "scheduler_address"):
            msg = f"cluster_class must be one of Dask's clusters; {make!r} has made {cluster!r}"
            raise TypeError(msg)
        return cluster

    # While it is open -------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the scheduler can be spoken to."""
        return bool(self.client.status == "running")

    def _look_at_workers(self) -> None:
        """See who of the workers is on this machine; and that they know of creche at all."""
        found: dict[str, Any] = within(
            5.0,
            lambda: self.client.run(far.sees, self.folder, on_error="return"),
            {},
        )
        unable = [came for came in found.values() if isinstance(came, ImportError)]
        if unable and len(unable) == len(found):
            msg = f"creche cannot be imported on the workers ({unable[0]}); install it there, too"
            raise RuntimeError(msg) from unable[0]
        for address, came in found.items():
            if isinstance(came, bool):
                self._hosts[_host(address)] = came

    def has_begun(self, mark: str, worker: str) -> bool:
        """Whether a worker that has died had begun a call; in a thread.

        Args:
            mark: of the call.
            worker: its address.

        Returns:
            True also when nobody is left to tell, nor comes within some seconds: a nanny starts
            another worker in the place of one that has died.
        """
        host = _host(worker)
        # A worker within a process has no heir.
        until = time.monotonic() + (0.0 if host == worker else _HEIR)
        while worker not in self._deserted:
            if host not in self._hosts:
                self._look_at_workers()
            if self._hosts.get(host):
                return Path(self.folder, mark).exists()
            said = self._ask_beside(host, mark)
            if said is not None:
                return said
            if time.monotonic() >= until or not self.is_up:
                self._deserted.add(worker)
            else:
                time.sleep(_LOOK)
        return True

    def _ask_beside(self, host: str, mark: str) -> bool | None:
        """Whether a worker on that host sees the mark of a call; `None` if there is none to ask."""
        beside = [other for other in self._workers() if _host(other) == host]
        if not beside:
            return None
        said: dict[str, bool] = within(
            5.0,
            lambda: self.client.run(far.has_begun, self.folder, mark, workers=beside[:1]),
            {},
        )
        return any(said.values()) if said else None

    def answer_kept(self, mark: str) -> bytes | None:
        """The answer of a call that had ended on this machine, whatever has become of its worker."""
        return far.answer_in(f"{self.folder}/{mark}")

    def forget(self, mark: str) -> None:
        """The answer of a call has arrived: it need not be kept any more, soon.

        Until Dask has heard of it, it may still carry out the call again.
        """
        now = time.monotonic()
        self._arrived.append((now, mark))
        while self._arrived[0][0] < now - _KEPT:
            with suppress(OSError, IndexError):
                old = self._arrived.popleft()[1]
                if old not in self._held:
                    Path(self.folder, old).unlink()

    def hold(self, mark: str) -> None:
        """The answer of a call has arrived, and stays on the cluster: if lost, it is not made again.

        Not by a worker on this machine, that is, which finds the mark.
        """
        self._held.add(mark)
        with suppress(OSError):
            Path(self.folder, mark).touch()

    def release(self, mark: str) -> None:
        """The answer of a call does not stay on the cluster any longer."""
        self._held.discard(mark)
        self._arrived.append((time.monotonic(), mark))  # and nothing slow, in whatever thread this is

    def _workers(self) -> list[str]:
        return within(5.0, lambda: list(self.client.nthreads()), [])

    # Closing ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what was begun; after an `open` that is still under way."""
        self._closed = True
        with self._lock:
            if self.client is not None:
                hosts = set(self._hosts.values())
                if False in hosts and self.is_up:
                    within(2.0, lambda: self.client.run(far.tidy, self.folder, on_error="ignore"), {})
                _close("client", lambda: self.client.close(timeout=5))
            if self._cluster is not None:
                _close("cluster", self._cluster.close)
            if self.folder:
                shutil.rmtree(self.folder, ignore_errors=True)


def _close(what: str, fn: Callable[[], object]) -> None:
    def work() -> bool:
        try:
            fn()
        except Exception as exc:  # noqa: BLE001 - there is nobody to raise it to, and more to close
            logger.warning("closing the Dask %s failed: %r", what, exc)
        return True

    began = time.monotonic()
    if not within(_PATIENCE, work, otherwise=False):
        logger.warning("the Dask %s is not closed after %.0f s", what, time.monotonic() - began)


def _said(exc: BaseException) -> str:
    """What has begun it."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return f"{type(exc).__name__}: {first_line(exc)}"


def _imported(path: str) -> Any:  # noqa: ANN401 - whatever is there
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        msg = f"cluster_class {path!r} cannot be imported ({exc}); install it, or correct the path"
        raise ImportError(msg, name=module) from exc


def _host(address: str) -> str:
    """The host of `tcp://host:port`; the address of a worker within this process stays as it is."""
    scheme, _, rest = address.rpartition("://")
    with suppress(ValueError):
        if scheme != "inproc":
            return rest.rpartition(":")[0]
    return address
