"""Signals to ``creche run`` before the flow runs: while the file is imported, and creche itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from creche._dump import dump_all
from creche._live import LIVE
from creche.cli import _signals
from creche.cli._app import main

# The main thread goes on with what it has to do, as soon as what a thread does of it has been done.
PROGRAM = """
import signal, time
from creche import flow

def press(number):
    signal.raise_signal(number)
    {wait}

{first}
@flow
def never():
    print(signal.getsignal(signal.SIGTERM))
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., str]:
    """A file that does something while it is imported."""

    def write(first: str = "", wait: str = "time.sleep(60)") -> str:
        path = tmp_path / "program.py"
        path.write_text(PROGRAM.format(first=first, wait=wait))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")],
)
def test_what_ends_the_import(
    program: Any, number: str, status: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said in a line, unless all is to be quiet; what is there to clean up is."""
    file = program(f"try:\n    press(signal.{number})\nfinally:\n    print('cleaned up')")
    for quiet, said in (([], f"creche: {word} before the flow began\n"), (["--quiet"], "")):
        assert main(["run", file, *quiet]) == status
        assert capsys.readouterr() == ("cleaned up\n", said)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_file_that_makes_something_else_of_it(
    program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is shown, and the status is that of the signal."""
    file = program(
        "try:\n    press(signal.SIGTERM)\nexcept KeyboardInterrupt:\n    raise LookupError('mine')"
    )
    assert main(["run", file]) == 143
    assert "LookupError: mine" in capsys.readouterr().err


def test_a_dump_while_nothing_runs(
    program: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and the import goes on."""
    for run in list(LIVE):  # that other tests have left to themselves
        monkeypatch.delitem(LIVE, run)
    looked = threading.Event()

    def look() -> str:
        text = dump_all()
        looked.set()
        return text

    monkeypatch.setattr(_signals, "dump_all", look)
    monkeypatch.setattr(signal, "looked", looked, raising=False)  # where the file finds it
    # It is another thread that looks: else the flow may run by then.
    file = program("press(signal.SIGUSR1)", "assert signal.looked.wait(20)")
    assert main(["run", file, "--quiet"]) == 0
    assert "no runner is open" in capfd.readouterr().err


def test_a_handler_of_the_file(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It is there again when the command has ended; while the flow runs the command hears."""
    file = program("signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGUSR2))")
    before = signal.signal(signal.SIGUSR2, print)
    try:
        assert main(["run", file, "--quiet"]) == 0
        assert signal.getsignal(signal.SIGTERM) is print
        assert "Manners._handle" in capsys.readouterr().out
    finally:
        signal.signal(signal.SIGUSR2, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_ctrl_c_while_creche_is_imported(tmp_path: Path) -> None:
    """One line, and status 130."""
    (tmp_path / "cyclopts.py").write_text("raise KeyboardInterrupt")
    ended = subprocess.run(
        [sys.executable, "-m", "creche", "--version"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "creche: interrupted before it began\n")
