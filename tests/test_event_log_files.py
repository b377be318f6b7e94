"""`EventLog` and its file: how it is begun, cannot be written any further, and ends."""

from __future__ import annotations

import copy
import errno
import gc
import json
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from calls import give
from creche import ConcurrentTaskRunner, Rate, State
from creche.instruments import CallEvent, EventLog, RunnerEvent, read_history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.mark.anyio
async def test_a_log_that_is_closed_early(path: Path) -> None:
    """The run goes on, and what comes later is not in the file; to close twice is to close once."""
    log = EventLog(path)
    runner = ConcurrentTaskRunner(instruments=[log])
    async with runner.start():
        await runner.submit_nowait("a", give)
        log.close()
        log.close()
        await runner.submit_nowait("b", give)
    history = read_history(path)
    assert [call.key for call in history.calls] == ["a"]
    assert (history.is_whole, history.is_closed) == (False, True)


def event(key: object = "k") -> CallEvent:
    return CallEvent(key, 1.0, State.PENDING, run=1, call=1)


def test_a_file_that_cannot_be_begun(tmp_path: Path) -> None:
    """An error at once: no such folder, a folder, a full disk."""
    for path in (tmp_path / "none" / "x", tmp_path, "/dev/full"):
        with pytest.raises(OSError, match="No such file|directory|No space left"):
            EventLog(path)
    with pytest.raises(TypeError, match="values must be True or False, not 1"):
        EventLog(tmp_path / "x", values=1)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError):
        EventLog(None)  # type: ignore[arg-type]  # wrong on purpose
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_becomes_full(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and nobody is held up; here the reader of a pipe has gone."""
    reading, writing = os.pipe()
    with caplog.at_level(logging.ERROR, "creche"):
        log = EventLog(f"/dev/fd/{writing}")
        os.close(writing)
        os.close(reading)
        for _ in range(3):
            log.call_submitted(event())
        until = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.01)
        log.call_submitted(event())
        log.close()
        log.call_submitted(event())
    assert len(caplog.records) == 1
    assert "cannot be written any further" in caplog.text


def test_a_disk_that_is_full_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The same, and the end does not wait for ever."""
    reading, writing = os.pipe()
    with caplog.at_level(logging.ERROR, "creche"):
        log = EventLog(f"/dev/fd/{writing}")
        os.close(writing)
        os.close(reading)
        log.close()
    assert len(caplog.records) == 1


def test_a_log_that_is_dropped(path: Path) -> None:
    """Nobody closes it, and what it has heard is in the file all the same; its thread ends."""
    log = EventLog(path)
    thread = log._thread
    log.runner_started(RunnerEvent("r", 1.0, run=1))
    log.call_submitted(event())
    del log
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert read_history(path).calls[0].key == "k"


def test_a_log_whose_last_owner_is_an_event(path: Path) -> None:
    """It ends in its own thread then, which does not wait for itself."""
    log = EventLog(path)
    thread = log._thread
    error = ValueError()
    error.log = log  # type: ignore[attr-defined]  # a ring, on purpose
    log.call_finished(event()._replace(error=error))
    del log, error
    thread.join(10)
    assert not thread.is_alive()


def test_much_at_once(path: Path) -> None:
    """A disk takes what it takes: the rest of it is written then; all threads may tell it."""
    log = EventLog(path)
    log.runner_started(RunnerEvent("r", 1.0, run=1))

    def tell(thread: int) -> None:
        for n in range(500):
            log.call_submitted(event("x" * 400)._replace(call=1000 * thread + n))

    threads = [threading.Thread(target=tell, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(read_history(path).calls) == 2000


def test_a_steady_stream_is_flushed(path: Path) -> None:
    """Also when there is never a pause in which to do it."""
    log = EventLog(path)
    log.runner_started(RunnerEvent("r", 1.0, run=1))
    until, n = time.monotonic() + 10, 0
    while path.stat().st_size < 1000 and time.monotonic() < until:
        n += 1
        log.call_submitted(event()._replace(call=n))
        time.sleep(0.001)
    assert read_history(path).calls
    log.close()


def test_it_is_one_of_a_kind(path: Path) -> None:
    """It can be shown, but neither pickled nor copied; a runner that has it says so."""
    with EventLog(path) as log:
        assert repr(log) == f"<creche.instruments.EventLog {str(path)!r}>"
        for fn in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                fn(log)
        runner = ConcurrentTaskRunner(instruments=[log])
        with pytest.raises(TypeError, match="EventLog.* of the runner cannot be pickled"):
            pickle.dumps(runner)
        assert runner.duplicate() == runner


@pytest.mark.parametrize(
    ("priority", "shown", "read"),
    [
        (2.5, 2.5, 2.5),
        (-3, -3, -3),
        (math.inf, sys.float_info.max, math.inf),
        (-(10**400), -sys.float_info.max, -math.inf),
        (2**60, 2.0**60, 2.0**60),
    ],
)
def test_a_priority(path: Path, priority: float, shown: float, read: float) -> None:
    """Is a number of JSON, which has none without an end; the usual one is not there."""
    with EventLog(path) as log:
        log.runner_started(RunnerEvent("r", 1.0, run=1))
        log.call_submitted(event()._replace(priority=priority))
        log.call_submitted(event()._replace(call=2))
    first, second = (json.loads(line) for line in path.read_text().splitlines()[2:4])
    assert (first["priority"], "priority" in second) == (shown, False)
    assert [call.priority for call in read_history(path).calls] == [read, 0]


def test_rates(path: Path) -> None:
    """Those of a runner and of its limits, and its ageing; of a runner without any, nothing."""
    rate, other = Rate(10**400, 0.5, 7), Rate(2.5)
    told = RunnerEvent("r", 1.0, run=1, limits={"api": math.inf}, rate=rate, rates={"api": other})
    with EventLog(path) as log:
        log.runner_started(told._replace(ageing=1.5))
        log.runner_started(RunnerEvent("r", 2.0, run=2))
    first, second = (json.loads(line) for line in path.read_text().splitlines()[1:3])
    assert first["rate"] == {"starts": sys.float_info.max, "per": 0.5, "burst": 7}
    assert first["rates"] == {"api": {"starts": 2.5, "per": 1, "burst": 1}}
    assert not {"rate", "rates", "ageing"} & set(second)
    one, two = read_history(path).runs
    assert (one.rate, one.rates, one.ageing) == (Rate(sys.float_info.max, 0.5, 7), {"api": other}, 1.5)
    assert (two.rate, two.rates, two.ageing) == (None, {}, None)


def test_retries(path: Path) -> None:
    """Each try is told of, with what it raised and the wait until the next one; so is one of none."""
    base = event()
    with EventLog(path) as log:
        log.runner_started(RunnerEvent("r", 1.0, run=1, limits={"rate": float("inf")}))
        log.call_submitted(base._replace(tags=("a", "b"), parent=(7, "gone")))
        log.call_admitted(base._replace(time=2.0))
        log.call_started(base._replace(time=2.0))
        log.call_retrying(base._replace(time=3.0, error=ValueError("x"), delay=1.5))
        log.call_admitted(base._replace(time=4.5, attempt=2))
        log.call_started(base._replace(time=4.5, attempt=2))
        log.call_finished(base._replace(time=5.0, state=State.COMPLETED, attempt=2))
        log.call_submitted(base._replace(time=5.0, call=2))
        log.call_retrying(base._replace(time=6.0, call=2, error=ValueError("lost"), delay=0.0))
        log.call_finished(
            base._replace(time=6.5, call=2, state=State.CANCELLED, origin="cancel", reason="r")
        )
    history = read_history(path)
    assert history.runs[0].limits == {"rate": None}
    first, second = history.calls
    assert (first.tags, first.parent, first.admitted, first.seconds) == (["a", "b"], None, 1.0, 3.0)
    assert [(one.number, one.started, one.ended, one.delay) for one in first.attempts] == [
        (1, 1.0, 2.0, 1.5),
        (2, 3.5, 4.0, None),
    ]
    assert first.attempts[0].error is not None
    assert first.attempts[0].error["message"] == "x"
    assert [one.error and one.error["message"] for one in second.attempts] == ["lost"]
    assert (second.state, second.finished, second.attempts[0].ended) == (State.CANCELLED, 5.5, 5.0)


def test_two_logs_of_one_file(path: Path) -> None:
    """The second one is refused and leaves the file whole; after the first there may be another."""
    with EventLog(path) as log:
        log.call_submitted(event("first"))
        with pytest.raises(BlockingIOError, match="another event log writes it, and is not closed yet"):
            EventLog(path)
    first = path.read_bytes()
    assert b'"first"' in first
    with EventLog(path) as log:
        log.call_submitted(event("second"))
    assert b'"first"' not in path.read_bytes()


def test_two_logs_of_one_file_in_two_processes(path: Path) -> None:
    """The command says so in a sentence."""
    program = path.with_name("flow.py")
    program.write_text("from creche import flow\n@flow\ndef f(): pass\n")
    with EventLog(path):
        command = [sys.executable, "-m", "creche", "run", str(program), "--log-events", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith(f"{path}: another event log writes it, and is not closed yet\n")


def test_a_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is written all the same."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with EventLog(path) as log:
        log.call_submitted(event("k"))
    assert b'"k"' in path.read_bytes()
