"""``creche simulate``: its table, its JSON, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from creche import ConcurrentTaskRunner
from creche.cli._app import main
from recording import fan_out, holds_and_waits, limited, record


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run as it was, a row for each number, and an answer."""
    record(tmp_path / "log", fan_out, max_workers=3)
    assert main(["simulate", str(tmp_path / "log"), "--max-workers", "30,6", "--max-workers", "1"]) == 0
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()[4:9]]
    assert [row[0] for row in rows] == ["3", "1", "6", "30", "no"]
    assert rows[1][1:] == ["55.000", "1"]
    assert rows[3][1:] == ["9.000", "20"]
    assert "critical path 9.000 s: split, part" in said.out
    assert "Would more workers have helped? Yes, with 30 workers" in said.out
    assert said.err == ""


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    record(tmp_path / "log", limited, max_workers=3, limits={"db": 1})
    tokens = ["simulate", str(tmp_path / "log"), "--json", "--max-workers", "9", "--limit", "db=3"]
    assert main(tokens) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["calls"] == 12
    assert found["rows"][0]["workers"] == 9
    assert found["rows"][0]["seconds"] < found["with_limits"]["seconds"] < found["measured"]
    assert found["as_it_was"]["seconds"] == pytest.approx(found["measured"])
    assert found["critical_path"]["seconds"] == 3


def test_what_would_never_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is said in its row, and why below."""
    record(tmp_path / "log", holds_and_waits, limits={"db": 2})
    tokens = ["simulate", str(tmp_path / "log"), "--max-workers", "3", "--limit", "db=1"]
    assert main(tokens) == 0
    said = capsys.readouterr().out
    assert "       3  never ends" in said
    assert "note: with 3 workers it never ends: " in said
    assert "note: with no limit of workers it never ends: " in said


def test_keys_on_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of many the first and the last are shown; none can move the cursor."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        slot = runner.submit_nowait("first\x1b[31m" + "x" * 100, anyio.sleep, 1)
        for n in range(20):
            slot = runner.submit_nowait(n, anyio.sleep, 1, after=[slot])

    record(tmp_path / "log", body)
    assert main(["simulate", str(tmp_path / "log")]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("critical path 21.000 s: first\\x1b[31mxxx")
    assert line.endswith("x…, 0, 1, 2, (13 more), 16, 17, 18, 19")


def test_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is one call."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        runner.submit_nowait("a", anyio.sleep, 1)

    record(tmp_path / "log", body)
    assert main(["simulate", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().out.startswith("1 call, 1.000 s measured\n")


def test_a_cut_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing is noted below the table."""
    record(tmp_path / "log", fan_out, max_workers=3)
    lines = (tmp_path / "log").read_text().splitlines(keepends=True)
    (tmp_path / "log").write_text("".join(lines[:50]))
    assert main(["simulate", str(tmp_path / "log")]) == 0
    assert "\nnote: the file ends before its run does" in capsys.readouterr().out


BAD = [
    (["log", "--max-workers", "0"], "--max-workers must be at least 1, not 0"),
    (["log", "--max-workers", "two"], "--max-workers takes whole numbers, not 'two'"),
    (["log", "--max-workers", "1,"], "--max-workers takes whole numbers, not ''"),
    (["log", "--limit", "db"], "--limit takes NAME=N, not 'db'; --limit db=2, perhaps"),
    (["log", "--limit", "=3"], "--limit takes NAME=N, not '=3'"),
    (["log", "--limit", "db=x"], "--limit db takes a whole number, not 'x'"),
    (["log", "--limit", "db=0"], "--limit db must be at least 1, not 0"),
    (["log", "--limit", "nosuch=3"], "there is no limit 'nosuch' in it; there are: db"),
    (["unlimited", "--limit", "nosuch=3"], "there is no limit 'nosuch' in it; there are: none at all"),
    (["rubbish"], "rubbish, line 1: no JSON"),
    (["torn"], "torn, line 2: no JSON"),
    (["newer"], "in schema 99"),
    (["begun"], "no call of it has finished, so there is nothing to replay"),
    (["nosuch"], "cannot read"),
    (["a\0b"], "cannot read"),
    ([""], "cannot read"),
]


@pytest.mark.parametrize(("tokens", "says"), BAD)
def test_bad_input(
    tokens: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence that says what is wrong, and exit status 2."""
    record(tmp_path / "log", limited, limits={"db": 1})
    record(tmp_path / "unlimited", fan_out)
    lines = (tmp_path / "log").read_text().splitlines(keepends=True)
    (tmp_path / "rubbish").write_text("rubbish\n")
    (tmp_path / "torn").write_text(f"{lines[0]}{lines[1][:20]}\n{lines[2]}")
    (tmp_path / "newer").write_text(lines[0].replace('"schema":1', '"schema":99'))
    (tmp_path / "begun").write_text("".join(lines[:3]))
    name, *options = tokens
    assert main(["simulate", str(tmp_path / name), *options]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
