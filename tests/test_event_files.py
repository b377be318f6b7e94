"""Event files: what is refused and how, what is tolerated, and what is left of one after a kill."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from creche import State
from creche.instruments import EventFileError, HistoryReader, read_history

HEADER: dict[str, Any] = {"event": "log", "schema": 1, "creche": "0.1.0", "wall": 5.0}
START: dict[str, Any] = {
    "event": "runner_started",
    "run": 1,
    "time": 10.0,
    "wall": 5.5,
    "name": "r",
    "max_workers": None,
    "limits": {},
    "loop": "trio",
}
RATE = {"starts": 2, "per": 1.5, "burst": 3}
CALL: dict[str, Any] = {
    "event": "call_submitted",
    "run": 1,
    "time": 11.0,
    "call": 1,
    "key": "k",
    "state": "PENDING",
    "place": "loop",
}
ADMITTED = CALL | {"event": "call_admitted", "state": "RUNNING"}
STARTED = CALL | {"event": "call_started", "time": 12.0, "state": "RUNNING"}
FINISHED = CALL | {"event": "call_finished", "time": 13.0, "state": "COMPLETED"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def write(path: Path, *lines: object, end: str = "\n") -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + end, "utf-8", errors="surrogateescape")


def without(record: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != field}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "no JSON"),
        ("rubbish", "no JSON: Expecting value"),
        ("\udcff", "no JSON: 'utf-8' codec"),
        ("[" * 100_000, "no JSON: maximum recursion"),
        ("[]", "not a JSON object"),
        ('{"event": "call_submitted", "time": NaN}', "no JSON: NaN is no number"),
        ({}, "lacks 'event'"),
        ({"event": 1}, "event is 1, which is no string"),
        (HEADER, "lacks 'run'"),
        (CALL | {"run": 2}, "an event of run 2, which has not started"),
        (CALL | {"run": []}, "run is [], which is no number of things"),
        (CALL | {"run": True}, "run is True"),
        (START, "run 1 starts twice"),
        (START | {"run": 2, "limits": []}, "limits is []"),
        (START | {"run": 2, "limits": {"a": "b"}}, "a is 'b', which is no number that can be"),
        (START | {"run": 2, "max_workers": -1}, "max_workers is -1"),
        (START | {"run": 2, "max_workers": 0}, "max_workers is 0, with which nothing can run"),
        (START | {"run": 2, "rate": 3}, "rate is 3, which is no rate"),
        (START | {"run": 2, "rate": {"starts": 1, "per": 1}}, "lacks 'burst'"),
        (START | {"run": 2, "rate": RATE | {"starts": 0}}, "starts is 0, which is no number of more"),
        (START | {"run": 2, "rate": RATE | {"per": "1"}}, "per is '1', which is no number of more"),
        (
            START | {"run": 2, "rate": RATE | {"burst": 1.5}},
            "burst is 1.5, which is no number of things",
        ),
        (START | {"run": 2, "rate": RATE | {"burst": True}}, "burst is True"),
        (START | {"run": 2, "rates": [RATE]}, "which are no rates by their names"),
        (START | {"run": 2, "rates": {"a": RATE}}, "rates has 'a', which is no limit"),
        (START | {"run": 2, "limits": {"a": 1}, "rates": {"a": None}}, "rates has 'a', which is no"),
        (START | {"run": 2, "limits": {"a": 1}, "rates": {"a": 2}}, "a is 2, which is no rate"),
        (START | {"run": 2, "ageing": -1}, "ageing is -1, which is no number of more than 0"),
        (START | {"run": 2, "ageing": None}, "ageing is None"),
        (START | {"run": 2, "name": None}, "name is None"),
        (without(START, "wall") | {"run": 2}, "lacks 'wall'"),
        (CALL | {"time": "1"}, "time is '1'"),
        (CALL | {"time": 1e300}, "time is 1e+300"),
        (
            '{"event":"call_submitted","run":1,"call":1,"key":"k","place":"loop","time":1e999}',
            "time is inf",
        ),
        (without(CALL, "time"), "lacks 'time'"),
        (without(CALL, "key"), "lacks 'key'"),
        (CALL | {"key": 1}, "1 is no key"),
        (CALL | {"key": {"repr": "1"}}, "lacks 'type'"),
        (CALL | {"after": "k"}, "after is 'k', which is no list"),
        (CALL | {"parent": "k"}, "parent is 'k'"),
        (CALL | {"parent": {"run": "k"}}, "run is 'k'"),
        (CALL | {"args": 3}, "args is 3"),
        (CALL | {"priority": "high"}, "priority is 'high', which is no number"),
        (CALL | {"priority": True}, "priority is True, which is no number"),
        (STARTED, "call_started of a call that was not submitted"),
        (CALL | {"event": "call_met"}, "call_met of a call that was not submitted"),
    ],
)
def test_a_line_that_is_no_event(path: Path, line: object, what: str) -> None:
    """It is named by its number, with what is wrong with it."""
    write(path, HEADER, START, line, CALL)
    with pytest.raises(EventFileError) as caught:
        read_history(path)
    assert what in caught.value.what
    assert (caught.value.line, caught.value.path) == (3, str(path))
    assert str(caught.value).startswith(f"{path}, line 3: ")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.line) == (str(caught.value), 3)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (CALL, "it was submitted before, and has not ended"),
        (CALL | {"event": "call_met"}, "no such event: 'call_met'"),
        (FINISHED | {"state": "RUNNING"}, "no state that a call ends in: 'RUNNING'"),
        (FINISHED | {"state": "GONE"}, "no state that a call ends in: 'GONE'"),
        (FINISHED | {"reason": 1}, "reason is 1"),
        (FINISHED | {"error": "x"}, "error is 'x'"),
        (FINISHED | {"error": {"type": "x"}}, "lacks 'message'"),
        (STARTED | {"attempt": "x"}, "attempt is 'x'"),
        (STARTED | {"event": "call_retrying"}, "lacks 'delay'"),
    ],
)
def test_an_event_that_a_call_cannot_have(path: Path, line: object, what: str) -> None:
    """The same."""
    write(path, HEADER, START, CALL, line)
    with pytest.raises(EventFileError) as caught:
        read_history(path)
    assert what in caught.value.what
    assert caught.value.line == 4


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "it is empty"),
        (b"{", "does not begin with a whole line of JSON"),
        (b"x" * 10_000 + b"\n", "does not begin with a whole line of JSON"),
        (b"a,b\n", "no JSON"),
        (b"{}\n", "does not state the schema"),
        (b'{"event":"log","schema":"1"}\n', "does not state the schema"),
        (b'{"event":"log","schema":0}\n', "does not state the schema"),
        (b'{"event":"log","schema":true}\n', "does not state the schema"),
        (
            b'{"event":"log","schema":7,"creche":"9.0"}\n',
            "by creche 9.0 in schema 7; this one reads up to",
        ),
    ],
)
def test_no_event_file(path: Path, text: bytes, what: str) -> None:
    """It is seen by its first line, of which no more is read than there can be."""
    path.write_bytes(text)
    with pytest.raises(EventFileError) as caught:
        read_history(path)
    assert what in caught.value.what
    assert caught.value.line == 1


@pytest.mark.parametrize("file", ["", "none", "/dev/zero"])
def test_no_file(tmp_path: Path, file: str) -> None:
    """A folder, nothing, or something without an end."""
    with pytest.raises((OSError, EventFileError)):
        read_history(tmp_path / file)


def test_every_torn_end_is_tolerated(path: Path) -> None:
    """Wherever a kill cuts it, what is in whole lines is read; the rest, when it comes."""
    write(path, HEADER, START, CALL, ADMITTED, STARTED, FINISHED, {"event": "log_closed", "wall": 9.0})
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    reader = None
    for end in [*range(first, len(whole), 5), len(whole)]:
        path.write_bytes(whole[:end])
        history = read_history(path)
        assert len(history.runs) + len(history.calls) <= whole[:end].count(b"\n")
        reader = reader or HistoryReader(path)
        reader.read()
        assert [call.state for call in reader.history.calls] == [call.state for call in history.calls]
    assert reader is not None
    assert reader.history.calls[0].state is State.COMPLETED
    assert reader.history.is_closed


def test_what_is_not_known_is_passed_over(path: Path) -> None:
    """A field that a later version adds; and a file without numbers of calls has keys."""
    lines = [without(one, "call") | {"more": [1]} for one in (CALL, ADMITTED, STARTED, FINISHED, CALL)]
    write(path, HEADER | {"more": 1}, START | {"run": 3}, *(one | {"run": 3} for one in lines))
    history = read_history(path)
    assert [call.state for call in history.calls] == [State.COMPLETED, State.PENDING]
    assert (history.calls[0].seconds, history.calls[1].seconds) == (1.0, None)
    assert (history.began, history.ended, history.is_whole) == (5.5, 3.0, False)


def test_two_threads_that_start_at_once(path: Path) -> None:
    """The run that came first in the file may have started later; no time is below 0."""
    write(path, HEADER, START, START | {"run": 2, "wall": 5.4, "time": 700.0})
    assert [run.started for run in read_history(path).runs] == [0.0, 0.0]


def test_a_file_that_is_begun_anew(path: Path) -> None:
    """Who reads on is told; what was read stays."""
    write(path, HEADER, START, CALL)
    reader = HistoryReader(path)
    assert reader.read() == 2
    write(path, HEADER)
    with pytest.raises(EventFileError, match="has become shorter"):
        reader.read()
    assert len(reader.history.calls) == 1


def test_who_heeds_the_records(path: Path) -> None:
    """Each record, with what it is of."""
    write(path, HEADER, START, CALL, FINISHED)
    heard: list[tuple[str, object]] = []
    reader = HistoryReader(path, lambda record, of: heard.append((record["event"], of)))
    assert reader.read() == 3
    run, call = reader.history.runs[0], reader.history.calls[0]
    assert heard == [("runner_started", run), ("call_submitted", call), ("call_finished", call)]


PROGRAM = """
import os, sys, time
import trio
from creche import ConcurrentTaskRunner
from creche.instruments import EventLog

