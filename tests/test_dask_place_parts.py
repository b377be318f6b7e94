"""The parts of the Dask place, without a cluster: marks and answers on a worker, and verdicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from outcome import Value

from creche._backends import detect
from creche._errors import CallCancelled, CallCrashed
from creche._far._stop import CURRENT, is_stopping
from creche._place import Work
from creche.places import _dask_cluster
from creche.places import _dask_worker as far
from creche.places._answers import unpack
from creche.places._dask_cluster import Connection, Wanted
from creche.places._dask_faults import Verdict, judge, scheduler_lost
from creche.places._dask_flight import STOPPED, Flight
from creche.places._dask_threads import in_thread, within
from creche.places._dask_traffic import Traffic
from creche.places._requests import pack

WANTED = Wanted("tcp://scheduler:1", None, None, None, None, {})


def packed(fn: Callable[..., Any], *args: Any) -> Any:
    return pack(Work("key", fn, args, is_async=False, context=copy_context()), "trio", in_band=True)


def raises(exc: BaseException) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise exc

    return call


def doze(seconds: float) -> int:
    time.sleep(seconds)
    return 5


# On a worker --------------------------------------------------------------------------------------


def test_the_answer_is_kept(tmp_path: Path) -> None:
    """A call whose answer is there is not run again."""
    answer = far.carry_out(str(tmp_path), "mark", packed(int, "5"))
    assert far.carry_out(str(tmp_path), "mark", packed(int, "6")) == answer
    assert isinstance(answer, bytes)
    assert unpack("key", [answer]) == Value(5)


def test_a_large_answer_is_not_kept(tmp_path: Path) -> None:
    """It is made again if it is lost; half an answer is none."""
    far.carry_out(str(tmp_path), "mark", packed(bytes, 50_000))
    assert not (tmp_path / "mark").exists()
    (tmp_path / "half").write_bytes((100).to_bytes(8) + b"half")
    assert far.answer_in(str(tmp_path / "half")) is None
    assert far.answer_in(str(tmp_path / "none")) is None


def test_a_call_that_has_begun(tmp_path: Path) -> None:
    """It is not run again."""
    (tmp_path / "mark").touch()
    assert far.carry_out(str(tmp_path), "mark", packed(int)) == far.BEGUN


def test_a_call_that_was_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not begin; only so many are remembered."""
    monkeypatch.setattr(far, "_REMEMBERED", 2)
    assert far.tell_to_stop(["a", "b", "c"]) == []
    came = [far.carry_out(str(tmp_path), mark, packed(int)) for mark in ("a", "b", "c")]
    assert came[1:] == [far.STOPPED, far.STOPPED] != came[:2]


def test_a_call_that_is_told(tmp_path: Path) -> None:
    """It finds out."""
    begun = threading.Event()

    def obey() -> None:
        begun.set()
        while not is_stopping():
            time.sleep(0.001)
        raise CallCancelled("key", "outer", "told")

    parts = packed(int)
    came: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(far, "carry", lambda _, stop, **__: [_carried(obey, stop)])
        thread = threading.Thread(
            target=lambda: came.append(far.carry_out(str(tmp_path), "mark", parts))
        )
        thread.start()
        begun.wait()
        assert far.tell_to_stop(["mark", "other"]) == ["mark"]
        thread.join()
    assert came == [b"stopped"]


def _carried(fn: Callable[[], object], stop: Any) -> bytes:
    CURRENT.set(stop)
    with suppress(CallCancelled):
        fn()
    return b"stopped"


def test_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks are made in a folder of its own, and no answers are kept; nothing is left in the end."""
    monkeypatch.setattr(far, "folder_for_marks", lambda: str(tmp_path))
    folder = str(tmp_path / "elsewhere" / "run")
    assert not far.sees(folder)
    far.carry_out(folder, "mark", packed(int))
    assert not far.has_begun(folder, "mark")
    (tmp_path / "run-far" / "mark").touch()
    assert far.has_begun(folder, "mark")
    far.tidy(folder)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls run all the same."""
    monkeypatch.setattr(far, "folder_for_marks", lambda: str(tmp_path / "no" / "such"))
    assert isinstance(far.carry_out("/elsewhere/dark", "mark", packed(int)), bytes)
    monkeypatch.undo()
    monkeypatch.setattr(far, "_SHARED_MEMORY", "/no/such/folder")
    assert Path(far.folder_for_marks()).is_dir()


