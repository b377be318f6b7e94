"""The floors of creche: each module stands on one, and imports only what is below it.

The table in `floors.py` is the map. It fails on an import upwards or sideways, on one that hides in a
function, on an event loop that is named where it must not be, and on a file that has grown too long.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floors import FLOORS, MAY_IMPORT_LATE, MAY_NAME

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "creche"

FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}

LONGEST = 400


def modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()


# The string in it is for an interpreter of its own.
IMPORTS_FOR_OTHERS = {"places._spawning"}


def imports_of(module: str, path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Every import statement's module, with ``creche`` written in full."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield str(node.module), node
                continue
            base = package.split(".") if package else []
            base = base[: len(base) - node.level + 1]
            stem = ".".join(["creche", *base, *([node.module] if node.module else [])])
            for name in {f"{stem}.{alias.name}" for alias in node.names}:
                yield (name if name.removeprefix("creche.") in MODULES else stem), node


def test_every_module_has_a_floor() -> None:
    """The map is whole, and names nothing that is gone."""
    assert set(FLOOR_OF) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    """Never up, never sideways."""
    for name, _ in imports_of(module, MODULES[module]):
        if name == "creche" or name.startswith("creche."):
            target = name.removeprefix("creche").removeprefix(".")
            assert FLOOR_OF[target] < FLOOR_OF[module], f"{module or 'creche'} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_at_the_top(module: str) -> None:
    """No import inside a function, and `importlib` only where the table says why."""
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                assert not isinstance(node, (ast.Import, ast.ImportFrom)), f"line {node.lineno}"
    uses = "import_module(" in path.read_text(encoding="utf-8") and module not in IMPORTS_FOR_OTHERS
    assert uses == (module in MAY_IMPORT_LATE)


@pytest.mark.parametrize("module", MODULES)
def test_loops_are_named_in_backends_only(module: str) -> None:
    """Code above the backends is the same on every loop."""
    named = {name.partition(".")[0] for name, _ in imports_of(module, MODULES[module])}
    assert named & {"trio", "anyio", "asyncio", "sniffio", "uvloop"} == MAY_NAME.get(module, set())


def test_files_are_short() -> None:
    """A file that needs more lines is two files."""
    files = [*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_files_say_what_they_are_for() -> None:
    """Each begins with a docstring."""
    silent = [
        name
        for name, path in MODULES.items()
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_there_is_no_other_folder_with_code() -> None:
    """Sources, tests, docs; nothing beside them."""
    ignored = {"build", "dist", "__pycache__"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - ignored
    assert folders == {"src", "tests", "docs"}


def test_importing_creche_is_light() -> None:
    """No package of an extra, no asyncio, no anyio: only what trio brings along."""
    code = (
        "import sys, trio; before = set(sys.modules); import creche; import creche.instruments\n"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - {'creche'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "anyio",
        "asyncio",
        "cyclopts",
        "jinja2",
        "rich",
        "uvloop",
        "prefect",
        "dask",
        "distributed",
    }
    assert not heavy & set(ast.literal_eval(said.stdout))


def test_importing_the_command_is_light() -> None:
    """No test kit, of trio's or others', and nothing that only some commands need."""
    said = subprocess.run(
        [sys.executable, "-c", "import sys, creche.cli._app; print(list(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"pytest", "_pytest", "trio.testing", "jinja2", "dask", "distributed", "opentelemetry"}
    assert not heavy & set(ast.literal_eval(said.stdout))
