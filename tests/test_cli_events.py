"""`creche events` and `creche run --log-events`: what they write, and what they refuse."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pexpect
import pytest
from rich.cells import cell_len

from creche import State
from creche.cli import _event_rows as rows
from creche.cli import _events as reading
from creche.cli._app import main
from creche.instruments import CallEvent, EventLog, RunnerEvent, read_history

PROGRAM = """
from creche import flow, task

@task
def load(n):
    return n

@task
def parse(n, secret="hush"):
    if n == 2:
        raise ValueError("no 2")

@flow
def census():
    print("census")
    for slot in parse.map(load.map([1, 2])):
        slot.done

print("imported")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An event file, the clock of whose run begins at 100."""
    path = tmp_path / "events.jsonl"
    with EventLog(path, values=True) as log:
        log.runner_started(RunnerEvent("concurrent", 100.0, 2, 1, {}, "trio"))
        one = CallEvent("load[0]", 100.0, State.PENDING, run=1, call=1, tags=("io",), args=(7,))
        two = CallEvent(("odd", "\t\n"), 100.5, State.PENDING, "thread", run=1, call=2)
        log.call_submitted(one)
        log.call_submitted(two._replace(after=("load[0]",), parent=(1, "load[0]"), limits=("db",)))
        one = one._replace(tags=(), args=None)
        log.call_started(one._replace(time=101.0, state=State.RUNNING))
        log.call_retrying(
            one._replace(time=102.0, state=State.RUNNING, error=ValueError("a\tb"), delay=0.5)
        )
        log.call_started(one._replace(time=103.0, state=State.RUNNING, attempt=2))
        log.call_finished(one._replace(time=104.0, state=State.COMPLETED, attempt=2, value="v"))
        log.call_finished(
            two._replace(time=105.0, state=State.CANCELLED, origin="cancel", reason="\x1b[31mred")
        )
        log.runner_closed(RunnerEvent("concurrent", 106.0, None, 1, {}, "trio"))
    return path


def told(capsys: pytest.CaptureFixture[str], *args: object) -> list[list[str]]:
    """What the command writes, in cells, without the headings."""
    assert main(["events", *map(str, args)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].split("\t") == list(rows.HEADINGS)
    return [line.split("\t") for line in lines[1:]]


def test_the_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each event, in columns that tabs divide, whatever is in keys and messages."""
    assert told(capsys, path) == [
        ["0.000000", "started", "", "trio", "", "run 1 concurrent max_workers=2"],
        ["0.000000", "submitted", "PENDING", "loop", "load[0]", "tags io; (7)"],
        ["0.500000", "submitted", "PENDING", "thread", "('odd', '\\t\\n')",
         "after load[0]; by load[0]; limits db"],
        ["1.000000", "started", "RUNNING", "loop", "load[0]", ""],
        ["2.000000", "retrying", "RUNNING", "loop", "load[0]", "again in 0.500 s; ValueError: a\\tb"],
        ["3.000000", "started", "RUNNING", "loop", "load[0]", "attempt 2"],
        ["4.000000", "finished", "COMPLETED", "loop", "load[0]", "attempt 2; = 'v'"],
        ["5.000000", "finished", "CANCELLED", "thread", "('odd', '\\t\\n')", "cancel: \\x1b[31mred"],
        ["6.000000", "closed", "", "trio", "", "run 1 concurrent max_workers=2"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "times"),
    [
        (["--state", "completed"], [4]),
        (["--state", "COMPLETED", "--state", "cancelled"], [4, 5]),
        (["--key", "load[0]"], [0, 1, 2, 3, 4]),
        (["--key", "l?ad[0]", "--state", "PENDING"], [0]),
        (["--key", "*[0]", "--until", "0.5"], [0]),
        (["--key", "a*"], []),
        (["--key", "odd", "--key", "nothing"], [0.5, 5]),
        (["--tag", "io", "--since", "3"], [3, 4]),
        (["--tag", "cpu"], []),
        (["--since", "4.5"], [5, 6]),
        (["--since", "1", "--until", "2"], [1, 2]),
    ],
)
def test_which_events(
    path: Path, capsys: pytest.CaptureFixture[str], options: list[str], times: list[float]
) -> None:
    """By state, key, tag and time; all of what is asked for must be so."""
    assert [float(line[0]) for line in told(capsys, path, *options)] == times


