"""The parts of the Dask place, without a cluster: what hardly ever happens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from outcome import Value

from creche._backends import detect
from creche._errors import CallCrashed
from creche._far._body import RAISED, VALUE
from creche._far._pickling import dump_plain
from creche._place import Work
from creche.places import _dask_cluster, _dask_open, _dask_traffic
from creche.places import _dask_worker as far
from creche.places._dask_cluster import Connection, Wanted
from creche.places._dask_faults import judge
from creche.places._dask_flight import STOPPED, UNFED, Flight, check_options
from creche.places._dask_open import OpenDask
from creche.places._dask_stopping import Stopping
from creche.places._dask_threads import Answer, in_thread
from creche.places._dask_traffic import Traffic
from creche.places._requests import pack

WANTED = Wanted("tcp://scheduler:1", None, None, None, None, {})


def raises(exc: BaseException) -> Callable[..., Any]:
    """A function that raises it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        raise exc

    return call


def call(fn: Callable[[], object]) -> None:
    """A poster that has no loop."""
    fn()


def flight_of(mark: str = "mark", inputs: Any = ()) -> Flight:
    """A call on its way."""
    return Flight("key", "fn", mark, b"", {}, inputs)


# Inputs -------------------------------------------------------------------------------------------


def test_an_input_that_was_lost(tmp_path: Path) -> None:
    """The call has not begun, and says so; whatever was made instead of a value is no input."""
    assert far.carry_out(str(tmp_path), "mark", [], far.BEGUN) == far.UNFED
    assert list(tmp_path.iterdir()) == []
    far._here.inputs = [dump_plain((VALUE, 5)), dump_plain((RAISED, None, ""))]
    fn, args = far.Fed(0).__reduce__()
    assert fn(*args) == 5
    with pytest.raises(LookupError, match="was run again"):
        far._input(1)
    del far._here.inputs


class KilledWorker(Exception):  # noqa: N818 - as Dask's
    """As Dask's."""


def test_verdicts_on_inputs() -> None:
    """Whatever has become of them: if the call has not begun, it is sent with their values."""
    connection: Any = SimpleNamespace(
        has_begun=lambda mark, worker: False, answer_kept=lambda mark: None
    )
    refused = CancelledError()
    refused.reason = "lost dependencies"  # type: ignore[attr-defined]  # as distributed sets it
    for exc in (KilledWorker(), refused):
        future = SimpleNamespace(result=raises(exc))
        assert judge(connection, flight_of(inputs=[1]), future, None) is UNFED
    assert judge(connection, flight_of(), None, far.UNFED) is UNFED


def test_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mark stays meanwhile; those of others go after some time."""
    monkeypatch.setattr(_dask_cluster, "_KEPT", 0.01)
    made = Connection(WANTED)
    made.folder = str(tmp_path)
    for mark in ("other", "kept"):
        (tmp_path / mark).touch()
    future = SimpleNamespace(status="finished")
    kept = _dask_open.Kept(made, "kept", future)
    made.forget("kept")
    made.forget("other")
    time.sleep(0.02)
    made.forget("none")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    del kept
    time.sleep(0.02)
    made.forget("none")
    assert list(tmp_path.iterdir()) == []


# Clusters and clients -----------------------------------------------------------------------------


def started(make: Any) -> Any:
    """What is made of a class."""
    distributed = SimpleNamespace(LocalCluster=None)
    return Connection(WANTED._replace(cluster_class=make, cluster_kwargs={"n": 1}))._started(distributed)


def test_other_clusters() -> None:
    """They are made with what was passed; why one may not start is noted."""
    assert started(lambda **kwargs: SimpleNamespace(scheduler_address="", **kwargs)).n == 1
    with pytest.raises(RuntimeError) as caught:
        started(raises(RuntimeError()))
    assert "if __name__ == '__main__':" in caught.value.__notes__[0]


def test_closing_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and not waited for."""
    monkeypatch.setattr(_dask_cluster, "_PATIENCE", 0.01)
    _dask_cluster._close("cluster", lambda: time.sleep(0.2))
    assert "the Dask cluster is not closed" in caplog.text


