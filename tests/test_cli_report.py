"""The command ``creche report``: the page that it writes, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from creche.cli import _report
from creche.cli._app import main
from reporting import of_everything

HEADER = json.dumps({"event": "log", "schema": 1, "creche": "0", "wall": 0})
STARTED = json.dumps(
    {
        "event": "runner_started",
        "run": 1,
        "time": 0,
        "wall": 0,
        "name": "r",
        "max_workers": None,
        "limits": {},
        "loop": "trio",
    }
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    of_everything().write(tmp_path / "events.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("option", ["-o", "--output"])
def test_a_page_is_written(folder: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    """What was there is gone; how large it is, is said."""
    (folder / "page.html").write_text("old")
    assert main(["report", "events.jsonl", option, "page.html"]) == 0
    assert (folder / "page.html").read_bytes().startswith(b"<!doctype html>\n")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "page.html: 11 calls, 0.1 MB\n")


def test_a_torn_last_line_is_no_mistake(folder: Path) -> None:
    """It is what a killed writer leaves behind."""
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event":"call_sub')
    assert main(["report", "events.jsonl", "-o", "page.html"]) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: no event file"),
        ("hello\n", "line 1: no JSON"),
        ("\0\xff\n", "line 1: no JSON"),
        (f"{STARTED}\n", "line 1: no event file"),
        (f"{HEADER}\n[]\n", "line 2: no event"),
        (f"{HEADER}\n{STARTED}\n{{}}\n", "line 3: no event that is understood: it lacks 'event'"),
        (f"{HEADER}\n{STARTED}\nrubbish\n", "line 3: no JSON"),
        (
            HEADER.replace("1,", "99,", 1) + "\n",
            "schema 99; this one reads up to schema 1: install a newer",
        ),
    ],
)
def test_rubbish(folder: Path, capsys: pytest.CaptureFixture[str], text: str, says: str) -> None:
    """The line is named, and nothing is written."""
    (folder / "rubbish").write_text(text, encoding="latin-1")
    refused(["rubbish", "-o", "page.html"], says, capsys)
    assert not (folder / "page.html").exists()


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (["nowhere", "-o", "page.html"], "nowhere: no such file"),
        ([".", "-o", "page.html"], ".: is a directory"),
        (["nul\0", "-o", "page.html"], "nul"),
        (["events.jsonl", "-o", "no/page.html"], "--output no/page.html: no such file or directory"),
        (["events.jsonl", "-o", "."], "--output .: is a directory"),
        (["events.jsonl", "-o", "nul\0"], "--output nul"),
        (["events.jsonl", "-o", f"{'long' * 99}"], "file name too long"),
        (["events.jsonl", "-o", "events.jsonl"], "it would overwrite what is read"),
        (["events.jsonl"], "--output"),
        ([], "requires an argument"),
    ],
)
def test_files_that_cannot_be(
    tokens: list[str], says: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """One sentence, and the events are as they were."""
    before = (folder / "events.jsonl").read_bytes()
    refused(tokens, says, capsys)
    assert (folder / "events.jsonl").read_bytes() == before


def test_a_time_that_no_run_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line is named, as of any other rubbish."""
    closed = '{"event": "runner_closed", "run": 1, "time": 1e999, "wall": 0}'
    (folder / "damaged").write_text(f"{HEADER}\n{STARTED}\n{closed}\n")
    refused(["damaged", "-o", "page.html"], "damaged, line 3: ", capsys)


def test_a_disk_that_fills(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed when the page is written."""

    def write_bytes(_: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    refused(["events.jsonl", "-o", "page.html"], "--output page.html: no space left", capsys)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("jinja2", "creche report needs jinja2, which is not installed: pip install 'creche[cli]'"),
        ("other", None),
    ],
)
def test_a_package_that_is_missing(
    missing: str, says: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named; what else cannot be imported is a fault, and shows as one."""

    def render(*_: Any) -> bytes:
        raise ModuleNotFoundError(name=missing)

    monkeypatch.setattr(_report, "render", render)
    if says is None:
        with pytest.raises(ModuleNotFoundError):
            main(["report", "events.jsonl", "-o", "page.html"])
    else:
        refused(["events.jsonl", "-o", "page.html"], says, capsys)


def test_without_jinja(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is on a machine where only an old extra was installed."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(["events.jsonl", "-o", "page.html"], "pip install 'creche[cli]'", capsys)


def refused(tokens: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *tokens]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.startswith("creche: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
