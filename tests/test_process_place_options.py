"""The settings of worker processes: what is refused, and what each of them does."""

from __future__ import annotations

import asyncio
import contextvars
import importlib.util
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from creche._errors import CallCrashed
from creche.places import _crew, _pool
from creche.places import _spawning as spawning
from creche.places._process import ProcessPlace
from creche.places._ticket import Ticket
from far_calls import fail_once_started, linger, nap
from pools import until
from processes import Opened, open_place

pytestmark = pytest.mark.slow

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be at least 1, not 0; leave it out"),
        ({"max_workers": "2"}, TypeError, "max_workers must be a whole number"),
        ({"max_workers": True}, TypeError, "max_workers must be a whole number"),
        ({"max_calls": 0}, ValueError, "max_calls must be at least 1, not 0; leave it out"),
        ({"prewarm": -1}, ValueError, "prewarm must be at least 0, not -1"),
        (
            {"max_workers": 2, "prewarm": 3},
            ValueError,
            "prewarm must be at most max_workers, which is 2",
        ),
        ({"kill_grace": -1}, ValueError, "kill_grace must be 0 seconds or more"),
        ({"kill_grace": float("inf")}, ValueError, "kill_grace must be 0 seconds or more"),
        ({"kill_grace": None}, TypeError, "kill_grace must be a number of seconds, not None"),
        ({"batch": 0}, ValueError, "batch must be at least 1, not 0"),
        ({"batch": "many"}, TypeError, "batch must be a whole number of at least 1, not 'many'"),
        ({"batch": 100_000}, ValueError, "batch must be at most 512, not 100000"),
        ({"initializer": 5}, TypeError, "initializer must be a function without arguments, not 5"),
        ({"initializer": asyncio.sleep}, TypeError, "initializer must be a plain function"),
        ({"context": VARIABLE}, TypeError, "context must be an iterable of context variables"),
        ({"context": 5}, TypeError, "context must be an iterable of context variables"),
        ({"context": ["VARIABLE"]}, TypeError, "context must hold context variables, not 'VARIABLE'"),
        (
            {"context": [contextvars.ContextVar("hidden")]},
            ValueError,
            "the context variable 'hidden' is not to be found in a module",
        ),
    ],
)
def test_what_is_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    """At once, and the message names the option and the cure."""
    with pytest.raises(error, match=said):
        ProcessPlace(**options)


def test_without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'creche\[process\]'"):
        ProcessPlace()


def test_it_is_compared_and_pickled_by_its_settings() -> None:
    """It may serve many runners."""
    place = ProcessPlace(
        3, max_calls=5, context=[VARIABLE], initializer=os.getpid, kill_grace=1, batch=7
    )
    assert (place.name, place.capacity, place.workers) == ("process", 3, 3)
    again = pickle.loads(pickle.dumps(place))
    assert again == place
    assert hash(again) == hash(place)
    assert place != ProcessPlace(3)
    assert place != 3
    assert "context=['test_process_place_options.VARIABLE']" in repr(place)
    assert ProcessPlace().workers >= 1


def test_processors_where_there_is_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the machine has, at least one."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert ProcessPlace().workers == 1


shared: list[str] = []


def prepare() -> None:
    shared.append("prepared")


def look() -> tuple[int, list[str]]:
    return os.getpid(), shared


def prepare_lock() -> threading.Lock:
    prepare()
    return threading.Lock()


def fail() -> None:
    raise ValueError("of the initializer")


def rest() -> None:
    time.sleep(60)


async def _lost(opened: Opened, seconds: float) -> None:
    with pytest.raises(CallCrashed, match="SIGKILL|was closed"):
        await opened.outcome(nap, 30 * seconds)


loops = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