def test_some_workers_without_creche() -> None:
    """Those that have it are enough."""
    made = Connection(WANTED)
    said = {"tcp://a:1": ImportError(), "tcp://b:1": True}
    made.client = SimpleNamespace(run=lambda *_, **__: said)
    made._look_at_workers()
    assert made._hosts == {"b": True}


# Options ------------------------------------------------------------------------------------------


def test_options() -> None:
    """Dask's own words among the annotations are taken out of them."""
    assert check_options({"annotations": {"priority": 1}}) == {"priority": 1}
    assert check_options({"workers": "a", "allow_other_workers": True}) == {
        "workers": "a",
        "allow_other_workers": True,
    }


# Waiting ------------------------------------------------------------------------------------------


def test_it_has_landed() -> None:
    """Then nobody parks; and what lands twice stays."""
    flight, answer = flight_of(), Answer()
    flight.land(Value(1))
    flight.land(STOPPED)
    answer.give(Value(1))
    assert flight.landed == Value(1)
    assert not flight.enroll(lambda: None)
    assert not answer.enroll(lambda: None)
    with pytest.raises(CallCrashed, match="nobody here asked for it"):
        stopped = flight_of()
        stopped.land(STOPPED)
        _dask_open._read(stopped)


@pytest.mark.anyio
@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_of_asyncio_is_cancelled() -> None:
    """Its own cancellation goes through shields, and shows when the thread has ended."""
    ended: list[float] = []

    def doze() -> None:
        time.sleep(0.1)
        ended.append(time.monotonic())

    waiting = asyncio.ensure_future(in_thread(detect(), doze, "test"))
    await anyio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended


# Traffic and stopping -----------------------------------------------------------------------------


def stopping_of(client: Any, *, restart: bool = False) -> tuple[Stopping, Traffic]:
    """With a client that there is not."""
    made = Connection(WANTED)
    made.client = client
    traffic = Traffic(made, call)
    traffic.close()
    return Stopping(made, call, traffic, restart=restart), traffic


def test_a_cluster_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What was to be stopped is given up all the same."""
    caplog.set_level("DEBUG", logger="creche")
    client = SimpleNamespace(
        status="running", processing=raises(OSError("gone")), cancel=raises(OSError("gone"))
    )
    stopping, _ = stopping_of(client)
    flight = flight_of()
    flight.future = SimpleNamespace(status="pending")
    stopping._tell([flight])
    assert "could not be told to stop: OSError('gone')" in caplog.text
    stopping._abandon([flight])
    assert "could not be given up: OSError('gone')" in caplog.text
    assert flight.landed is STOPPED


def test_workers_that_are_hard_to_end() -> None:
    """One without a nanny is left; one that does not hear is restarted by its nanny."""
    restarted: list[Any] = []
    client = SimpleNamespace(
        status="running",
        scheduler_info=lambda **_: {"workers": {"a": {"nanny": None}, "b": {"nanny": "n"}}},
        run=lambda *_, **__: None,
        nthreads=lambda: {"b": 1},
        restart_workers=lambda workers, **_: restarted.append(workers),
    )
    stopping, _ = stopping_of(client, restart=True)
    assert not stopping._end_workers(["a"], ["key"])
    assert stopping._end_workers(["a", "b"], ["key"])
    assert restarted == [["b"]]
    stopping._take_back([flight_of()])  # it was not even sent


@pytest.mark.parametrize("hears", [True, False])
def test_workers_that_end(caplog: pytest.LogCaptureFixture, *, hears: bool) -> None:
    """The ones at once, the others by their nannies; no call is said to be left to itself."""
    restarted: list[Any] = []
    flight = flight_of()
    flight.future = SimpleNamespace()
    client = SimpleNamespace(
        processing=lambda: {"a": [flight.dask_key]},
        cancel=lambda *_, **__: None,
        scheduler_info=lambda **_: {"workers": {"a": {"nanny": "n"}}},
        run=lambda *_, **__: None,
        nthreads=lambda: {} if hears else {"a": 1},
        restart_workers=lambda workers, **_: restarted.extend(workers),
    )
    stopping, _ = stopping_of(client, restart=True)
    stopping._abandon([flight])
    assert restarted == ([] if hears else ["a"])
    assert "restarting workers" in caplog.text
    assert "left to themselves" not in caplog.text


def test_it_was_given_up_meanwhile() -> None:
    """What is gathered then is of no interest; and what is dropped is not sent."""
    _, traffic = stopping_of(SimpleNamespace(status="running"))
    traffic._collect([flight_of()])
    flight = flight_of()
    assert traffic.drop(flight)
    traffic._send_all([flight], 0)
    assert not flight.sent
    assert not traffic._aloft


def test_two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are given up in one turn of the loop are one matter; one is being sent just now."""
    posted: list[Any] = []
    made = Connection(WANTED)
    made.client = SimpleNamespace(status="running", processing=dict, cancel=lambda futures, **_: None)
    traffic = traffic_without_threads(monkeypatch, made)
    stopping = Stopping(made, posted.append, traffic, restart=False)
    flights = [flight_of("a"), flight_of("b")]
    for flight in flights:
        flight.future = SimpleNamespace(status="pending")
        stopping.give_up(flight)
    assert posted == [stopping._give_up_all]
    unsent = flight_of()
    threading.Timer(0.05, unsent.land, [STOPPED]).start()
    stopping._tell([unsent])
    assert unsent.landed is STOPPED


