"""Slots among the arguments of calls on a Dask cluster: what they hold stays there, or is sent."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from distributed import Client

from creche import DaskTaskRunner, flow, task
from creche._errors import CallCancelled, NotSettled
from creche.places._dask_traffic import Traffic
from dask_clusters import Cluster, cluster, fail, note, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]

LARGE = 5_000_000


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers."""
    with cluster(tmp_path_factory.mktemp("dask")) as found:
        with Client(found.address, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were sent of each call."""
    sizes: list[int] = []
    send = Traffic._send_all

    def count(self: Traffic, batch: list[Any], size: int) -> None:
        sizes.extend(len(flight.blob) for flight in batch)
        send(self, batch, size)

    monkeypatch.setattr(Traffic, "_send_all", count)
    return sizes


def make(size: int, path: str | None = None) -> bytes:
    """A value; and a note that it was made."""
    if path is not None:
        note(path, f"{os.getpid()}\n")
    return bytes(size)


def wait_for(path: str, *args: Any) -> None:
    """Until a file is there."""
    while not Path(path).exists():
        time.sleep(0.01)


def total(*values: Any, more: Any = b"") -> int:
    """How long all of these are together."""
    found = len(more)
    for value in values:
        if isinstance(value, dict):
            found += total(*value.values())
        elif isinstance(value, (list, tuple)):
            found += total(*value)
        else:
            found += len(value)
    return found


@pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"])
async def test_a_large_one_stays(there: Cluster, sent: list[int]) -> None:
    """It is not sent, wherever it is among the arguments; the client has it all the same."""
    async with DaskTaskRunner(there.address).start() as runner:
        a = runner.submit_nowait("a", make, LARGE)
        b = runner.submit_nowait("b", total, a, [a, {"x": (a, "12")}], after=["a"])
        assert await b == 3 * LARGE + 2
        assert len(await a) == LARGE
    assert sum(sent) < 10_000


@pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"])
async def test_in_a_flow(there: Cluster, sent: list[int]) -> None:
    """A task that is handed another is handed what that gave, on the cluster."""
    combine, load = task(total), task(make)

    @flow(task_runner=DaskTaskRunner(there.address))
    async def work() -> int:
        loaded = [load.submit(LARGE) for _ in range(2)]
        first = combine.submit(loaded, more=loaded[0])
        return await first + await combine.submit("abc", more=b"")

    assert await work() == 3 * LARGE + 3
    assert sum(sent) < 10_000


@pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"])
async def test_the_cluster_forgets(there: Cluster, tmp_path: Path) -> None:
    """It keeps a value as long as a call is open that takes it, and no longer."""
    gate = tmp_path / "gate"
    async with DaskTaskRunner(there.address).start() as runner:
        a = runner.submit_nowait("a", make, LARGE)
        b = runner.submit_nowait("b", total, a, after=["a"])
        c = runner.submit_nowait("c", wait_for, str(gate), a, after=["a"])
        alone = runner.submit_nowait("alone", make, LARGE)
        await alone
        await b
        place = opened_by(runner)
        connection = place._connection

        def kept() -> list[Any]:
            gc.collect()
            return [key for key in connection.client.futures if key.startswith("make-")]

        await until(lambda: len(kept()) == 1)
        gate.touch()
        await c
        await until(lambda: not kept())
        assert not connection._held


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_the_others_are_sent(there: Cluster, sent: list[int]) -> None:
    """What ran elsewhere, had ended before, or could not be made again anywhere."""
    async with DaskTaskRunner(there.address).start() as runner:
        early = runner.submit_nowait("early", make, 100_000)
        await early
        local = runner.submit_nowait("local", make, 100_000, place="loop")
        tied = runner.submit_nowait(
            "tied",
            make,
            100_000,
            place_options={"workers": [there.address], "allow_other_workers": True},
        )
        both = runner.submit_nowait("both", total, local, tied, early, after=[local, tied])
        assert await both == 300_000
    assert sum(sent) > 300_000


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_has_failed(there: Cluster) -> None:
    """What is after it never runs; a call that is after any end fails with it, as does one too early."""
    async with DaskTaskRunner(there.address).start() as runner:
        bad = runner.submit_nowait("bad", fail, "value")
        runner.submit_nowait("after", total, bad, after=["bad"])
        runner.submit_nowait("any", total, bad, after=["bad"], after_any_end=True)
        slow = runner.submit_nowait("slow", time.sleep, 0.2)
        runner.submit_nowait("early", total, slow)
        await runner.wait_all()
        with pytest.raises(ValueError, match="no"):
            await runner.result("any")
        with pytest.raises(CallCancelled, match="upstream"):
            await runner.result("after")
        with pytest.raises(NotSettled, match=r"takes slot 'slow'.*after=\['slow'\]"):
            await runner.result("early")


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("size", [100, LARGE])
async def test_its_worker_is_lost(there: Cluster, tmp_path: Path, sent: list[int], size: int) -> None:
    """What it kept is not made again: a small one has stayed here, a large one is sent from here."""
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with DaskTaskRunner(there.address).start() as runner:
        a = runner.submit_nowait("a", make, size, str(log))
        hold = runner.submit_nowait("hold", wait_for, str(gate), place="thread")
        b = runner.submit_nowait("b", total, a, after=[a, hold])
        await a
        os.kill(int(log.read_text()), signal.SIGKILL)
        gate.touch()
        with anyio.fail_after(30):
            assert await b == size
    assert len(log.read_text().split()) == 1
    assert (sum(sent) > LARGE) == (size == LARGE)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_is_lost_on_the_way(there: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask does not know the future any more, or refuses it at once: then the value is sent."""
    async with DaskTaskRunner(there.address).start() as runner:
        for refuse in (False, True):
            a = runner.submit_nowait(None, make, LARGE)
            hold = runner.submit_nowait(None, anyio.sleep, 0.5, place="loop")
            b = runner.submit_nowait(None, total, a, after=[a, hold])
            await a
            client = opened_by(runner)._connection.client
            if refuse:
                monkeypatch.setattr(client, "submit", refused)
            else:
                client._send_to_scheduler(
                    {
                        "op": "client-releases-keys",
                        "keys": [key for key in client.futures if key.startswith("make-")],
                        "client": client.id,
                    }
                )
            assert await b == LARGE


def refused(*args: Any, **kwargs: Any) -> Any:
    """As a client that knows that a future is cancelled."""
    raise RuntimeError


def opened_by(runner: Any) -> Any:
    """The Dask place that is open for a runner."""
    return runner._run.seats._by_name["dask"]._open