class TestOpened:
    """What each setting does, on every loop."""

    pytestmark = loops

    async def test_max_calls(self) -> None:
        """A worker is replaced after so many."""
        async with open_place(1, max_calls=3) as opened:
            pids = [await opened.result(os.getpid) for _ in range(7)]
            assert [len(set(pids[:3])), len(set(pids[3:6])), len(set(pids))] == [1, 1, 3]

    async def test_max_calls_and_calls_at_hand(self) -> None:
        """No worker is given more than it may carry out, whatever is taken back."""
        async with open_place(2, max_calls=5, batch=4) as opened:
            pids = await opened.all_of(nap, [0.001] * 40)
            assert max(pids.count(pid) for pid in pids) <= 5

    @pytest.mark.parametrize("initializer", [prepare, prepare_lock])
    async def test_initializer(self, initializer: Callable[[], object]) -> None:
        """Once in each worker, before its first call; one is started to see that it works.

        What it returns, a connection or a model, stays there.
        """
        async with open_place(2, initializer=initializer) as opened:
            assert len(opened.crew.workers) == 1
            pid, found = await opened.result(look)
            assert found == ["prepared"]
            assert await opened.result(look) == (pid, ["prepared"])

    @pytest.mark.parametrize("prewarm", [0, 2])
    async def test_initializer_that_raises(self, prewarm: int) -> None:
        """Its error is what opening raises."""
        with pytest.raises(ValueError, match="of the initializer") as caught:
            async with open_place(2, initializer=fail, prewarm=prewarm):
                raise AssertionError
        assert "in fail" in str(caught.value.__cause__)

    async def test_initializer_that_exits(self) -> None:
        """A clear error, whether it exits politely or not."""
        with pytest.raises(
            RuntimeError, match="the initializer of a worker process did not return: Sys"
        ):
            async with open_place(1, initializer=sys.exit):
                raise AssertionError
        with pytest.raises(RuntimeError, match="exited with code 7"):
            async with open_place(1, initializer=lambda: os._exit(7)):
                raise AssertionError

    async def test_initializer_that_cannot_be_sent(self) -> None:
        """An error that says what."""
        lock = threading.Lock()
        with pytest.raises(
            TypeError, match="initializer cannot be sent to a worker process: the callable"
        ):
            async with open_place(1, initializer=lambda: lock):
                raise AssertionError

    async def test_initializer_that_fails_later(self, tmp_path: Any) -> None:
        """Calls are lost to it one by one, and there is an end to it."""
        path = str(tmp_path / "started")
        async with open_place(1, initializer=lambda: fail_once_started(path), max_calls=1) as opened:
            assert await opened.result(os.getpid)
            for _ in range(2):
                with pytest.raises(
                    CallCrashed, match="the initializer failed in a new worker"
                ) as caught:
                    await opened.outcome(os.getpid)
                assert isinstance(caught.value.__cause__, ValueError)

    async def test_prewarm(self) -> None:
        """So many are ready at once."""
        async with open_place(3, prewarm=2) as opened:
            assert [worker.is_ready for worker in opened.crew.workers] == [True, True]

    async def test_a_worker_that_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has some seconds, and is killed then."""
        monkeypatch.setattr(_crew, "GOODBYE", 0.2)
        async with open_place(1) as opened:
            await opened.result(linger)

    async def test_closed_while_a_call_is_carried_out(self) -> None:
        """Which a run does not do; its worker is killed."""
        async with anyio.create_task_group() as group, open_place(1) as opened:
            group.start_soon(_lost, opened, 1)
            await until(lambda: opened.crew.workers and opened.crew.workers[0].is_ready)

    async def test_closed_while_workers_start(self) -> None:
        """They end as well."""
        async with open_place(2) as opened:
            with anyio.move_on_after(0.01):
                await opened.outcome(os.getpid)
            opened.crew.start()

    async def test_an_opening_that_is_cut_short(self) -> None:
        """An initializer that never returns is not waited for."""
        began = anyio.current_time()
        with anyio.move_on_after(0.3) as scope:
            async with open_place(2, initializer=rest, prewarm=1, kill_grace=1):
                raise AssertionError
        assert scope.cancelled_caught
        assert anyio.current_time() - began < _crew.GOODBYE / 2

    async def test_no_process_can_be_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The call is lost to it, unless there is another worker to wait for."""
        async with open_place(2) as opened:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", "/nowhere/python")
                with pytest.raises(CallCrashed, match="no worker process could be started: .*/nowhere"):
                    await opened.outcome(os.getpid)
            pid = await opened.result(os.getpid)
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", "/nowhere/python")
                assert await opened.all_of(nap, [0.1, 0.01]) == [pid, pid]

    async def test_workers_that_never_get_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After some in a row calls are lost to it."""
        monkeypatch.setattr(_pool, "PATIENCE", 2)
        async with open_place(1) as opened:
            monkeypatch.setattr(spawning, "_BEGIN", "import os; os._exit(9)")
            with pytest.raises(CallCrashed, match="3 worker processes in a row ended") as caught:
                await opened.outcome(os.getpid)
            assert caught.value.exit_code == 9

    async def test_each_of_those_costs_one_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many were sent ahead to it."""
        monkeypatch.setattr(_pool, "PATIENCE", 1)
        async with open_place(1, batch=4) as opened:
            monkeypatch.setattr(spawning, "_BEGIN", "import os; os._exit(9)")
            opened.host.set_capacity(3)
            found = await opened.all_of(nap, [0, 0, 0])
            assert sorted(came.detail.partition(" ")[0] for came in found) == ["2", "3", "4"]

    async def test_where_there_is_no_descriptor_of_a_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread waits for it."""
        monkeypatch.delattr(os, "pidfd_open")
        async with open_place(1) as opened:
            assert await opened.result(os.getpid)
            with pytest.raises(CallCrashed, match="exited with code 3"):
                await opened.outcome(os._exit, 3)
            assert await opened.result(os.getpid)
            await until(lambda: len(opened.crew.workers) == 1)


@pytest.mark.anyio
@pytest.mark.usefixtures("real_time")
async def test_a_call_that_is_left_at_the_end() -> None:
    """A run has none by then; somebody else who uses a place is told."""
    ticket = Ticket("k", 1, [b""])
    async with open_place(1) as opened:
        opened.pool._queue.append(ticket)
    with pytest.raises(CallCrashed, match="its place was closed"):
        ticket.outcome()
