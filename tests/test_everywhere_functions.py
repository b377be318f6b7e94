"""Each async function that creche hands out is cancelled where it can be, in each way, on two loops.

A sample of the points of each here, in half of the ways on each loop; all of them with
``--every-point``, as ``nox -s everywhere`` does. Not on uvloop: the kit has a loop of its own, in whose
time nothing waits.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

import everywhere_api
import everywhere_others
import everywhere_runners
from everywhere import HELD, KINDS, Kind, Trial, kinds_on

TRIALS = [*everywhere_runners.TRIALS, *everywhere_others.TRIALS]

FEW = 2

# What the search finds, and users do not await.
NOT_AWAITED = {
    "BaseTaskRunner.submit": "abstract: each runner has its own",
    "BaseTaskRunner.wait": "abstract, too",
    "CallFuture.call_async": "behind an executor's futures, for threads",
    "ChildHandle.coro": "the coroutine that the user has given",
    "Mapping.outcomes": "behind `map`; found since the word is that of another class",
    "Mapping.values": "the same",
}


def test_that_none_is_forgotten() -> None:
    """Whoever adds an async function to what users see adds a trial of it."""
    found = everywhere_api.async_functions()
    tried = {name for trial in TRIALS for name in trial.covers}
    assert len(found) > 30
    assert found - tried - set(NOT_AWAITED) == set()
    assert set(NOT_AWAITED) <= found - tried
    # Those that give an awaitable, and do not say so; and those that block a thread.
    unsaid = {"Flow.__call__", "Task.__call__"}
    assert {name for name in tried - found if not name.startswith("FromThread.")} == unsaid


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_function(
    trial: Trial, backend: str, every_point: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends, and soon; what it was about goes on, or has ended as it should; nothing is left."""
    caplog.set_level("CRITICAL")
    kinds = kinds_on(backend)
    if not every_point:  # half of them on this loop, the other half on the other one
        kinds = kinds[(TRIALS.index(trial) + (backend == "trio")) % 2 :: 2]
    for kind in kinds:
        report = trial.run(backend, kind, None if every_point else FEW)
        assert not report.failures, str(report)
        HELD[backend, kind] += len(report.points) - 1


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_that_each_way_was_tried(
    backend: str, every_point: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a sample; how often is told when all were."""
    if not any(loop == backend for loop, _ in HELD):
        pytest.skip("it was chosen alone")
    tried: Counter[Kind] = Counter({kind: HELD[backend, kind] for kind in kinds_on(backend)})
    assert set(tried) == set(KINDS) - ({"native"} if backend == "trio" else set())
    assert min(tried.values()) >= len(TRIALS) // 2
    if every_point:
        with capsys.disabled():
            said = f"\n{backend}: {len(TRIALS)} functions, {sum(tried.values())} points, {dict(tried)}"
            sys.stdout.write(said)
