"""The command ``creche run``: what it prints where, and how it ends; in real processes."""

from __future__ import annotations

import importlib
import importlib.metadata
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from creche import State, __main__
from creche._tracebacks import users_traceback
from creche.cli import _text
from creche.cli._app import main
from creche.instruments import CallEvent, Failure, Summary

PROGRAM = """
import sys, threading, time
from pathlib import Path
from typing import Literal
import anyio
from creche import flow, task

@task
def square(n):
    return n * n

@task
def fail(n):
    raise ValueError(f"no {n}")

@task
def stuck():
    print("stuck", flush=True)
    threading.Event().wait()

@flow
def sums(n: int, names: list[str] = [], flag: bool = False, where: Path | None = None,
         mode: Literal["a", "b"] = "a", untyped=7):
    print([square(i) for i in range(n)], names, flag, where, mode, untyped)

@flow
async def waits(seconds: float = 0.01):
    await anyio.sleep(seconds)
    print("waited", sys.argv[0] != "", __name__)

@flow
def some_fail():
    slots = fail.map([1, 2]) + square.map([3])
    print(slots[-1].result())

@flow
def raises():
    print("before")
    fail(3)

@flow
def hangs():
    stuck()

@flow
def exits():
    sys.exit(7)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


def creche(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "creche", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )


@pytest.mark.parametrize("runner", ["concurrent", "sequential"])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_flow_that_completes(program: str, runner: str, backend: str) -> None:
    """Standard output is the flow's alone; the summary is on standard error; exit status 0."""
    ended = creche(
        "run", f"{program}:sums", "--runner", runner, "--backend", backend, "--param", "n=3",
        "--param", "names=x", "--param", "names=y", "--param", "flag=true",
        "--param", "where=/somewhere", "--param", "mode=b",
    )  # fmt: skip
    assert ended.stdout == "[0, 1, 4] ['x', 'y'] True /somewhere b 7\n"
    assert "flow sums: completed in" in ended.stderr
    assert "calls: 3 COMPLETED" in ended.stderr
    assert "slowest: square[" in ended.stderr
    assert ended.returncode == 0


@pytest.mark.parametrize("backend", [[], ["--backend", "asyncio"]])
def test_an_async_flow(program: str, backend: list[str]) -> None:
    """It runs on the loop that is asked for, in a module that is not the main one."""
    ended = creche("run", f"{program}:waits", "--param", "seconds=0.02", *backend)
    assert (ended.stdout, ended.returncode) == ("waited True program\n", 0)


def test_calls_that_fail(program: str) -> None:
    """Exit status 1, unless they are allowed to; each is listed with its key and reason."""
    ended = creche("run", f"{program}:some_fail", "--max-workers", "2")
    assert (ended.stdout, ended.returncode) == ("9\n", 1)
    assert "calls: 1 COMPLETED, 2 FAILED" in ended.stderr
    assert "fail[0] FAILED ValueError: no 1" in ended.stderr
    assert "fail[1] FAILED ValueError: no 2" in ended.stderr
    assert creche("run", f"{program}:some_fail", "--allow-failed-calls").returncode == 0
    quiet = creche("run", f"{program}:some_fail", "--quiet")
    assert "calls:" not in quiet.stderr
    assert quiet.returncode == 1


def test_a_flow_that_raises(program: str) -> None:
    """The user's traceback without frames of ours; exit status 1, also if calls may fail."""
    ended = creche("run", f"{program}:raises", "--allow-failed-calls")
    assert (ended.stdout, ended.returncode) == ("before\n", 1)
    assert "ValueError: no 3" in ended.stderr
    assert 'program.py", line' in ended.stderr
    assert "flows/_" not in ended.stderr
    assert "During handling" not in ended.stderr
    assert "flow raises: failed in" in ended.stderr


def test_a_flow_that_exits(program: str) -> None:
    """Its own exit status is kept."""
    assert creche("run", f"{program}:exits").returncode == 7


