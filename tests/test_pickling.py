"""Pickling, copying and comparing runners: settings, and nothing of a run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from calls import forever, give, settle_down
from creche import (
    BaseTaskRunner,
    CallCancelled,
    ConcurrentTaskRunner,
    KeyTaken,
    RunnerNotStarted,
    SequentialTaskRunner,
    TaskConcurrencyType,
    UnknownKey,
)

pytestmark = pytest.mark.anyio

KINDS: list[Callable[[], Any]] = [
    lambda: ConcurrentTaskRunner(3, on_error="cancel", retain=False),
    lambda: SequentialTaskRunner(on_error="cancel"),
    ConcurrentTaskRunner,
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
async def test_a_pickle_carries_settings_only(make: Callable[[], Any], pickler: Any) -> None:
    """Before, during and after a run; the copy is equal, not started, and can be started."""
    runner = make()
    blank = pickler.dumps(runner)
    async with runner.start():
        runner.submit_nowait("big", give, "x" * 100_000)
        runner.submit_nowait("running", forever)
        await settle_down()
        during = pickler.dumps(runner)
        runner.cancel("running")
    after = pickler.dumps(runner)
    assert max(len(during), len(after)) <= len(blank) + 10
    for data in (blank, during, after):
        copy = pickle.loads(data)
        assert type(copy) is type(runner)
        assert copy == runner
        assert not copy.is_started
        assert dict(copy.slots) == {}
        with pytest.raises(RunnerNotStarted, match="copy, pickled or duplicated"):
            copy.submit_nowait(1, give)
        async with copy.start():
            assert await (await copy.submit(1, give, 2)) == 2


async def test_a_duplicate() -> None:
    """Equal settings, another object, not started, also while the first is."""
    runner = ConcurrentTaskRunner(2)
    async with runner.start():
        copy = runner.duplicate()
        assert copy is not runner
        assert copy == runner
        assert hash(copy) == hash(runner)
        assert not copy.is_started
        async with copy.start():
            copy.submit_nowait("a", give)
            assert "a" not in runner
    assert copy.max_workers == 2
    assert copy != ConcurrentTaskRunner(3)
    assert copy != SequentialTaskRunner()
    assert copy != "a runner"


def test_names_and_kinds() -> None:
    """What an engine asks of a runner is as it was in the ancestor: values equal names."""
    assert {kind.name: kind.value for kind in TaskConcurrencyType} == {
        "SEQUENTIAL": "SEQUENTIAL",
        "CONCURRENT": "CONCURRENT",
        "PARALLEL": "PARALLEL",
    }
    runner = ConcurrentTaskRunner()
    assert runner.concurrency_type is TaskConcurrencyType.CONCURRENT
    assert (runner.name, str(runner)) == ("concurrent", "ConcurrentTaskRunner")
    assert isinstance(runner, BaseTaskRunner)


@pytest.mark.parametrize(
    "error",
    [CallCancelled("k", "cancel", "why"), KeyTaken("k", "RUNNING"), UnknownKey("k", "hint")],
)
def test_errors_survive_a_pickle(error: Exception) -> None:
    """An error that crosses a process is the same on the other side."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.key) == (type(error), str(error), "k")