def test_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is the record of the file, with the time in seconds since the history begins."""
    assert main(["events", str(path), "--json", "--key", "odd"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["at"], one["time"], one["event"]) for one in records] == [
        (0.5, 100.5, "call_submitted"),
        (5.0, 105.0, "call_finished"),
    ]
    assert records[1]["key"] == {"repr": "('odd', '\\t\\n')", "type": "tuple"}


def test_what_a_terminal_shows() -> None:
    """A line that fits, whatever is in it; what is cut is marked."""
    cells = ("1.0", "finished", "FAILED", "thread", "k" * 99, "日本" * 99)
    for width in (80, 120, 10):
        text = rows.shown_row(cells, width).plain
        assert "k…" in text
        assert text.endswith("…") or width != 80
        assert cell_len(text) <= max(width, 56)
    narrow = rows.shown_row(rows.HEADINGS, 80)
    assert narrow.plain.split() == list(rows.HEADINGS)


@pytest.mark.slow
def test_on_a_terminal(path: Path) -> None:
    """The same rows in columns, with colours; no character that does something to it."""
    child = pexpect.spawn(
        sys.executable, ["-m", "creche", "events", str(path)], encoding="utf-8", dimensions=(24, 100),
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    said = child.read()
    child.close()
    assert child.exitstatus == 0
    lines = said.splitlines()
    assert len(lines) == 10
    assert "\x1b[32mCOMPLETED" in said
    assert "\x1b[31mred" not in said
    assert "load[0]" in lines[2]


@pytest.mark.slow
def test_a_reader_that_goes_away(path: Path) -> None:
    """It is quiet, and no failure."""
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[-2] * 20_000)
    with subprocess.Popen(
        [sys.executable, "-m", "creche", "events", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("time\t")
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 0)


def test_a_log_that_was_not_closed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its table is shown as far as it goes, and it is said."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    assert main(["events", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 4
    assert said.err == "the log was not closed: its writer still writes, or was killed\n"


def test_following(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on until the log is closed; a line that is half there comes when it is whole."""
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    monkeypatch.setattr(reading, "_OFTEN", 0.01)
    written: list[int] = []

    def write_on(seconds: float) -> None:
        assert seconds == 0.01
        written.append(len(capsys.readouterr().out.splitlines()))
        path.write_bytes(whole[: 500 + 200 * len(written)])

    monkeypatch.setattr(reading, "time", SimpleNamespace(sleep=write_on))  # other threads sleep, too
    assert main(["events", str(path), "--follow"]) == 0
    assert written[0] < 9
    assert sum(written) + len(capsys.readouterr().out.splitlines()) == 10
    assert len(written) > 2


