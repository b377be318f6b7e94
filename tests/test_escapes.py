"""No text of a user's steers a terminal: keys, messages, names, reasons, in whatever shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from calls import forever, settle_down
from creche import ConcurrentTaskRunner
from creche._printable import printable, printable_lines
from creche.cli._app import main
from reporting import Events

# Clear the screen, name the window, go back to the beginning of the line, turn the direction; C1, too.
EVIL = "a\x1b[2J\x1b]0;b\x07\rc\x9b31md\u202ee\x7f"
SHOWN = r"a\x1b[2J\x1b]0;b\x07\rc\x9b31md\u202ee\x7f"
STEERING = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e"} - {"\n", "\t"}

PROGRAM = f"""
from creche import flow, task

@task
def work(n):
    raise ValueError({EVIL!r})

@flow(name={EVIL!r})
def calls():
    work.submit(1)

@flow
def raises():
    raise ValueError({EVIL!r} + "\\n\\tsecond")

@flow
def exits():
    raise SystemExit({EVIL!r})

if __name__ == "imports":
    raise ValueError({EVIL!r})
"""


class Evil:
    """A key that says what it likes."""

    def __repr__(self) -> str:
        return EVIL


def test_printable() -> None:
    """What would steer is written as Python writes it; of many lines the ends and the tabs stay."""
    assert printable(EVIL) == SHOWN
    assert printable("a\nb\tc é 漢") == r"a\nb\tc é 漢"
    assert printable("abcdef", 4) == "abc…"
    assert printable_lines(f"one\n\ttwo {EVIL}\n") == f"one\n\ttwo {SHOWN}\n"


@pytest.mark.anyio
async def test_a_dump() -> None:
    """Of keys, of reasons why a call is being cancelled, of the runner's own."""
    async with ConcurrentTaskRunner().start() as runner:

        async def stubborn() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

        runner.submit_nowait(Evil(), forever)
        runner.submit_nowait("stubborn", stubborn)
        await settle_down()
        runner.cancel("stubborn", reason=EVIL)
        said = runner.dump()
        runner.cancel_all()
    assert STEERING.isdisjoint(said)
    assert said.count(SHOWN) == 2


@pytest.fixture
def events(tmp_path: Path) -> str:
    """An event file that somebody has sent."""
    found = Events()
    found.start(name=EVIL, limits={EVIL: 1})
    ends = {"error": {"type": EVIL, "message": EVIL, "traceback": EVIL}}
    found.call(EVIL, 0, 0, 1, state="FAILED", place=EVIL, limits=[EVIL], tags=[EVIL], ends=ends)
    found.call("b", 0, 1, 2, after=[EVIL], parent={"run": 1, "key": EVIL}, limits=[EVIL])
    found.close(2)
    return str(found.write(tmp_path / "events.jsonl"))


READERS: list[Callable[[str, str], list[str]]] = [
    lambda events, _: ["events", events],
    lambda events, _: ["events", events, "--json"],
    lambda events, _: ["events", f"{events}{EVIL}"],
    lambda events, _: ["graph", events],
    lambda events, _: ["graph", events, "--format", "dot"],
    lambda events, _: ["graph", events, "--format", "svg", "--each"],
    lambda events, _: ["simulate", events, "--max-workers", "2"],
    lambda events, _: ["simulate", events, "--limit", f"{EVIL}=2"],
    lambda events, _: ["simulate", events, "--limit", f"{EVIL}x=2"],
    lambda events, out: ["trace", events, "--output", out],
    lambda events, out: ["report", events, "--output", out],
]


@pytest.mark.parametrize("words", READERS)
def test_the_commands_that_read(
    words: Any, events: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in the file, none of it reaches the terminal as it is."""
    main(words(events, str(tmp_path / "out")))
    told = capsys.readouterr()
    said = told.out + told.err
    assert said
    if "--json" in words("", ""):  # for programs: JSON leaves DEL as it is, which terminals pass over
        assert json.loads(told.out.splitlines()[1])["key"] == EVIL
        said = said.replace("\x7f", "")
    assert STEERING.isdisjoint(said)


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["calls", "raises", "exits", "imports"])
@pytest.mark.parametrize("command", ["run", "graph"])
def test_a_flow_that_fails(flow: str, command: str, tmp_path: Path) -> None:
    """Its summary and its tracebacks; what it prints itself is its own affair."""
    file = tmp_path / ("imports.py" if flow == "imports" else "program.py")
    file.write_text(PROGRAM)
    words = [sys.executable, "-m", "creche", command, f"{file}:{flow}"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert STEERING.isdisjoint(ended.stdout + ended.stderr)
    if command == "run" and flow != "imports":
        assert f" of {file.resolve()}\n" in ended.stderr.splitlines(keepends=True)[0]
    if flow != "calls" or command == "run":
        assert r"\x1b[2J" in ended.stderr or "�[2J" in ended.stderr