# Verdicts -----------------------------------------------------------------------------------------


class KilledWorker(Exception):  # noqa: N818 - as below
    """As Dask's."""

    last_worker = SimpleNamespace(address="tcp://10.0.0.1:5")


class Lost(CancelledError):  # noqa: N818 - the names are Dask's
    """As Dask's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def verdict(exc: BaseException, *, begun: bool = True, up: bool = True, stopping: bool = False) -> Any:
    connection: Any = SimpleNamespace(
        has_begun=lambda mark, worker: begun,
        answer_kept=lambda mark: None,
        is_up=up,
    )
    flight = Flight("key", "fn", "mark", b"", {})
    flight.stopping = stopping
    return judge(connection, flight, SimpleNamespace(result=raises(exc)), None)


@pytest.mark.parametrize(
    ("exc", "kind", "more"),
    [
        (KilledWorker(), "worker-died", {}),
        (Lost("scheduler-connection-lost"), "scheduler-lost", {}),
        (Lost("scheduler-restart"), "worker-died", {}),
        (Lost("unknown"), "dask", {}),
        (ImportError("no creche"), "deserialize", {}),
        (OSError("closed"), "scheduler-lost", {"up": False}),
        (OSError("closed"), "dask", {}),
    ],
)
def test_crashes(exc: BaseException, kind: str, more: dict[str, bool]) -> None:
    """What Dask says, and what it is called."""
    assert verdict(exc, **more).kind == kind


def test_what_is_no_crash() -> None:
    """One that was to stop has stopped; one that had not begun is sent again; one may come later."""
    assert verdict(KilledWorker(), stopping=True) is STOPPED
    assert verdict(Lost("creche"), stopping=True) is STOPPED
    assert verdict(KilledWorker(), begun=False) is Verdict.AGAIN
    assert verdict(TimeoutError()) is Verdict.LATER


def test_whatever_happens_there_is_a_verdict() -> None:
    """Also of what nobody has thought of, and of what the worker says instead of an answer."""
    connection: Any = SimpleNamespace()
    flight = Flight("key", "fn", "mark", b"", {})
    assert judge(connection, flight, None, None).kind == "dask"  # type: ignore  # it is a crash
    assert judge(connection, flight, None, far.STOPPED) is STOPPED
    assert judge(connection, flight, None, far.BEGUN).kind == "worker-died"  # type: ignore  # it is a crash
    assert scheduler_lost(flight).kind == "scheduler-lost"


def test_attempts() -> None:
    """Each has a name of its own, and there is an end to them."""
    flight = Flight("key", "fn", "mark", b"", {})
    names = {flight.dask_key}
    while flight.again(3):
        names.add(flight.dask_key)
    assert len(names) == 3


# Asking about workers -----------------------------------------------------------------------------


def connection(run: Callable[..., Any], workers: tuple[str, ...] = ()) -> Connection:
    made = Connection(WANTED)
    made.client = SimpleNamespace(run=run, nthreads=lambda: dict.fromkeys(workers, 1), status="running")
    return made


def test_a_worker_that_died_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one beside it is asked; if nobody is left to tell, the call may have begun."""
    monkeypatch.setattr(_dask_cluster, "_HEIR", 0.15)

    def run(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"tcp://a:1": fn is not far.sees and args[-1] == "begun"}

    asked = connection(run, ("tcp://a:1", "tcp://b:1"))
    assert asked.has_begun("begun", "tcp://a:2")
    assert not asked.has_begun("queued", "tcp://a:2")
    assert asked.has_begun("queued", "tcp://c:2")
    assert asked._deserted == {"tcp://c:2"}
    assert connection(lambda *_, **__: {}, ("inproc://a/1",)).has_begun("queued", "inproc://a/1")


