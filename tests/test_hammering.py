"""Many foreign threads at one runner: no lost wake-up, no lost key, no growth."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from creche import ConcurrentTaskRunner, Slot
from creche._carrier import CARRIED
from creche._portal import Errand
from hammering import Counts, Hammer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


def left_over() -> dict[str, int]:
    """How many there are of what a call needs, and in all."""
    gc.collect()
    everything = gc.get_objects()
    return {
        "slots": sum(type(thing) is Slot for thing in everything),
        "errands": sum(type(thing) is Errand for thing in everything),
        "carried": sum(carrier.is_busy for carrier in tuple(CARRIED.values())),
        "threads": sum(thread.name.startswith("hand ") for thread in threading.enumerate()),
        "in all": len(everything),
    }


async def strike(hammer: Hammer, counts: Counts, goes_on: Any) -> dict[str, int]:
    """Hammer, look whether everything is right, and count what is left."""
    await anyio.to_thread.run_sync(hammer.strike, goes_on)
    if hammer.errors:
        raise BaseExceptionGroup("hands", hammer.errors)
    assert len(set(hammer.keys)) == len(hammer.keys)
    assert counts.submitted.keys() == set(hammer.keys)
    assert counts.finished == counts.submitted
    assert set(counts.finished.values()) == {1}
    assert len(hammer.runner) == len(hammer.runner.slots) == 0
    run = hammer.runner._run
    assert run is not None
    assert not run.home.portal._under_way
    hammer.calls += len(hammer.keys)
    hammer.keys.clear()
    counts.submitted.clear()
    counts.finished.clear()
    await anyio.sleep(0.05)
    return left_over()


@pytest.mark.parametrize("workers", [None, 8])
async def test_twenty_threads(workers: int | None) -> None:
    """A few rounds of each."""
    counts = Counts()
    async with ConcurrentTaskRunner(workers, retain=False, instruments=[counts]).start() as runner:
        await strike(Hammer(runner, 20), counts, lambda n: n < 10)


async def test_an_executor() -> None:
    """Forty threads submit, cancel and read; more plain calls than there are threads for them."""
    counts = Counts()
    async with ConcurrentTaskRunner(retain=False, instruments=[counts]).start() as runner:
        hammer = Hammer(runner, 40)
        values, cancelled = await anyio.to_thread.run_sync(hammer.strike_by_executor, 20)
        if hammer.errors:
            raise BaseExceptionGroup("hands", hammer.errors)
        await runner.until_idle()
        assert values > 0
        assert cancelled > 0
        assert values <= sum(counts.finished.values()) <= values + cancelled  # not all were judged
        assert counts.finished == counts.submitted  # a key is free again when its call has ended
        assert len(runner.slots) == 0


@pytest.mark.slow
async def test_two_hundred_threads(anyio_backend_name: str, capsys: Any) -> None:
    """For some seconds; and as many again, after which there is no more left than after the first."""
    counts = Counts()
    async with ConcurrentTaskRunner(retain=False, instruments=[counts]).start() as runner:
        hammer = Hammer(runner, 200)
        left = []
        begun = time.perf_counter()
        for _ in range(2):
            end = time.perf_counter() + 3
            left.append(await strike(hammer, counts, lambda _, end=end: time.perf_counter() < end))
        took = time.perf_counter() - begun
    before, after = left
    assert after.pop("in all") - before.pop("in all") < 1000, left
    assert before == after == {"slots": 0, "errands": 0, "carried": 0, "threads": 0}
    latencies = sorted(hammer.latencies)
    half, most = (1000 * latencies[int(len(latencies) * part)] for part in (0.5, 0.99))
    with capsys.disabled():
        print(  # noqa: T201 - the figures are wanted
            f"\n{anyio_backend_name}: {hammer.calls} calls, {hammer.calls / took:.0f} a second; "
            f"p50 {half:.0f} ms, p99 {most:.0f} ms"
        )
