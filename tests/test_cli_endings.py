"""How ``creche run`` ends when what comes out of a flow is no `Exception`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import creche
from creche.cli._app import main

PROGRAM = """
import sys, threading
from creche import flow, task

class Stop(BaseException):
    pass

both = threading.Barrier(2)

@task
def leave(code):
    sys.exit(code)

@task
def fail():
    raise ValueError("no")

@task
def stop(barrier):
    if barrier:
        both.wait()
    raise Stop("enough")

@flow
def exits(code: int):
    sys.exit(code)

@flow
async def exits_async(code: int):
    sys.exit(code)

@flow
def exits_bare():
    sys.exit()

@flow
def exits_saying():
    sys.exit("that was it")

@flow
def exits_after_a_failure():
    try:
        fail()
    except ValueError:
        sys.exit(0)

@flow
def call_exits(code: int):
    leave(code)

@flow
def stops():
    raise Stop("enough")

@flow
async def stops_async():
    raise Stop("enough")

@flow
def call_stops():
    stop(False)

@flow
def calls_stop():
    stop.map([True, True])

@flow
def interrupted():
    pressed = BaseExceptionGroup("more", [KeyboardInterrupt()])
    raise BaseExceptionGroup("some", [KeyboardInterrupt(), pressed])

@flow
def interrupted_and_failed():
    raise BaseExceptionGroup("some", [KeyboardInterrupt(), ValueError("something else")])
"""

OURS = str(Path(creche.__file__).parent)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    # What the command changes is put back.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})


@pytest.mark.parametrize(
    ("tokens", "status"),
    [
        (["exits", "--param", "code=0"], 0),
        (["exits", "--param", "code=7"], 7),
        (["exits_async", "--param", "code=0"], 0),
        (["exits_async", "--param", "code=7"], 7),
        (["exits_bare"], 0),
        (["exits_saying"], 1),
        (["exits_after_a_failure"], 1),
        (["exits_after_a_failure", "--allow-failed-calls"], 0),
        (["call_exits", "--param", "code=0"], 1),
        (["call_exits", "--param", "code=0", "--allow-failed-calls"], 1),
        (["call_exits", "--param", "code=7"], 7),
    ],
)
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_exits(tokens: list[str], status: int, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The flow's own status, unless it is 0 although a call crashed or failed; always the summary."""
    name, *options = tokens
    assert main(["run", f"program.py:{name}", "--backend", backend, *options]) == status
    said = capsys.readouterr().err
    assert f"flow {name}: exited in" in said
    assert ("calls: 1 CRASHED" in said) == (name == "call_exits")
    assert ("that was it\n" in said) == (name == "exits_saying")
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["stops", "stops_async", "call_stops", "calls_stop"])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_exceptions_that_are_none(name: str, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, the user's traceback without frames of ours, and the summary."""
    assert main(["run", f"program.py:{name}", "--backend", backend]) == 1
    said = capsys.readouterr().err
    assert "Stop: enough" in said
    assert 'program.py", line' in said
    assert OURS not in said
    assert f"flow {name}: failed in" in said
    assert ("calls: 2 CRASHED" in said) == (name == "calls_stop")


def test_ctrl_c_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """It is Ctrl-C; what else went wrong is shown."""
    assert main(["run", "program.py:interrupted"]) == 130
    said = capsys.readouterr().err
    assert "flow interrupted: interrupted in" in said
    assert "Traceback" not in said
    assert main(["run", "program.py:interrupted_and_failed"]) == 130
    said = capsys.readouterr().err
    assert "flow interrupted_and_failed: interrupted in" in said
    assert "(1 sub-exception)" in said
    assert "ValueError: something else" in said


def test_quiet_exits(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a summary what the flow says is all there is."""
    assert main(["run", "program.py:exits_saying", "--quiet"]) == 1
    assert capsys.readouterr().err == "that was it\n"
