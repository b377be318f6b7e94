"""The contenders of the benchmarks in worker processes and on a cluster: what they give is right.

No time is looked at: a benchmark is no test.
"""

from __future__ import annotations

import importlib

import pytest
import through_processes
from event_loops import LOOPS

pytestmark = pytest.mark.slow

OPENERS = {through_processes.SERIAL: through_processes.here, **through_processes.CONTENDERS}


@pytest.mark.parametrize("name", OPENERS)
def test_each_does_its_work(name: str) -> None:
    """With as much as there are keys, in their order."""
    for fn in (through_processes.nothing, through_processes.busy):
        sample = through_processes.take_batch(name, OPENERS[name], fn, "trio", 30)
        assert sample["wall"] > 0


def test_a_wrong_result_ends_the_run() -> None:
    """Nobody is measured who does something else."""
    with pytest.raises(RuntimeError, match="cheat has not done what was to be done 3 times"):
        through_processes.take_batch("cheat", through_processes.here, lambda _: 1, "trio", 3)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", through_processes.KILLERS)
def test_each_stops_what_does_not_stop(loop: str, name: str) -> None:
    """Within a second, which is a long time."""
    assert 0 < through_processes.take_kill(name, loop)["p50"] < 1000


@pytest.mark.filterwarnings("default")  # those of distributed
def test_a_cluster() -> None:
    """The same for all."""
    on_a_cluster = importlib.import_module("on_a_cluster")
    with on_a_cluster.cluster() as address:
        samples = [on_a_cluster.by_client(address, 5)]
        samples += [on_a_cluster.by_creche(loop, address, 5) for loop in LOOPS]
    assert all(0 < sample["submit"] < sample["wall"] for sample in samples)
    with pytest.raises(RuntimeError, match="something else"):
        on_a_cluster.check([1, 3], 2)
