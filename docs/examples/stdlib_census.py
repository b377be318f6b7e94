"""A census of Python's standard library: what is in its sources, and who imports whom.

    creche run docs/examples/stdlib_census.py --allow-failed-calls

Each file is parsed in a call of its own. Some files of the library's own test data are broken on
purpose, or written in odd encodings: their calls fail alone, and are listed at the end with the reason.
"""

import ast
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from creche import Slot, State, flow, task


class Module(NamedTuple):
    """What one file holds."""

    name: str
    lines: int
    functions: int
    classes: int
    imports: frozenset[str]


@task
def find(root: Path) -> list[Path]:
    """Every source file below a folder, in a stable order, without installed packages."""
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    files = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in files if not skipped & set(path.relative_to(root).parts))


@task
def parse(root: Path, path: Path) -> Module:
    """Count what is in one file; a file that is not Python of this version raises."""
    source = path.read_bytes()
    tree = ast.parse(source, filename=str(path.relative_to(root)))
    functions = classes = 0
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module.split(".")[0])
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    return Module(name, source.count(b"\n"), functions, classes, frozenset(imports))


@task
def combine(modules: list[Module], top: int) -> list[str]:
    """The tables: totals, the largest, the most imported, and who imports most."""
    packages = {module.name.split(".")[0] for module in modules}
    imported = Counter(name for module in modules for name in module.imports if name in packages)
    largest = sorted(modules, key=lambda module: (-module.lines, module.name))[:top]
    importers = sorted(modules, key=lambda module: (-len(module.imports), module.name))[:top]
    most = sorted(imported.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    return [
        f"{len(modules)} files parsed",
        f"{sum(module.lines for module in modules)} lines",
        f"{sum(module.functions for module in modules)} functions",
        f"{sum(module.classes for module in modules)} classes",
        *table("largest", "lines", [(module.name, module.lines) for module in largest]),
        *table("most imported", "files", most),
        *table("imports most", "modules", [(one.name, len(one.imports)) for one in importers]),
    ]


def table(title: str, unit: str, rows: list[tuple[str, int]]) -> list[str]:
    """A few rows of names and numbers."""
    return ["", f"{title} ({unit})", *(f"  {name:<48} {number:>8}" for name, number in rows)]


def why(slot: Slot[Module]) -> str:
    """The reason of a call that failed, in one line."""
    try:
        slot.result()
    except Exception as exc:  # noqa: BLE001 - it is what the table shows
        return " ".join(f"{type(exc).__name__}: {exc}".split())
    return ""


@flow
def census(root: Path | None = None, top: int = 10) -> list[str]:
    """Count what is in the standard library, or below another folder."""
    root = root or Path(sysconfig.get_path("stdlib"))
    files = find(root)
    with warnings.catch_warnings():  # here, not in `parse`: the filters are one for all threads
        warnings.simplefilter("ignore")
        slots = {path: parse.submit(root, path) for path in files}
        reasons = {path: why(slot) for path, slot in slots.items()}
    parsed = [slot for slot in slots.values() if slot.state is State.COMPLETED]
    lines = combine.submit(parsed, top).result()
    broken = [(path, reason) for path, reason in reasons.items() if reason]
    lines += ["", f"{len(broken)} files could not be parsed"]
    lines += [f"  {path.relative_to(root)}: {reason}" for path, reason in broken]
    print("\n".join(lines))
    return lines