def test_ctrl_c(program: str) -> None:
    """Exit status 130, at once although a task is stuck in a thread; the summary is shown."""
    with subprocess.Popen(
        [sys.executable, "-m", "creche", "run", f"{program}:hangs", "--grace", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        said = process.stderr.read()
    assert "flow hangs: interrupted in" in said
    assert "Traceback" not in said


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """They print what they should, and end with 0."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version("creche")
    for tokens in (["--help"], ["run", "--help"], []):
        assert main(tokens) == 0
        assert "Usage: creche" in capsys.readouterr().out


def test_without_the_extra(tmp_path: Path) -> None:
    """One sentence says what to install; exit status 2."""
    for missing in ("cyclopts", "rich"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['creche', 'run']\n"
            f"from creche.__main__ import main; main()"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert ended.returncode == 2
        assert f"needs {missing}" in ended.stderr
        assert "creche[cli]" in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_the_words() -> None:
    """The summary is a pure function of the numbers."""
    summary = Summary()
    summary.counts.update({State.COMPLETED: 3, State.FAILED: 2, State.CRASHED: 1})
    summary.failures.append(Failure("k", State.FAILED, "ValueError: x"))
    assert _text.summary_lines("f", summary, 2.0, "failed") == [
        "flow f: failed in 2.00 s",
        "calls: 3 COMPLETED, 2 FAILED, 1 CRASHED",
        "failures:",
        "  k FAILED ValueError: x",
        "  and 2 more",
    ]
    assert _text.summary_lines("f", Summary(), 0, "completed")[1] == "calls: none"


def test_ctrl_c_as_soon_as_anything_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary comes, though the flow has not begun."""

    def start(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("creche.instruments._progress.Progress.start", start)
    program = tmp_path / "program.py"
    program.write_text("from creche import flow\n@flow\ndef never(): raise AssertionError\n")
    assert main(["run", str(program)]) == 130
    said = capsys.readouterr().err
    assert "flow never: interrupted in" in said
    assert "calls: none" in said


def test_what_was_left_behind() -> None:
    """Counts, and is named; not for ever."""
    summary = Summary()
    for number in range(7):
        summary.call_started(CallEvent(number, 1.0, State.RUNNING))
    assert _text.summary_lines("f", summary, 2.0, "interrupted") == [
        "flow f: interrupted in 2.00 s",
        "calls: 7 RUNNING",
        "left behind: 0, 1, 2, 3, 4 and 2 more",
    ]
    for number in range(2, 7):
        summary.call_finished(CallEvent(number, 2.0, State.COMPLETED))
    assert _text.summary_lines("f", summary, 2.0, "interrupted")[1:3] == [
        "calls: 5 COMPLETED, 2 RUNNING",
        "left behind: 0, 1",
    ]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_how_long_attempts_took(*, is_waiting: bool) -> None:
    """Together, without the waits between them; also of a call that is cancelled in one."""
    summary = Summary()
    for time in (1.0, 11.0):
        summary.call_started(CallEvent("k", time, State.RUNNING))
        summary.call_retrying(CallEvent("k", time + 2.0, State.RUNNING))
    if not is_waiting:
        summary.call_started(CallEvent("k", 21.0, State.RUNNING))
    summary.call_finished(CallEvent("k", 24.0, State.CANCELLED))
    assert summary.slowest == [("k", 4.0 if is_waiting else 7.0)]
    summary.call_started(CallEvent("k", 30.0, State.RUNNING))
    summary.call_finished(CallEvent("k", 31.0, State.COMPLETED))
    assert summary.slowest[1] == ("k", 1.0)


def test_a_traceback_that_refers_to_itself() -> None:
    """Groups, causes and contexts are followed, each once."""
    try:
        try:
            raise ValueError("inner")
        except ValueError as exc:
            raise ExceptionGroup("outer", [exc, KeyError("k")]) from exc
    except ExceptionGroup as group:
        text = users_traceback(group)
    assert "inner" in text
    assert "KeyError" in text


def test_an_import_that_fails_for_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the extra's own packages are asked for; a fault of ours is shown as it is."""

    def fail(name: str) -> None:
        raise ImportError(name="other")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError):
        __main__.main()


def test_a_traceback_that_leads_back_to_itself() -> None:
    """Two errors that are each other's context are shown once each, without frames of ours."""
    one, other = KeyError("one"), LookupError("other")
    one.__context__, other.__context__ = other, one
    group = ExceptionGroup("both", [one, one])
    text = users_traceback(group)
    assert "KeyError: 'one'" in text
    assert "LookupError: other" in text
