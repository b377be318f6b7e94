"""Whole programs of the docs are cancelled where they can be, in each way, on two loops.

At a few points here; at all of them with ``--every-point``, as ``nox -s everywhere`` does.
"""

from __future__ import annotations

import sys

import pytest

from everywhere import Trial, kinds_on
from everywhere_programs import TRIALS

FEW = 3


@pytest.mark.parametrize(
    ("trial", "backend"),
    [
        pytest.param(trial, backend, id=f"{trial.name}-{backend}")
        for trial in TRIALS
        for backend in trial.backends
    ],
)
def test_a_program(
    trial: Trial,
    backend: str,
    every_point: bool,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It keeps what it promises, and what the runner does; nothing is left."""
    caplog.set_level("CRITICAL")
    kinds = kinds_on(backend)
    if not every_point:  # a different two for each
        first = 2 * TRIALS.index(trial)
        kinds = tuple((*kinds, *kinds)[first % len(kinds) :][:2])
    points = 0
    for kind in kinds:
        report = trial.run(backend, kind, None if every_point else FEW)
        assert not report.failures, str(report)
        points += len(report.points) - 1
    if every_point:
        with capsys.disabled():
            sys.stdout.write(f"\n{trial.name} on {backend}: {points} points")
