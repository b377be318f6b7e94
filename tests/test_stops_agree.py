"""A call that is told to stop ends the same wherever it runs: on the loop, in threads, elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio

from calls import stray
from creche import (
    CallCancelled,
    CallCrashed,
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    Slot,
    State,
    check_cancelled,
)
from creche._far._body import CANCELLED, EXIT, SERIALIZE, carry
from creche._far._pickling import load
from creche._far._stop import Stop
from creche.places import DaskPlace, ProcessPlace, _dask_open
from creche.places._dask_flight import STOPPED, Flight
from creche.places._requests import pack
from dask_clusters import Cluster, cluster
from parcels import outcome, work
from pools import until
from stopping import (
    ask_in_async_code,
    beside_an_error,
    fail_for_another,
    grind,
    in_a_group,
    shielded,
    swallow,
)

pytestmark = pytest.mark.usefixtures("real_time")

CALLS = [
    ask_in_async_code,
    beside_an_error,
    fail_for_another,
    grind,
    in_a_group,
    shielded,
    swallow,
]


async def ends(place: Any, folder: Path) -> dict[str, Slot[Any]]:
    """Begin with each of the calls, one by one, cancel it, and see how it ends."""
    async with ConcurrentTaskRunner(4).start() as runner:
        for fn in CALLS:
            path = folder / fn.__name__
            runner.submit_nowait(fn.__name__, fn, str(path), place=place)
            await until(path.exists)
            runner.cancel(fn.__name__)
            await runner.wait(fn.__name__)
        return {str(key): slot for key, slot in runner.slots.items()}


async def check(place: Any, folder: Path) -> None:
    """See that they end as the contract says."""
    slots = await ends(place, folder)
    failed = {key: slots.pop(key) for key in ("beside_an_error", "fail_for_another")}
    assert {key: (slot.state, slot.origin) for key, slot in slots.items()} == dict.fromkeys(
        slots, (State.CANCELLED, "cancel")
    )
    assert {slot.state for slot in failed.values()} == {State.FAILED}
    error = failed["beside_an_error"].peek_error()
    assert isinstance(error, ExceptionGroup)
    assert [str(one) for one in error.exceptions] == ["mine"]
    assert isinstance(failed["fail_for_another"].peek_error(), CallCancelled)
    assert left_in(folder) == {"ask_in_async_code.end", "shielded.end"}


def left_in(folder: Path) -> set[str]:
    """What calls have left behind that have come to some end."""
    return {path.name for path in folder.glob("*.end")}


@pytest.mark.anyio
@pytest.mark.parametrize("place", [None, "thread", pytest.param("process", marks=pytest.mark.slow)])
async def test_here(place: Any, tmp_path: Path) -> None:
    """A group is split; what was swallowed comes again; a shield holds; any `Exception` is a failure."""
    await check(ProcessPlace(1, kill_grace=60) if place == "process" else place, tmp_path)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers."""
    with cluster(tmp_path_factory.mktemp("dask")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.anyio
async def test_on_a_cluster(there: Cluster, tmp_path: Path) -> None:
    """The same."""
    await check(DaskPlace(there.address, grace=60), tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_a_stray_out_of_a_call_that_was_cancelled(make: Callable[..., Any]) -> None:
    """Someone has cancelled it: that counts, and not that what came out is nobody's."""

    async def fn() -> None:
        begun.set()
        other = await kept()
        try:
            await anyio.sleep(60)
        except BaseException as exc:
            raise BaseExceptionGroup("both", [exc, other]) from None

    begun = anyio.Event()
    async with make().start() as runner, anyio.create_task_group() as group:
        group.start_soon(runner.submit, "k", fn)
        await begun.wait()
        runner.cancel("k", reason="by us")
        await runner.wait("k")
    slot = runner.slots["k"]
    assert (slot.state, slot.origin, slot.reason) == (State.CANCELLED, "cancel", "by us")


@pytest.mark.anyio
@pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_a_stray_out_of_a_call_whose_time_has_passed(make: Callable[..., Any]) -> None:
    """That counts, also where it comes out of a thread."""
    strays = [await kept()]

    async def fn() -> None:
        try:
            await anyio.sleep(60)
        except BaseException as exc:
            raise BaseExceptionGroup("both", [exc, strays[0]]) from None

    def plain() -> None:
        try:
            while True:
                check_cancelled()
                time.sleep(0.005)
        except BaseException:
            raise strays[0] from None

    async with make().start() as runner:
        for call in (fn, plain):
            slot = await runner.submit(None, call, timeout=0.05)
            await runner.wait(slot)
            assert isinstance(slot.peek_error(), TimeoutError)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_a_stray_that_the_time_limit_does_not_know(make: Callable[..., Any]) -> None:
    """On asyncio a scope tells its own cancellation from others; of trio's it takes all."""

    async def fn() -> None:
        with suppress(asyncio.CancelledError):
            await anyio.sleep(60)
        raise asyncio.CancelledError("of nobody's")

    async with make().start() as runner:
        slot = await runner.submit(None, fn, timeout=0.05)
        await runner.wait(slot)
        assert isinstance(slot.peek_error(), TimeoutError)


async def kept() -> BaseException:
    """A cancellation that is nobody's."""
    try:
        await stray()
    except BaseException as exc:
        return exc
    raise AssertionError


# The far side, without a process --------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_what_is_answered(loop: str, tmp_path: Path) -> None:
    """By calls that are to stop from the beginning."""
    stop = Stop()
    stop.set()
    for fn in (grind, in_a_group, swallow, shielded, ask_in_async_code):
        piece = work(fn, str(tmp_path / fn.__name__), is_async=fn not in (grind, in_a_group))
        assert load(carry(pack(piece, loop), stop))[0] == CANCELLED
    assert left_in(tmp_path) == {"ask_in_async_code.end", "shielded.end"}
    for fn in (beside_an_error, fail_for_another):
        is_async = fn is fail_for_another
        error = outcome(fn, str(tmp_path / "x"), is_async=is_async, loop=loop, stop=stop).error
        assert isinstance(error, Exception)


def test_what_nobody_can_tell_to_stop(tmp_path: Path) -> None:
    """Runs on asyncio without anything else."""

    async def fn() -> str:
        return sniffio.current_async_library()

    assert outcome(fn, is_async=True, loop="asyncio").value == "asyncio"


def test_an_answer_of_a_flight_that_is_to_stop() -> None:
    """It counts, also if it tells of a crash: of the call, that is, and not of its worker."""
    flight = Flight("key", "fn", "mark", b"", {})
    for landed, counts in (
        (flight.crash(EXIT, "3 came out"), True),
        (flight.crash(SERIALIZE, "a lock"), True),
        (flight.crash("worker-died", "it was restarted"), False),
        (STOPPED, False),
    ):
        flight.landed = landed
        assert _dask_open._has_ended(flight) is counts


def test_an_odd_answer() -> None:
    """What ends a call that is to stop, and is no cancellation, is its crash."""
    stop = Stop()
    stop.set()
    with pytest.raises(CallCrashed) as caught:
        outcome(exit_when_told, stop=stop)
    assert (caught.value.kind, caught.value.exit_code) == (EXIT, 3)


def exit_when_told() -> None:
    raise SystemExit(3)
