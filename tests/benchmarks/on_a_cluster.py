"""W10: calls that do nothing, on a Dask cluster; and what the caller spends on each submit.

What it is for: what creche adds to what Dask itself takes.

What it does not know: the clock, which is the wall's: the cluster has processes of its own.

Invariant: all contenders use the same cluster, which has carried out calls of theirs before the clock is
started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bodies import keys_of
from distributed import Client, LocalCluster
from event_loops import run_on
from results import Sample
from through_processes import nothing

from creche import DaskTaskRunner

UNITS = {"wall": "µs of wall time a call", "submit": "µs of the caller's time a submit"}

Take = Callable[[str, int], Sample]


@contextmanager
def cluster() -> Iterator[str]:
    """A cluster of two processes on this machine; its address."""
    make: Any = LocalCluster
    with make(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield str(found.scheduler_address)


def check(values: object, n: int) -> None:
    """Refuse what is not right."""
    if values != list(keys_of(n)):
        raise RuntimeError(f"something else came back than was to be done {n} times")


def by_client(address: str, n: int) -> Sample:
    """`Client.map` and `Client.gather`."""
    with Client(address, set_as_default=False) as client:
        client.gather(client.map(nothing, keys_of(20), pure=False))
        begun = time.perf_counter()
        futures = client.map(nothing, keys_of(n), pure=False)
        submitted = time.perf_counter() - begun
        values = client.gather(futures)
        took = time.perf_counter() - begun
    check(values, n)
    return {"wall": took / n * 1e6, "submit": submitted / n * 1e6}


def by_creche(loop: str, address: str, n: int) -> Sample:
    """A runner."""

    async def main() -> Sample:
        async with DaskTaskRunner(address).start() as runner:
            await runner.map(nothing, keys_of(20))
            begun = time.perf_counter()
            for key in keys_of(n):
                runner.submit_nowait(key, nothing, key)
            submitted = time.perf_counter() - begun
            values = [outcome.unwrap() for outcome in await runner.wait_all(keys_of(n))]
            took = time.perf_counter() - begun
        check(values, n)
        return {"wall": took / n * 1e6, "submit": submitted / n * 1e6}

    return run_on(loop, main)