@pytest.mark.parametrize("is_here", [True, False])
def test_the_only_worker_died(is_here: bool, tmp_path: Path) -> None:
    """Its nanny starts another one, which tells what had begun: a call that was queued has not."""
    came: list[str] = []

    def run(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict.fromkeys(came, is_here if fn is far.sees else args[-1] == "begun")

    def nthreads() -> dict[str, int]:
        came.append("tcp://a:2")  # from now on it is there
        return dict.fromkeys(came[1:], 1)

    made = connection(run)
    made.client.nthreads = nthreads
    made.folder = str(tmp_path)
    (tmp_path / "begun").touch()
    assert not made.has_begun("queued", "tcp://a:1")
    assert made.has_begun("begun", "tcp://a:1")
    assert not made._deserted


def test_workers_without_creche() -> None:
    """They are named."""
    with pytest.raises(RuntimeError, match="creche cannot be imported on the workers"):
        connection(lambda *_, **__: {"a": ImportError("no creche")})._look_at_workers()


def test_closing_what_does_not_close(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the rest is closed."""
    closed: list[str] = []
    made = connection(lambda *_, **__: closed.append("tidied"))
    made.client.status = "running"
    made.client.close = raises(OSError("stuck"))
    made._hosts["a"] = False
    made._cluster = SimpleNamespace(close=lambda: closed.append("cluster"))
    made.close()
    assert closed == ["tidied", "cluster"]
    assert "closing the Dask client failed: OSError('stuck')" in caplog.text
    made.open()  # after that it stays closed


# Threads ------------------------------------------------------------------------------------------


def test_within() -> None:
    """What takes too long, or raises, is answered for."""
    assert within(5, lambda: 1, 2) == 1
    assert within(5, raises(ValueError()), 2) == 2
    assert within(0.01, lambda: doze(0.2), 2) == 2


@pytest.mark.anyio
@pytest.mark.usefixtures("real_time")
async def test_in_thread() -> None:
    """It is waited for, cancelled or not, and raises what the function raises."""
    with pytest.raises(ValueError, match="no"):
        await in_thread(detect(), raises(ValueError("no")), "test")
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await in_thread(detect(), lambda: doze(0.05), "test") == 5


# Traffic ------------------------------------------------------------------------------------------


class Client:
    """Of a cluster that there is not."""

    status = "running"

    def __init__(self, send: Callable[..., Any]) -> None:
        self.map = send


def call(fn: Callable[[], object]) -> None:
    fn()


def traffic_of(client: Client) -> Traffic:
    made = Connection(WANTED)
    made.client = client
    return Traffic(made, call)


def landed(traffic: Traffic, flight: Flight) -> Any:
    traffic.send(flight)
    until = time.monotonic() + 5
    while flight.landed is None and time.monotonic() < until:
        time.sleep(0.001)
    traffic.close()
    return flight.landed


def test_what_cannot_be_sent() -> None:
    """It is CRASHED with what Dask said, or since the scheduler is gone; before or after."""
    flight = Flight("key", "fn", "mark", b"", {})
    assert landed(traffic_of(Client(raises(OSError("full")))), flight).kind == "dask"
    client = Client(raises(AssertionError()))
    client.status = "connecting"
    flight = Flight("key", "fn", "mark", b"", {})
    assert landed(traffic_of(client), flight).kind == "scheduler-lost"

    def lose(*args: Any, **kwargs: Any) -> list[Any]:
        client.status = "connecting"
        return [SimpleNamespace(add_done_callback=lambda fn: None)]

    client = Client(lose)
    traffic = traffic_of(client)
    flight = Flight("key", "fn", "mark", b"", {})
    assert landed(traffic, flight).kind == "scheduler-lost"
    with pytest.raises(CallCrashed, match="scheduler-lost"):
        traffic.send(flight)
    client.status = "running"  # it has come back, and knows of nothing
    traffic.send(flight)
    assert traffic.drop(Flight("key", "fn", "mark", b"", {}))


def test_sending_again_has_an_end() -> None:
    """One that was to stop meanwhile has stopped; one that was sent too often is lost."""
    traffic = traffic_of(Client(raises(OSError())))
    traffic.close()
    flight = Flight("key", "fn", "mark", b"", {})
    flight.stopping = True
    traffic._aloft[flight.dask_key] = flight
    traffic._send_again(flight)
    assert flight.landed is STOPPED
    flight = Flight("key", "fn", "mark", b"", {})
    for _ in range(100):
        if flight.landed is None:
            traffic._aloft[flight.dask_key] = flight
            traffic._send_again(flight)
    assert isinstance(flight.landed, CallCrashed)
    assert flight.landed.kind == "worker-died"