def traffic_without_threads(monkeypatch: pytest.MonkeyPatch, made: Connection) -> Traffic:
    """For what its threads do, done by hand."""
    with monkeypatch.context() as patch:
        patch.setattr(_dask_traffic, "start", lambda *_: None)
        return Traffic(made, call)


def test_closed_with_things_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not sent by then stays; what has come is gathered."""
    made = Connection(WANTED)
    made.client = SimpleNamespace(status="running", map=raises(AssertionError()))
    traffic = traffic_without_threads(monkeypatch, made)
    flight = flight_of()
    traffic.send(flight)
    traffic._ready.put(flight)
    traffic.close()
    traffic._keep_sending()
    traffic._keep_receiving()
    assert not flight.sent


def test_the_scheduler_is_lost_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at now and then."""
    made = Connection(WANTED)
    made.client = SimpleNamespace(status="connecting")
    traffic = traffic_without_threads(monkeypatch, made)
    flight = flight_of()
    traffic._aloft[flight.dask_key] = flight
    flight.enroll(lambda: traffic._ready.put(None))
    traffic._keep_receiving()
    assert isinstance(flight.landed, CallCrashed)
    assert flight.landed.kind == "scheduler-lost"


def test_a_value_that_does_not_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dask makes it again, and says so then."""
    made = Connection(WANTED)
    made.folder = str(tmp_path)
    made.client = SimpleNamespace(status="running", gather=lambda *_, **__: [])
    traffic = traffic_without_threads(monkeypatch, made)
    flight = flight_of()
    told: list[Any] = []
    flight.future = SimpleNamespace(
        status="finished", result=raises(TimeoutError()), add_done_callback=told.append
    )
    traffic._aloft[flight.dask_key] = flight
    traffic._collect([flight])
    assert len(told) == 1
    assert flight.landed is None


def test_a_call_after_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client has removed its folder: nothing is made there."""
    folder = str(tmp_path / "gone")
    monkeypatch.setitem(far._is_here, folder, True)
    work = Work("key", int, (), is_async=False, context=copy_context())
    assert isinstance(far.carry_out(folder, "mark", pack(work, "trio", in_band=True)), bytes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_interrupted() -> None:
    """Ctrl-C does not wait for a call; it is told to stop all the same."""

    async def park(_: object) -> None:
        raise KeyboardInterrupt

    posted: list[Any] = []
    backend: Any = SimpleNamespace(
        park=park, cancelled=asyncio.CancelledError, poster=lambda: posted.append
    )
    made = Connection(WANTED)
    made.client = SimpleNamespace(status="running", map=raises(OSError()))
    host: Any = SimpleNamespace(loop="asyncio", runner_name="r")
    place = OpenDask(backend, host, made, 2.0, "abandon")
    with pytest.raises(KeyboardInterrupt):
        await place.run(Work("key", int, (), is_async=False, context=copy_context()))
    place.close()
    assert place._stopping._ask_all in posted
