"""Standard output of the command, where it cannot be written, and where nobody reads it any more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from creche import State
from creche.instruments import CallEvent, EventLog, RunnerEvent

PROGRAM = """
import sys
from creche import flow, task
@task
def load(n): return n
@flow
def census(fails: bool = False):
    load(1)
    print("census")
    if fails:
        raise LookupError("mine")
"""

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no device that is full")
AT_ONCE_OR_NOT = pytest.mark.parametrize("at_once", ["", "1"])

COMMANDS = [
    ["events", "events.jsonl"],
    ["graph", "events.jsonl"],
    ["simulate", "--json", "events.jsonl"],
    ["--help"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program and an event file."""
    (tmp_path / "program.py").write_text(PROGRAM)
    with EventLog(tmp_path / "events.jsonl") as log:
        run = RunnerEvent("concurrent", 0.0, 2, 1, {}, "trio")
        log.runner_started(run)
        one = CallEvent("load[0]", 0.0, State.PENDING, run=1, call=1)
        log.call_submitted(one)
        log.call_started(one._replace(state=State.RUNNING))
        log.call_finished(one._replace(time=1.0, state=State.COMPLETED))
        log.runner_closed(run._replace(time=1.0))
    return tmp_path


def creche(
    folder: Path, args: Sequence[str], stdout: Any, *, at_once: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "creche", *args],
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": at_once, **environ},
    )


@needs_full
@AT_ONCE_OR_NOT
@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_disk_that_is_full(folder: Path, args: list[str], at_once: str) -> None:
    """One sentence; it does not matter whether that is seen at once, or by the last flush."""
    with FULL.open("wb") as full:
        ended = creche(folder, args, full, at_once=at_once)
    said = "creche: standard output: no space left on device\n"
    assert (ended.returncode, ended.stderr) == (2, said)


@AT_ONCE_OR_NOT
@pytest.mark.parametrize("args", [*COMMANDS, ["run", "--quiet", "program.py"]], ids=" ".join)
def test_a_reader_that_has_gone(folder: Path, args: list[str], at_once: str) -> None:
    """It is no failure; for a flow that prints it is one, if it hears of it."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = creche(folder, args, writer, at_once=at_once, FORCE_COLOR="1")
    finally:
        os.close(writer)
    hears = bool(args[0] == "run" and at_once)
    assert ended.returncode == hears
    assert "BrokenPipeError" in ended.stderr if hears else ended.stderr == ""


@pytest.mark.parametrize("args", [*COMMANDS, ["run", "program.py"]], ids=" ".join)
def test_standard_output_that_is_closed(folder: Path, args: list[str]) -> None:
    """It is said; but a flow may run without."""
    code = "import os, sys; os.close(1); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", code, sys.executable, "-m", "creche", *args]
    ended = subprocess.run(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    if args == ["run", "program.py"]:
        assert ended.returncode == 0
        assert "flow census: completed" in ended.stderr
    else:
        assert (ended.returncode, ended.stderr) == (2, "creche: standard output: it is closed\n")


@needs_full
def test_what_a_flow_prints_is_lost(folder: Path) -> None:
    """It is said, also to those who want it quiet, and counts as a failure; beside others of its own."""
    said = "creche: what the flow has printed is lost: standard output: no space left on device\n"
    with FULL.open("wb") as full:
        ended = creche(folder, ["run", "--quiet", "program.py"], full)
        assert (ended.returncode, ended.stderr) == (1, said)
        ended = creche(folder, ["run", "program.py", "--param", "fails=true"], full)
        assert ended.returncode == 1
        assert ended.stderr.index(said) < ended.stderr.index("LookupError: mine")
        assert "flow census: failed" in ended.stderr


@needs_full
def test_bad_input_goes_first(folder: Path) -> None:
    """One sentence is said, and it is that."""
    (folder / "bad.jsonl").write_text((folder / "events.jsonl").read_text() + "rubbish\n{}\n")
    with FULL.open("wb") as full:
        ended = creche(folder, ["events", "bad.jsonl"], full)
    assert ended.returncode == 2
    assert ended.stderr.startswith("creche: bad.jsonl, line")
    assert ended.stderr.count("\n") == 1
