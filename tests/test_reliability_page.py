"""The table of faults in the docs is true: each row names a test that there is, and its loops."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanation" / "reliability.md"
LOOPS = {"trio", "asyncio", "uvloop"}


class Row(NamedTuple):
    """A row of it."""

    fault: str
    where: str
    often: str
    loops: str
    promised: str
    seen: str
    test: str


def rows() -> list[Row]:
    table = (
        PAGE.read_text(encoding="utf-8").partition("<!-- faults")[2].partition("<!-- end of faults")[0]
    )
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def loops_of(path: Path, function: ast.AsyncFunctionDef | ast.FunctionDef) -> set[str]:
    """What the source says of a test: its own parameters, or else those of every shared test."""
    marks = "".join(ast.unparse(mark) for mark in function.decorator_list)
    text = path.read_text(encoding="utf-8")
    own = re.search(r"'anyio_backend', \[(.*?)\]", marks)
    if own:
        return set(re.findall(r"\w+", own[1]))
    if isinstance(function, ast.FunctionDef):
        return set(re.findall("trio|asyncio", marks))
    is_slow = "pytest.mark.slow" in marks + text.partition("pytestmark = ")[2].partition("\n\n")[0]
    return LOOPS - {"uvloop"} if is_slow else LOOPS


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.test.strip("`"))
def test_each_fault_is_tried(row: Row) -> None:
    """By a test of that name in that file, on these loops."""
    file, _, name = row.test.strip("`").partition("::")
    path = TESTS / file
    found = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)) and node.name == name
    ]
    assert len(found) == 1
    assert set(row.loops.split(", ")) == loops_of(path, found[0])
    assert all(row)


def test_there_are_faults_in_every_place() -> None:
    """On the loop, in threads, in processes and on Dask."""
    places = {place for row in rows() for place in row.where.split(", ")}
    assert places == {"loop", "threads", "processes", "Dask", "all"}


def test_the_numbers_of_calls() -> None:
    """Those that are in a row are those of its test."""
    for row in rows():
        source = (TESTS / row.test.strip("`").partition("::")[0]).read_text(encoding="utf-8")
        for number in re.findall(r"([\d,]+) calls", row.often):
            plain = number.replace(",", "")
            assert re.search(rf"\b{plain}\b", source), f"{number} of {row.test}"
