"""What dies or freezes on a Dask cluster: the calls that it takes along are lost, and no others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from creche._errors import CallCrashed
from creche.places._dask import DaskPlace
from dask_clusters import (
    SETTINGS,
    Cluster,
    cluster,
    double,
    note,
    note_and_die,
    note_and_freeze,
    note_and_sleep,
    on,
    opened,
    run_all,
    until,
    work,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


@pytest.fixture(scope="module", params=["0", "3"])
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that tries what has killed its worker not again, or three times."""
    settings = {**SETTINGS, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": request.param}
    with cluster(tmp_path_factory.mktemp("dask"), settings=settings) as found:
        yield found


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_call_kills_its_worker(there: Cluster, tmp_path: Path) -> None:
    """It is lost, and was run once; those that were queued on that worker are run, once each."""
    logs = {number: tmp_path / str(number) for number in range(30)}
    async with on(there) as place:
        works: dict[Any, Any] = {number: work(note, str(log)) for number, log in logs.items()}
        killer = tmp_path / "killer"
        found = await run_all(place, {"killer": work(note_and_die, str(killer)), **works})
        # Few calls are all handed to workers by Dask, as many as there are.
        few = await run_all(
            place,
            {
                "killer": work(note_and_die, str(tmp_path / "again")),
                **{number: work(double, number) for number in range(3)},
            },
        )
    for crash in (found.pop("killer"), few.pop("killer")):
        assert isinstance(crash, CallCrashed)
        assert (crash.key, crash.kind) == ("killer", "worker-died")
    assert killer.read_text() == "ran\n"
    assert found == dict.fromkeys(logs, "ran\n")
    assert {log.read_text() for log in logs.values()} == {"ran\n"}
    assert few == {0: 0, 1: 2, 2: 4}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_the_only_worker_is_killed(tmp_path: Path) -> None:
    """Until its nanny has started another one nobody can tell what had begun there: it is waited for."""
    with cluster(tmp_path, workers=0) as found:
        async with on(found) as place:
            # No worker is there yet, so none was asked whether it sees the marks.
            found.add_workers(1)
            logs = {number: tmp_path / str(number) for number in range(3)}
            came = await run_all(
                place,
                {
                    "killer": work(note_and_die, str(tmp_path / "killer")),
                    **{number: work(note, str(log)) for number, log in logs.items()},
                },
            )
    assert isinstance(came.pop("killer"), CallCrashed)
    assert came == dict.fromkeys(logs, "ran\n")
    assert {log.read_text() for log in logs.values()} == {"ran\n"}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_scheduler_killed(tmp_path: Path) -> None:
    """What is out is lost at once, and so is what comes later; closing does not hang."""
    with cluster(tmp_path, workers=1) as found:
        async with on(found, client_kwargs={"timeout": 1}) as place, anyio.create_task_group() as group:

            async def lose() -> None:
                with pytest.raises(CallCrashed) as caught:
                    await place.run(work(note_and_sleep, str(tmp_path / "log"), 60.0))
                assert caught.value.kind == "scheduler-lost"

            group.start_soon(lose)
            group.start_soon(lose)
            await until((tmp_path / "log").exists)
            os.killpg(found.scheduler.pid, signal.SIGKILL)
            began = time.monotonic()
            await lose()
            # By now it is known.
            for _ in range(2):
                began = time.monotonic()
                await lose()
                assert time.monotonic() - began < 4
            began = time.monotonic()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_worker_freezes(tmp_path: Path) -> None:
    """It is given up by the scheduler after a while; that call is lost, and others go on."""
    with cluster(tmp_path) as there:
        async with on(there) as place:
            frozen = tmp_path / "frozen"
            found = await run_all(
                place,
                {
                    "frozen": work(note_and_freeze, str(frozen)),
                    **{number: work(double, number) for number in range(10)},
                },
            )
        with suppress(ProcessLookupError):  # its nanny may have been asked to
            os.kill(int(frozen.read_text()), signal.SIGKILL)
    assert found.pop("frozen").kind == "worker-died"
    assert found == {number: 2 * number for number in range(10)}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_deaths_on_a_cluster_of_ours(tmp_path: Path) -> None:
    """Every other call kills its worker: it was run once, and the others, too."""
    logs = {number: tmp_path / str(number) for number in range(4)}
    place = DaskPlace(cluster_kwargs={"n_workers": 2})
    async with opened(place) as there:
        found = await run_all(
            there,
            {
                number: work(note_and_die if number % 2 else note, str(log))
                for number, log in logs.items()
            },
        )
    for number, came in found.items():
        assert came == "ran\n" if number % 2 == 0 else came.kind == "worker-died"
    assert {log.read_text() for log in logs.values()} == {"ran\n"}
