"""Calls on a Dask cluster: what they give and raise, where they run, and what a mistake says."""

from __future__ import annotations

import math
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from distributed import LocalCluster

from creche import CurrentCall, DaskTaskRunner, current_call
from creche._errors import CallCrashed, RemoteError, RemoteTraceback
from creche.places._dask import DaskPlace
from dask_clusters import (
    Cluster,
    Stubborn,
    annotations_here,
    async_work,
    cluster,
    double,
    error_of,
    fail,
    give_stubborn,
    on,
    opened,
    run_all,
    sleep,
    work,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers, one of which has a thing that the other lacks."""
    with cluster(tmp_path_factory.mktemp("dask"), workers=1) as found:
        found.add_workers(1, "--resources", "GPU=1", "--name", "gifted")
        yield found


async def test_which_call_it_is(there: Cluster) -> None:
    """Code over there knows the key, the runner and the attempt."""
    async with on(there) as place:
        found = await run_all(
            place, {"a": work(current_call, attempt=2, flow="census"), ("b", 1): work(current_call)}
        )
    assert found["a"] == CurrentCall("a", "test", 2, "dask", "census")
    assert found["b", 1] == CurrentCall("('b', 1)", "test", 1, "dask")


async def test_values(there: Cluster, tmp_path: Path) -> None:
    """Of plain and async functions, of lambdas and bound methods; beside each other."""
    async with on(there) as place:
        found = await run_all(
            place,
            {
                "plain": work(double, 4),
                "lambda": work(lambda: 1),
                "method": work("a{}".format, 1),
                "async": async_work(sleep, str(tmp_path / "log"), 0.01),
                "none": work(print),
                **{number: work(double, number) for number in range(50)},
            },
        )
    assert found.pop("lambda") == 1
    assert found.pop("async") in ("trio", "asyncio")
    assert [found.pop(number) for number in range(50)] == list(range(0, 100, 2))
    assert found == {"plain": 8, "method": "a1", "none": None}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_large(there: Cluster) -> None:
    """Arguments and results larger than what Dask warns of."""
    async with on(there) as place:
        blob = bytes(12_000_000)
        assert (await place.run(work(bytes.__len__, blob))).unwrap() == len(blob)
        assert (await place.run(work(bytes, len(blob)))).unwrap() == blob


async def test_errors(there: Cluster) -> None:
    """The user's exception comes as itself, or something stands for it; a worker survives all."""
    async with on(there) as place:
        exc = await error_of(place, work(fail, "value"))
        assert isinstance(exc, ValueError)
        assert isinstance(exc.__cause__, RemoteTraceback)
        assert "in fail" in str(exc.__cause__)
        assert isinstance(await error_of(place, work(fail, "stop")), StopIteration)
        assert isinstance(await error_of(place, work(fail, "two")), RemoteError)
        for kind in ("exit", "interrupt"):
            with pytest.raises(CallCrashed) as caught:
                await place.run(work(fail, kind))
            assert caught.value.kind == "exit"
        assert (await place.run(work(double, 2))).unwrap() == 4


async def test_what_cannot_be_pickled(there: Cluster) -> None:
    """It costs its own call."""
    async with on(there) as place:
        found = await run_all(
            place,
            {
                "argument": work(double, Stubborn()),
                "result": work(give_stubborn),
                "beside": work(double, 1),
            },
        )
    assert found["beside"] == 2
    for key in ("argument", "result"):
        assert found[key].kind == "serialize"
        assert "I stay here" in str(found[key])
        assert repr(key) in str(found[key])


async def test_options(there: Cluster) -> None:
    """They are passed on; an unknown one is named."""
    async with on(there) as place:
        options: dict[str, Any] = {
            "resources": {"GPU": 1},
            "annotations": {"colour": "red"},
            "priority": 3,
        }
        found = await run_all(
            place,
            {
                **{number: work(double, number, options=options) for number in range(5)},
                "where": work(annotations_here, options=options),
                "by name": work(double, 3, options={"workers": ["gifted"]}),
            },
        )
        assert [found[number] for number in range(5)] == [0, 2, 4, 6, 8]
        assert found["where"]["colour"] == "red"
        assert found["by name"] == 6
        with pytest.raises(ValueError, match="'color'"):
            await place.run(work(double, 1, options={"color": "red"}))


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_our_own(caplog: pytest.LogCaptureFixture) -> None:
    """With nothing given a cluster is started, and closed; the dashboard is logged."""
    caplog.set_level("INFO", logger="creche")
    async with opened(DaskPlace(cluster_kwargs={"n_workers": 1})) as place:
        made = place._connection._cluster
        assert (await place.run(work(double, 2))).unwrap() == 4
    assert made.status.name == "closed"
    assert "Dask dashboard: http://" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_one_that_was_passed(there: Cluster) -> None:
    """It survives, with what it had."""
    del there
    start: Any = LocalCluster
    with start(n_workers=0, processes=False, dashboard_address=":0") as passed:
        place = DaskPlace(cluster=passed, adapt_kwargs={"minimum": 1, "maximum": 1})
        async with opened(place) as found:
            assert (await found.run(work(double, 2))).unwrap() == 4
        assert passed.status.name == "running"


# Settings -----------------------------------------------------------------------------------------


def test_settings() -> None:
    """They compare, travel, and show."""
    place = DaskPlace("tcp://host:1", client_kwargs={"timeout": 2})
    assert (
        place
        == DaskPlace("tcp://host:1", client_kwargs={"timeout": 2})
        == pickle.loads(pickle.dumps(place))
    )
    assert hash(place) == hash(pickle.loads(pickle.dumps(place)))
    assert place != DaskPlace("tcp://host:2")
    assert place != "tcp://host:1"
    assert "address='tcp://host:1'" in repr(place)


def test_settings_of_a_runner() -> None:
    """They are those of its place."""
    runner = DaskTaskRunner("tcp://host:1", cancel_grace=3, on_stuck="restart")
    assert runner._options.place == DaskPlace("tcp://host:1", grace=3, on_stuck="restart")
    assert DaskTaskRunner()._options.place == DaskPlace()
    with pytest.raises(ValueError, match="on_stuck must be 'abandon' or 'restart'"):
        DaskTaskRunner(on_stuck="wait")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"address": "a", "cluster": object()}, TypeError, "cluster must be a cluster object"),
        ({"address": 5}, TypeError, "address must be a string"),
        ({"address": ""}, ValueError, "address must not be empty"),
        ({"address": "tcp://a:1", "cluster_class": "a.b"}, ValueError, "address and cluster_class"),
        ({"cluster": "tcp://a:1"}, TypeError, "pass an address as address="),
        ({"cluster_class": 5}, TypeError, "cluster_class must be a class"),
        ({"cluster_class": "LocalCluster"}, ValueError, "import path"),
        ({"cluster_kwargs": [1]}, TypeError, "cluster_kwargs must be a dict"),
        ({"cluster_kwargs": {"asynchronous": True}}, ValueError, "must not have 'asynchronous'"),
        ({"client_kwargs": {"address": "a"}}, ValueError, "must not have 'address'"),
        ({"grace": -1}, ValueError, "grace must be 0 seconds or more"),
        ({"on_stuck": "wait"}, ValueError, "on_stuck must be 'abandon' or 'restart'"),
        ({"client_kwargs": {"timeout": -1}}, ValueError, "client_kwargs.'timeout'. must be 0 seconds"),
        ({"client_kwargs": {"timeout": math.nan}}, ValueError, "client_kwargs.'timeout'. must be"),
        ({"client_kwargs": {"timeout": True}}, ValueError, "client_kwargs.'timeout'. must be 0 seconds"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    """They are refused where they are passed, with the cure."""
    with pytest.raises(error, match=says):
        DaskPlace(**settings)


def test_cluster_settings() -> None:
    """A cluster that is passed excludes all that would start one."""

    class Passed:
        scheduler_address = "tcp://a:1"

    class Elsewhere(Passed):
        asynchronous = True

    with pytest.raises(ValueError, match="address and cluster exclude each other"):
        DaskPlace("tcp://a:1", Passed())
    with pytest.raises(ValueError, match="cluster and cluster_kwargs exclude"):
        DaskPlace(cluster=Passed(), cluster_kwargs={})
    with pytest.raises(ValueError, match="asynchronous=True"):
        DaskPlace(cluster=Elsewhere())
    with pytest.raises(TypeError, match="not the class Passed"):
        DaskPlace(cluster=Passed)


def test_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, before anything is started."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'creche\[dask\]'"):
        DaskPlace()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"resources": ["GPU"]}, TypeError),
        ({"resources": {"GPU": "1"}}, TypeError),
        ({"workers": 5}, TypeError),
        ({"workers": [5]}, TypeError),
        ({"allow_other_workers": 1}, TypeError),
        ({"priority": "high"}, TypeError),
        ({"priority": True}, TypeError),
        ({"priority": math.nan}, TypeError),
        ({"resources": {"GPU": -1}}, TypeError),
        ({"resources": {"GPU": math.nan}}, TypeError),
        ({"workers": ""}, TypeError),
        ({"allow_other_workers": True}, ValueError),
        ({"annotations": {1: 2}}, TypeError),
        ({"annotations": "red"}, TypeError),
        ({"annotations": {"retries": 3}}, ValueError),
        ({"retries": 3}, ValueError),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception]) -> None:
    """They are named."""
    with pytest.raises(error, match=next(iter(options))):
        DaskPlace().check_options(options)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nobody_there() -> None:
    """The address and the cure, within the timeout."""
    place = DaskPlace("tcp://127.0.0.1:9", client_kwargs={"timeout": 0.5})
    with pytest.raises(ConnectionError, match="tcp://127.0.0.1:9.*address="):
        async with opened(place):
            pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_certificates_are_needed_there() -> None:
    """It is said where they go."""
    place = DaskPlace("tls://127.0.0.1:9", client_kwargs={"timeout": 0.5})
    with pytest.raises(ValueError, match=r"tls://127.0.0.1:9.*client_kwargs=\{'security'"):
        async with opened(place):
            pass


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_somebody_else_there() -> None:
    """What answers there is no scheduler: the same."""

    async def greet(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"HTTP/1.1 400 Bad Request" * 10)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = f"tcp://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"  # noqa: S610 - no Django
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, greet)
        with pytest.raises(ConnectionError, match=address):
            async with opened(DaskPlace(address, client_kwargs={"timeout": 1})):
                pass
        group.cancel_scope.cancel()


