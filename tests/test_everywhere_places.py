"""Runners whose calls run in worker processes and on a Dask cluster, cancelled at a few of their points.

Real processes, in the virtual time of the kit, which waits for them. With ``--every-point`` at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from creche import DaskTaskRunner, ProcessTaskRunner
from dask_clusters import Cluster, cluster
from everywhere import Kind, Scene, Trial, nothing
from far_calls import nap

pytestmark = pytest.mark.slow

FEW = 3


async def runs_in_processes(scene: Scene) -> None:
    """More calls than workers, one that fails there, one that is cancelled there, and a map."""
    runner = scene.note(ProcessTaskRunner(2, **scene.options()))
    async with runner.start():
        slots = [await runner.submit(n, nap, 0.01) for n in range(3)]
        runner.submit_nowait("long", nap, 60)
        await slots[2]
        runner.cancel("long")
        assert len(await runner.map(nap, [0.01, 0.01])) == 2


CASES: list[tuple[str, Kind]] = [("trio", "scope"), ("trio", "ctrl_c"), ("asyncio", "native")]


@pytest.mark.parametrize(("backend", "kind"), CASES)
def test_worker_processes(
    backend: str, kind: Kind, every_point: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """No worker is left, whatever it did; and there are as many as before for another start."""
    caplog.set_level("CRITICAL")
    trial = Trial(runs_in_processes, (), nothing)
    report = trial.run(backend, kind, None if every_point else FEW)
    assert not report.failures, str(report)
    assert len(report.points) > FEW


@pytest.fixture(name="dask", scope="module")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers for all of these."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        trio.run(warm_up, made.address)
        yield made


async def warm_up(address: str) -> None:
    """In real time: a worker imports creche with its first call, which may take seconds."""
    async with DaskTaskRunner(address).start() as runner:
        await runner.map(nap, [0.01] * 4)


@pytest.mark.parametrize(("backend", "kind"), [("trio", "scope"), ("asyncio", "native")])
def test_a_dask_cluster(
    dask: Cluster, backend: str, kind: Kind, every_point: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Every slot is final; the cluster can be used again. What a client keeps for later is its own."""
    caplog.set_level("CRITICAL")

    async def runs_on_dask(scene: Scene) -> None:
        runner = scene.note(DaskTaskRunner(dask.address, **scene.options()))
        async with runner.start():
            slot = await runner.submit("a", nap, 0.01)
            runner.submit_nowait("after", nap, 0.01, after=["a"])
            await slot
            await runner.wait("after")

    trial = Trial(runs_on_dask, (), nothing, allow=("left",))
    report = trial.run(backend, kind, None if every_point else 2)
    assert not report.failures, str(report)
