"""The programs of docs/examples, for the tests that run them.

What it does not know: what they do.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"


def path_of(name: str) -> Path:
    """The file of an example."""
    return DOCS / "examples" / f"{name}.py"


def load(name: str) -> Any:
    """An example as a module, new each time; its `main` is not run."""
    return load_file(path_of(name))


def load_file(path: Path) -> Any:
    """Any file of Python as a module, new each time."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(
    program: Path, *args: object, env: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """A program as a process of its own, which may import the examples; a warning is an error in it."""
    folder = os.pathsep.join([str(DOCS / "examples"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "error", str(program), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": folder.rstrip(os.pathsep), **(env or {})},
        **options,
    )


def read_until(process: subprocess.Popen[str], line: str) -> str:
    """What a program prints, up to and with this line; fails if the program ends before."""
    assert process.stdout is not None
    said = ""
    while not said.endswith(line):
        more = process.stdout.readline()
        assert more, f"the program ended without {line!r}: {said}"
        said += more
    return said


def count_code(source: str) -> int:
    """The lines of a source that are code: not blank, no comment, and no docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate((line.strip() for line in source.splitlines()), 1)
    return sum(bool(line) and line[0] != "#" and number not in docstrings for number, line in lines)
