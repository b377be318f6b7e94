"""Random programs whose calls run in threads and processes and on a cluster, against what was asked."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from creche import DaskTaskRunner, ProcessTaskRunner, ThreadTaskRunner
from dask_clusters import cluster
from place_machine import PlaceMachine

pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def run(backend: str, make: Any, kinds: tuple[str, ...], examples: int) -> None:
    machine = type("Machine", (PlaceMachine,), {"backend": backend, "make": make, "kinds": kinds})
    # Real time: what fails once need not fail again, so it is told as it is.
    phases = [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            database=None,
            derandomize=True,
            phases=phases,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ],
        ),
    )


@both
def test_in_threads(backend: str) -> None:
    """None of which can be stopped or die."""
    run(backend, partial(ThreadTaskRunner), ("value", "fail", "long"), 30)


@both
def test_in_processes(backend: str) -> None:
    """Which exit, die, and are killed by a cancel."""
    run(backend, partial(ProcessTaskRunner), ("value", "fail", "long", "exit", "die"), 10)


@both
def test_on_a_cluster(backend: str, tmp_path: Path) -> None:
    """Where calls are cancelled on workers, which raise what they like, and die now and then."""
    with cluster(tmp_path) as there:

        def make(workers: int) -> DaskTaskRunner:
            return DaskTaskRunner(there.address, max_workers=workers)

        run(backend, make, ("value", "fail", "long", "exit"), 10)
        run(backend, make, ("value", "fail", "long", "exit", "die"), 3)
