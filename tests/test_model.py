"""Random programs of submits, waits, cancels, drains and ends against a model, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model_machine import LoopMachine

SETTINGS = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_concurrent_runner_does_what_the_model_says(backend: Any) -> None:
    """Whatever is asked of it, in whatever order its tasks run."""
    for number in range(4):
        machine = seed(number)(type("Machine", (LoopMachine,), {"backend": backend}))
        run_state_machine_as_test(machine, settings=SETTINGS)
