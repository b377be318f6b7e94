"""Random programs of submits, waits, cancels, drains and ends against a model, in virtual time."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
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
    ended = 0
    for number in range(4):
        machine = seed(number)(type("Machine", (LoopMachine,), {"backend": backend}))
        # On asyncio the tasks of a group that is cancelled come in the order of a set of anyio's, which
        # is that of addresses. What is drawn then may differ for the same beginning; hypothesis says so.
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(machine, settings=SETTINGS)
            ended += 1
    assert ended
