"""A plain call gives an awaitable: it is awaited where the call runs.

Also in a worker process, and on a cluster of Dask's, on a loop of the kind that the run has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sniffio

from awaiting import (
    Caller,
    give_coroutine,
    give_failure,
    give_generator,
    give_long,
    give_promise,
    give_stray,
    give_unwanted,
    where,
)
from creche import ConcurrentTaskRunner, State, StopCall
from creche._far._body import CANCELLED, carry
from creche._far._pickling import load
from creche._far._stop import Stop
from creche.places import DaskPlace, ProcessPlace
from creche.places._answers import unpack
from creche.places._requests import pack
from dask_clusters import Cluster, cluster
from parcels import outcome, work
from pools import until

pytestmark = pytest.mark.usefixtures("real_time")

GIVERS: dict[str, Callable[[int], Any]] = {
    "coroutine": give_coroutine,
    "promise": give_promise,
    "generator": give_generator,
    "object": Caller(),
    "partial": partial(lambda other, number: where(number + other), 0),
    "lambda": lambda number: where(number),  # noqa: PLW0108 - nobody can tell beforehand what it gives
}


async def check(place: Any) -> None:
    """See that awaitables are awaited in a place."""
    loop = sniffio.current_async_library()
    async with ConcurrentTaskRunner(4).start() as runner:
        for timeout in (None, 60):
            slots = {
                name: runner.submit_nowait((name, timeout), fn, 5, place=place, timeout=timeout)
                for name, fn in GIVERS.items()
            }
            found = {name: await slot for name, slot in slots.items()}
            assert found == dict.fromkeys(GIVERS, (loop, 5))
        fails = runner.submit_nowait("fails", give_failure, place=place)
        stray = runner.submit_nowait("stray", give_stray, place=place)
        await runner.wait_all([fails, stray])
    assert isinstance(fails.peek_error(), LookupError)
    assert (stray.state, stray.origin) == (State.CANCELLED, "foreign")


async def check_cancel(place: Any, path: Path) -> None:
    """See that a call is cancelled while its awaitable is awaited, as its loop cancels."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", give_long, str(path), place=place)
        await until(path.exists)
        runner.cancel("k")
        await runner.wait("k")
        assert (slot.state, slot.origin) == (State.CANCELLED, "cancel")
        assert last_words(path) == sniffio.current_async_library()


def last_words(path: Path) -> str:
    """Of a long one."""
    return Path(f"{path}.end").read_text(encoding="utf-8")


@pytest.mark.anyio
@pytest.mark.parametrize("place", ["thread", pytest.param("process", marks=pytest.mark.slow)])
async def test_awaitables(place: str) -> None:
    """In a process as in a thread: whatever may be awaited is."""
    await check(place)


@pytest.mark.slow
@pytest.mark.anyio
async def test_cancelled_in_a_process(tmp_path: Path) -> None:
    """A cancellation reaches it as it does an async call."""
    await check_cancel(ProcessPlace(1, kill_grace=20), tmp_path / "log")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers."""
    with cluster(tmp_path_factory.mktemp("dask")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.anyio
async def test_on_a_cluster(there: Cluster, tmp_path: Path) -> None:
    """The same."""
    await check(DaskPlace(there.address))
    await check_cancel(DaskPlace(there.address, grace=20), tmp_path / "log")


# Without a process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_what_is_answered(loop: str) -> None:
    """What came of it; an awaitable that an async call gives is not awaited, nor is anything else."""
    for fn in GIVERS.values():
        assert outcome(fn, 5, loop=loop).value == (loop, 5)
    assert isinstance(outcome(give_failure, loop=loop).error, LookupError)
    with pytest.raises(StopCall):
        outcome(give_stray, loop=loop)
    assert outcome(list, "ab", loop=loop).value == ["a", "b"]


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_one_that_is_to_stop(loop: str, tmp_path: Path) -> None:
    """Already when it is begun: it hears of it at once."""
    stop = Stop()
    stop.set()
    path = tmp_path / "log"
    answer = carry(pack(work(give_long, str(path)), loop), stop)
    assert load(answer)[0] == CANCELLED
    assert last_words(path) == loop


def test_what_no_loop_has_to_do_with() -> None:
    """What an initializer gives is nobody's affair."""
    answer = carry(pack(work(give_unwanted), None), wants_value=False)
    assert unpack("key", answer).unwrap() is None