async def main():
    runner = ConcurrentTaskRunner(instruments=[log])
    async with runner.start():
        for n in range(500):
            runner.submit_nowait(("early", n), trio.sleep, 0)
        runner.submit_nowait("hanging", trio.sleep_forever)
        await runner.wait_all([("early", n) for n in range(500)])
        if sys.argv[2] == "kill":
            await trio.sleep(1)
            for n in range(10_000):  # in the midst of writing
                runner.submit_nowait(n, trio.sleep, 0)
                if n == 5000:
                    print("now", flush=True)
                    await trio.sleep(0)
        runner.cancel("hanging")

log = EventLog(sys.argv[1])
if sys.argv[2] == "fork":
    if os.fork():
        os.wait()
    else:
        sys.exit()
trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exit", "kill", "fork"])
def test_how_a_program_ends(path: Path, tmp_path: Path, way: str) -> None:
    """An exit without a close loses nothing, also with a child by fork; a kill the last second."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(program), str(path), way], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        if way == "kill":
            assert process.stdout.readline() == "now\n"
            os.kill(process.pid, signal.SIGKILL)
        ended = process.wait(60)
    history = read_history(path)
    early = [call for call in history.calls if call.key.startswith("('early'")]
    assert len(early) == 500
    assert all(call.state is State.COMPLETED for call in early)
    hanging = history.find("hanging")
    assert hanging is not None
    if way == "kill":
        assert (ended, history.is_closed, hanging.state) == (-signal.SIGKILL, False, State.RUNNING)
    else:
        assert (ended, history.is_closed, history.is_whole) == (0, True, True)
        assert hanging.state is State.CANCELLED
