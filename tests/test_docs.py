"""The README and the docs: their programs run, and print what is written there.

A page is read from the top. Its ``python`` blocks share one namespace, as if pasted one after the other;
a ``text`` block is exactly what the program above it prints. A block that is not to be run is
fenced as ``python no-run``.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from creche import Origin, State
from creche._states import TRANSITIONS, mermaid
from examples import load_file

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
BLOCK = re.compile(r"^```(\w+)( no-run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    runs: bool
    line: int
    body: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order; those of Sphinx, in braces, are not among them."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], not found[2], text.count("\n", 0, found.start(3)), found[3])
        for found in BLOCK.finditer(text)
    ]


def first(page: Path, language: str) -> str:
    """The first block in a language."""
    return next(block.body for block in blocks(page) if block.language == language)


def run(block: Block, page: Path, namespace: dict[str, Any]) -> str:
    """Run a block; its lines in a traceback are those of the page. Gives what it printed."""
    name = f"<{page.relative_to(ROOT)}:{block.line}>"
    source = "\n" * block.line + block.body
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, name, "exec"), namespace)  # noqa: S102 - our own pages
    return printed.getvalue()


@each_page
def test_the_programs_of_a_page(page: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They run, print what stands below them and nothing else, and log no error."""
    namespace: dict[str, Any] = {"__name__": "page"}
    printed = ""
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python" and block.runs:
            assert printed == "", f"what the program above {where} prints is not shown"
            printed = run(block, page, namespace)
        elif block.language == "text":
            assert printed == block.body, where
            printed = ""
    assert printed == "", "what the last program prints is not shown"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@each_page
def test_every_program_of_a_page_is_found(page: Path) -> None:
    """None is fenced in a way that the test above would pass over, indented in a list, say."""
    programs = [block for block in blocks(page) if block.language == "python"]
    assert page.read_text(encoding="utf-8").count("```py") == len(programs)


def test_the_program_of_the_readme(tmp_path: Path) -> None:
    """About fifteen lines, and a complete program: as a file of its own it prints the same."""
    program = first(README, "python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    file = tmp_path / "program.py"
    file.write_text(program, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr) == (first(README, "text"), "")


def test_the_program_of_the_readme_on_asyncio(tmp_path: Path) -> None:
    """What the README says about asyncio holds: two words changed, the same output."""
    program = first(README, "python")
    for on_trio, on_asyncio in (
        ("import trio", "import asyncio"),
        ("trio.sleep(", "asyncio.sleep("),
        ("trio.run(main)", "asyncio.run(main())"),
    ):
        assert program.count(on_trio) == 1
        program = program.replace(on_trio, on_asyncio)
    file = tmp_path / "program.py"
    file.write_text(program, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr) == (first(README, "text"), "")


def test_the_two_commands_of_the_readme() -> None:
    """The first two shell blocks: the main job, and the tests; one line each, to be pasted."""
    run_the_job, run_the_tests = [block.body for block in blocks(README) if block.language == "sh"][:2]
    assert run_the_job.count("\n") == run_the_tests.count("\n") == 1
    assert "creche run docs/examples/stdlib_census.py --allow-failed-calls" in run_the_job
    assert run_the_tests.endswith(".venv/bin/nox\n")


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page links to is there."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_pictures_of_the_states() -> None:
    """Both are drawn from the table in code; the page's is what the code draws now."""
    assert first(DOCS / "explanation" / "states.md", "mermaid") == f"{mermaid()}\n"
    svg = load_file(DOCS / "conf.py").draw_states()
    for state, after in ((state, after) for state, row in TRANSITIONS.items() for after in row):
        assert f"<title>{state.name} to {after.name}</title>" in svg
    assert svg.count("<title>") == sum(len(row) for row in TRANSITIONS.values())
    assert all(f">{state.name}</text>" in svg for state in State)


def test_the_words_of_the_states() -> None:
    """The page has a row for each state and for each origin, in the order of the code."""
    page = (DOCS / "explanation" / "states.md").read_text(encoding="utf-8")
    words = [*(state.name for state in State), *get_args(Origin)]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == words


def test_the_capture_rule_has_a_program_for_each_clause() -> None:
    """Eleven clauses, each with at least one program under its heading."""
    text = (DOCS / "explanation" / "capture-rule.md").read_text(encoding="utf-8")
    _, *clauses = re.split(r"^## (?=\d)", text, flags=re.MULTILINE)
    assert [int(clause.split(".")[0]) for clause in clauses] == list(range(1, 12))
    for clause in clauses:
        assert "```python\n" in clause, clause.splitlines()[0]