def test_following_a_writer_that_is_killed(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, and says so; not while the writer lives and has nothing to write."""
    code = (
        "import sys; from creche.instruments import EventLog, RunnerEvent\n"
        "log = EventLog(sys.argv[1]); log.runner_started(RunnerEvent('r', 0.0, run=1))\n"
        "print('begun', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        looks: list[float] = []

        def look_on(seconds: float) -> None:
            if looks or "started" in capsys.readouterr().out:
                looks.append(seconds)
            if len(looks) == 5:
                process.kill()
                process.wait()
            really(min(seconds, 0.05))

        really = time.sleep
        monkeypatch.setattr(reading, "time", SimpleNamespace(sleep=look_on))  # other threads sleep, too
        assert main(["events", str(path), "--follow"]) == 0
    assert len(looks) >= 5
    assert capsys.readouterr().err == "the log was not closed: its writer has gone\n"


def test_following_where_there_are_no_locks(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be told whether the writer has gone, and goes on."""

    class Enough(Exception):  # noqa: N818 - it is none
        pass

    def refuse(fd: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    looks: list[float] = []

    def look_on(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 5:
            raise Enough

    path.write_bytes(path.read_bytes()[:500])
    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(reading, "time", SimpleNamespace(sleep=look_on))  # other threads sleep, too
    with pytest.raises(Enough):
        main(["events", str(path), "--follow"])
    assert capsys.readouterr().err == ""


def test_an_encoding_that_lacks_a_character(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is escaped, as is what no encoding has."""
    with EventLog(path) as log:
        log.runner_started(RunnerEvent("concurrent", 100.0, run=1))
        log.call_submitted(CallEvent("é日\ud800", 100.0, State.PENDING, run=1, call=1))
    output = tmp_path / "out"
    with output.open("w", encoding="latin-1") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["events", str(path)]) == 0
    monkeypatch.undo()
    assert output.read_text("latin-1").splitlines()[-1].split("\t")[4] == "é\\u65e5\\ud800"


def test_bad_input(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence that says what and where; exit status 2."""
    rubbish, empty, newer = tmp_path / "rubbish", tmp_path / "empty", tmp_path / "newer"
    rubbish.write_bytes(path.read_bytes() + b"rubbish\n")
    empty.write_bytes(b"")
    newer.write_text('{"event":"log","schema":2,"creche":"9.9"}\n')
    for args, sentence in (
        ([rubbish], f"{rubbish}, line 12: no JSON"),
        ([rubbish, "--follow"], "line 12: no JSON"),
        ([empty], "line 1: no event file: it is empty"),
        ([newer], "written by creche 9.9 in schema 2; this one reads up to schema 1"),
        ([tmp_path], "is a directory"),
        ([tmp_path / "none"], f"{tmp_path}/none: no such file or directory"),
        (["a\0b"], "embedded null"),
        ([path, "--state", "gone"], "--state gone: there is no such state; there are PENDING, RUNNING"),
        ([path, "--since", "nan"], "--since must be a number of seconds, not nan"),
        ([path, "--until", "nan"], "--until must be a number of seconds, not nan"),
        ([path, "--since", "2", "--until", "1"], "--since 2.0 is after --until 1.0"),
        ([path, "--since", "soon"], "soon"),
    ):
        assert main(["events", *map(str, args)]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("creche: ")
        assert sentence in said.err
        assert said.err.count("\n") == 1


def test_a_run_that_is_logged(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its calls are in the file, without what they were given, unless that is asked for."""
    file = tmp_path / "out.jsonl"
    assert main(["run", str(program), "--quiet", "--log-events", str(file)]) == 1
    history = read_history(file)
    assert sorted((call.key, call.state.name) for call in history.calls) == [
        ("load[0]", "COMPLETED"),
        ("load[1]", "COMPLETED"),
        ("parse[0]", "COMPLETED"),
        ("parse[1]", "FAILED"),
    ]
    assert history.is_closed
    assert all(call.args is None for call in history.calls)
    assert main(["run", str(program), "--quiet", "--log-events", str(file), "--log-values"]) == 1
    again = read_history(file)
    assert again.calls[0].args is not None
    capsys.readouterr()


def test_a_log_that_cannot_be_written(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, before the program runs, and even before it is imported; nothing is overwritten."""
    old = tmp_path / "old.jsonl"
    old.write_text("old")
    file = ["--log-events", str(tmp_path / "new")]
    for target, options, sentence in (
        (program, ["--log-events", str(tmp_path)], f"--log-events {tmp_path}: is a directory"),
        (program, ["--log-events", str(tmp_path / "none" / "x")], "no such file or directory"),
        (program, ["--log-events", "a\0b"], "embedded null byte"),
        (program, ["--log-events", str(program)], "it would overwrite what is read"),
        (f"{program}:census", ["--log-events", str(program)], "it would overwrite what is read"),
        (program, ["--log-values"], "--log-values goes with --log-events FILE"),
        (tmp_path / "gone.py", file, "no such file"),
        (tmp_path / "gone.py", ["--log-events", str(old)], "no such file"),
    ):
        assert main(["run", str(target), *options]) == 2
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    assert (old.read_text(), (tmp_path / "new").exists()) == ("old", False)
    assert main(["run", str(program), "--log-events", "/dev/full"]) == 2
    said = capsys.readouterr()
    assert "--log-events /dev/full: no space left on device" in said.err
    assert said.out == "imported\n"
