"""Cancelling calls on a Dask cluster: those that wait, those that run, and those that do not listen."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from outcome import Value

from creche._errors import StopCall
from creche._far._stop import is_stopping
from creche.places._dask import DaskPlace
from dask_clusters import (
    Cluster,
    async_work,
    cluster,
    double,
    note,
    note_and_sleep,
    on,
    opened,
    poll,
    run_all,
    sleep,
    until,
    work,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers."""
    with cluster(tmp_path_factory.mktemp("dask")) as found:
        yield found


def obey(path: str) -> None:
    """A plain call that stops when it is asked to."""
    note(path)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if is_stopping():
            note(path, "stopping\n")
            raise StopCall
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_one_that_runs(there: Cluster, tmp_path: Path) -> None:
    """An async call is cancelled on its loop, a plain one asks; both have stopped in the end."""
    log = tmp_path / "log"
    async with on(there, grace=10) as place:
        for piece, last in (
            (async_work(sleep, str(log), 20), "cancelled"),
            (work(obey, str(log)), "stopping"),
        ):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(place.run, piece)
                    await until(log.exists)
                    began = time.monotonic()
                    scope.cancel()
            assert scope.cancelled_caught
            assert time.monotonic() - began < 8
            assert log.read_text().split() == ["ran", last]
            log.unlink()
        assert (await place.run(work(double, 2))).unwrap() == 4


async def test_it_ends_all_the_same(there: Cluster, tmp_path: Path) -> None:
    """A value that it returns when it is told to stop is what the call gives."""
    log = tmp_path / "log"
    async with on(there, grace=10) as place:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await until(log.exists)
                    scope.cancel()

                group.start_soon(cancel)
                came = await place.run(work(poll, str(log)))
        assert came == Value("stopped")


@pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"])
async def test_those_that_wait(there: Cluster, tmp_path: Path) -> None:
    """Queued on the cluster, or not even sent: they never run."""
    busy = [tmp_path / "busy 0", tmp_path / "busy 1"]
    async with on(there, grace=10) as place, anyio.create_task_group() as group:
        for log in busy:
            group.start_soon(place.run, work(note_and_sleep, str(log), 3.0))
        for log in busy:
            await until(log.exists)
        logs = [tmp_path / str(number) for number in range(20)]
        began = time.monotonic()
        with anyio.move_on_after(0.3):
            await run_all(place, {log: work(note, str(log)) for log in logs})
        with anyio.CancelScope() as scope:
            scope.cancel()
            await place.run(work(note, str(tmp_path / "unsent")))
        assert time.monotonic() - began < 2.5
    async with on(there) as place:
        assert (await place.run(work(double, 2))).unwrap() == 4
    assert not any(map(os.path.lexists, (*logs, tmp_path / "unsent")))


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_one_that_does_not_listen(
    there: Cluster,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is left to itself after some seconds, and a warning names it."""
    log = tmp_path / "log"
    async with on(there, grace=0.2) as place:
        async with anyio.create_task_group() as group:
            group.start_soon(place.run, work(note_and_sleep, str(log), 4.0, key="deaf"))
            await until(log.exists)
            began = time.monotonic()
            group.cancel_scope.cancel()
        assert 0.2 < time.monotonic() - began < 3.5
    assert "'deaf'" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_its_worker_is_restarted(tmp_path: Path) -> None:
    """On a cluster of ours a cancelled call has stopped when its wait ends, whatever it does."""
    log = tmp_path / "log"
    place = DaskPlace(cluster_kwargs={"n_workers": 1}, grace=0.2)
    async with opened(place) as found:
        pid = (await found.run(work(os.getpid))).unwrap()
        began = time.monotonic()
        with anyio.move_on_after(0.5) as scope:
            await found.run(work(note_and_sleep, str(log), 60.0))
        assert scope.cancelled_caught
        assert time.monotonic() - began < 5
        await until(lambda: not is_there(pid))  # its nanny buries it
        assert (await found.run(work(os.getpid))).unwrap() != pid