async def test_somebody_silent_there() -> None:
    """As a scheduler that is frozen: it accepts, and that is all. The same, and no client is left."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    before = set(threading.enumerate())
    with (
        listener,
        anyio.fail_after(5),
        pytest.raises(ConnectionError, match=f"{address}.*nothing for 0.5 s"),
    ):
        async with opened(DaskPlace(address, client_kwargs={"timeout": 0.5})):
            pass
    assert not [one for one in threading.enumerate() if one not in before and one.name == "IO loop"]


async def test_nobody_there_and_cancelled() -> None:
    """Nobody waits for the time limit any more, and no client is left."""
    before, begun = set(threading.enumerate()), time.monotonic()
    place = DaskPlace("tcp://127.0.0.1:9", client_kwargs={"timeout": 30})
    with anyio.move_on_after(0.3) as scope:
        async with opened(place):
            pass
    assert scope.cancelled_caught
    assert time.monotonic() - begun < 10
    assert not [one for one in threading.enumerate() if one not in before and one.name == "IO loop"]


@pytest.mark.parametrize("address", ["foo://host:1", "tcp://host:port", "host"])
async def test_no_address(address: str) -> None:
    """What is no address is told from one where nobody is."""
    with pytest.raises(ValueError, match=f"not '{address}'"):
        async with opened(DaskPlace(address)):
            pass


async def test_no_time() -> None:
    """A time limit that is none is told from one in which nobody has answered."""
    timeouts: list[Any] = ["soon", []]
    for timeout in timeouts:
        with pytest.raises(ValueError, match="client_kwargs.'timeout'. must be seconds"):
            async with opened(DaskPlace("tcp://host:1", client_kwargs={"timeout": timeout})):
                pass


async def test_no_cluster() -> None:
    """A class of something else, and settings that Dask does not know: what was wrong is said."""
    with pytest.raises(TypeError, match="cluster_class must be one of Dask's clusters; .* has made 0"):
        async with opened(DaskPlace(cluster_class=int)):
            pass
    with pytest.raises(RuntimeError) as caught:
        async with opened(DaskPlace(cluster_kwargs={"n_workers": 1, "nonsense": 1})):
            pass
    assert "nonsense" in caught.value.__notes__[0]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_cluster_class_by_path() -> None:
    """A path that leads nowhere says so; one to a class starts it."""
    for path in ("no_such_module.Cluster", "distributed.NoCluster"):
        with pytest.raises(ImportError, match=f"cluster_class {path!r} cannot be imported"):
            async with opened(DaskPlace(cluster_class=path)):
                pass
    kwargs = {"n_workers": 1, "processes": False}
    async with opened(
        DaskPlace(cluster_class="distributed.LocalCluster", cluster_kwargs=kwargs)
    ) as place:
        assert (await place.run(work(double, 2))).unwrap() == 4
