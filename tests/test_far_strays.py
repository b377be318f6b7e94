"""A cancellation that nobody has asked for comes out of a call: it ends as it does on the loop.

Also where the call runs in a worker process, or on a cluster of Dask's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import sniffio

from creche import CallCrashed, ConcurrentTaskRunner, ProcessTaskRunner, Retry, Slot, State, StopCall
from creche._far._body import CANCELLED, STRAY, carry
from creche._far._pickling import dump_plain, load
from creche._far._stop import Stop
from creche.places import DaskPlace, _dask_open
from creche.places._answers import unpack
from creche.places._dask_faults import judge
from creche.places._dask_flight import STRAYED, Flight
from creche.places._requests import pack
from creche.places._ticket import Ticket
from dask_clusters import Cluster, cluster
from parcels import outcome, throw, work
from posting import Post, owner
from straying import (
    alone,
    beside_an_error,
    beside_an_exit,
    cancel_own_task,
    in_groups,
    plain,
    return_in_a_cancelled_task,
    stop_of_its_own,
)

pytestmark = pytest.mark.usefixtures("real_time")

STRAYS: dict[str, list[Callable[..., Any]]] = {
    "trio": [alone, in_groups, stop_of_its_own],
    "asyncio": [alone, in_groups, stop_of_its_own, cancel_own_task, plain],
}


def seen(slot: Slot[Any]) -> tuple[State, str | None]:
    return slot.state, slot.origin


# In all places ------------------------------------------------------------------------------------


async def check(place: Any) -> None:
    """See that strays end as they do on the loop; with a task of the loop, and without."""
    loop = sniffio.current_async_library()
    async with ConcurrentTaskRunner(4).start() as runner:
        strays = [
            runner.submit_nowait(f"{fn.__name__} {retry}", fn, place=place, retry=retry)
            for fn in STRAYS[loop]
            for retry in (None, Retry(2))
        ]
        mixed = runner.submit_nowait("mixed", beside_an_error, place=place)
        other = runner.submit_nowait("other", anyio.sleep, 0, place=place)
        await runner.wait_all()
        if loop == "asyncio":
            late = runner.submit_nowait("late", return_in_a_cancelled_task, place=place)
            assert await late == "returned"
    assert [slot for slot in strays if seen(slot) != (State.CANCELLED, "foreign")] == []
    assert {slot.attempt for slot in strays} == {1}
    assert "nobody here made" in str(strays[0].reason)
    assert other.state is State.COMPLETED
    error = mixed.peek_error()
    assert isinstance(error, ExceptionGroup)
    assert [str(one) for one in error.exceptions] == ["mine"]


@pytest.mark.anyio
@pytest.mark.parametrize("place", ["loop", "thread", pytest.param("process", marks=pytest.mark.slow)])
async def test_as_on_the_loop(place: str) -> None:
    """It is cancelled by nobody that is known, and nothing else is; of a group the rest counts."""
    await check(place)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers."""
    with cluster(tmp_path_factory.mktemp("dask")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.anyio
async def test_on_a_cluster(there: Cluster) -> None:
    """The same."""
    await check(DaskPlace(there.address))


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_exit_beside_it() -> None:
    """It has crashed by that, as where that is all."""
    async with ProcessTaskRunner(1).start() as runner:
        slot = runner.submit_nowait("k", beside_an_exit)
        await runner.wait(slot)
    error = slot.peek_error()
    assert isinstance(error, CallCrashed)
    assert error.kind == "exit"
    assert "(1 sub-exception)" in error.detail


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_initializer() -> None:
    """No loop has to do with it: what it raises keeps the runner from starting."""
    with pytest.raises(RuntimeError, match="StopCall came out of the call"):
        async with ProcessTaskRunner(1, initializer=stop_of_its_own).start():
            raise AssertionError


# The far side, without a process --------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_what_is_answered(loop: str) -> None:
    """That it was a stray, where nothing else is left."""
    for fn in STRAYS[loop]:
        is_async = asyncio.iscoroutinefunction(fn)
        with pytest.raises(StopCall):
            outcome(fn, is_async=is_async, loop=loop)
    found = outcome(beside_an_error, is_async=True, loop=loop).error
    assert [str(one) for one in found.exceptions] == ["mine"]
    with pytest.raises(CallCrashed, match=r"both \(1 sub-exception\) came out") as caught:
        outcome(beside_an_exit, is_async=True, loop=loop)
    assert caught.value.kind == "exit"


def test_one_of_another_loop() -> None:
    """It has crashed, as in a thread: there is no such cancellation here."""
    with pytest.raises(CallCrashed) as caught:
        outcome(throw, asyncio.CancelledError(), loop="trio")
    assert caught.value.kind == "exit"


def test_where_no_loop_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is its exception."""
    monkeypatch.delitem(sys.modules, "trio")
    with pytest.raises(CallCrashed, match="SystemExit"):
        outcome(throw, SystemExit())


@pytest.mark.parametrize("fn", [stop_of_its_own, plain])
def test_outside_of_any_loop(fn: Any) -> None:
    """As of what is no call of a run's."""
    with pytest.raises(CallCrashed) as caught:
        unpack("key", carry(pack(work(fn), None)))
    assert caught.value.kind == "exit"


def test_of_a_call_that_is_to_stop() -> None:
    """It has stopped, also where that comes in a group; beside an error it has failed."""
    stop = Stop()
    stop.set()
    answer = carry(pack(work(in_groups, is_async=True), "asyncio"), stop)
    assert load(answer)[0] == CANCELLED
    found = outcome(beside_an_error, is_async=True, loop="asyncio", stop=stop).error
    assert [str(one) for one in found.exceptions] == ["mine"]


def test_a_value_beats_a_cancellation() -> None:
    """Though asyncio says of the task that it was cancelled."""
    came = outcome(return_in_a_cancelled_task, is_async=True, loop="asyncio")
    assert came.value == "returned"


# This side ----------------------------------------------------------------------------------------


def test_a_ticket() -> None:
    """It was not cancelled by us; if it was, that counts."""
    for is_to_stop in (False, True):
        ticket = Ticket("key", 1, [b""])
        ticket.settle([dump_plain((STRAY,))])
        ticket.is_to_stop = is_to_stop
        if is_to_stop:
            assert ticket.outcome() is None
        else:
            with pytest.raises(StopCall):
                ticket.outcome()


@pytest.mark.anyio
async def test_without_a_task() -> None:
    """What has cancelled the call counts, if anything has; then what has cancelled the run."""
    post = Post(3)
    with anyio.CancelScope() as scope:
        async with owner(post).start() as runner:
            stray, late, cut = (runner.submit_nowait(key, abs, -1) for key in ("stray", "late", "cut"))
            post.begin("late", "cut")
            post.end(("stray", StopCall()))
            runner.cancel("late", "by us")
            post.end(("late", StopCall()))
            scope.cancel()
            post.end(("cut", StopCall()))
    assert [seen(slot) for slot in (stray, late, cut)] == [
        (State.CANCELLED, "foreign"),
        (State.CANCELLED, "cancel"),
        (State.CANCELLED, "outer"),
    ]
    assert late.reason == "by us"


def test_a_flight() -> None:
    """It lands as what it is, and that is raised to whoever waits for it."""
    flight = Flight("key", "fn", "mark", b"", {})
    connection: Any = None
    verdict = judge(connection, flight, None, dump_plain((STRAY,)))
    assert verdict is STRAYED
    flight.land(STRAYED)
    with pytest.raises(StopCall):
        _dask_open._read(flight)
