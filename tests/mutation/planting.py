"""A fault: a change of the source that some test must notice; and how it is put there.

What it is for: a fault names a function, a piece of it, and what stands there instead. The piece is
found by what it means, not by how it is laid out: a formatter may break its lines anew.

What it does not know: tests, processes, where the sources are.

Invariant: a fault is planted in one place or not at all; what is around that place stays as it was.
"""

from __future__ import annotations

import ast
import functools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        name: a few words with hyphens.
        file: of creche, without its ending: `"_slot"`, `"places/_pool"`.
        where: the function that it is in, with its class: `"Slot.enroll"`.
        old: an expression, or statements, to be found once in that function.
        new: what stands there instead; nothing, for statements that are left out.
        breaks: the promise that does not hold any more.
        tests: the files of tests that must notice, without `test_` and ending, the likeliest first; or
            one test in such a file, `"closing::test_it"`: one with a time limit of its own, say, where
            others would hang.
    """

    name: str
    file: str
    where: str
    old: str
    new: str = ""
    breaks: str
    tests: tuple[str, ...]


class CannotPlantError(Exception):
    """The place of a fault is not there, or there more than once; or it changes nothing."""


def plant(source: str, fault: Fault) -> str:
    """Put a fault into a source.

    Args:
        source: of the file.
        fault: one for that file.

    Returns:
        the source with the fault.

    Raises:
        CannotPlantError: see there.
    """
    function = _function(source, fault)
    old, new = _read(fault, fault.old), _read(fault, fault.new)
    if list(map(ast.dump, old)) == list(map(ast.dump, new)):
        msg = f"fault {fault.name!r} changes nothing"
        raise CannotPlantError(msg)
    is_expression = (
        len(old) == len(new) == 1 and isinstance(old[0], ast.Expr) and isinstance(new[0], ast.Expr)
    )
    found = list(_expressions(function, old[0]) if is_expression else _statements(function, old))
    if len(found) != 1:
        msg = f"fault {fault.name!r}: {len(found)} times in {fault.where} of {fault.file}: {fault.old}"
        raise CannotPlantError(msg)
    first, last = found[0]
    lines = source.splitlines(keepends=True)
    start = _offset(lines, first.lineno, first.col_offset)
    end = _offset(lines, last.end_lineno or 0, last.end_col_offset or 0)
    text = textwrap.dedent(fault.new).strip()
    text = (
        f"({text})" if is_expression else textwrap.indent(text or "pass", " " * first.col_offset).strip()
    )
    begin = _offset(lines, function.lineno, function.col_offset)
    finish = _offset(lines, function.end_lineno or 0, function.end_col_offset or 0)
    indent = " " * function.col_offset
    _read(fault, indent + source[begin:start] + text + source[end:finish])
    return source[:start] + text + source[end:]


def _read(fault: Fault, text: str) -> list[ast.stmt]:
    try:
        return ast.parse(textwrap.dedent(text).strip()).body
    except SyntaxError as exc:
        msg = f"fault {fault.name!r} makes no Python: {exc}"
        raise CannotPlantError(msg) from exc


_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

Span = tuple[ast.stmt | ast.expr, ast.stmt | ast.expr]


def _expressions(function: ast.AST, wanted: ast.stmt) -> Iterator[Span]:
    assert isinstance(wanted, ast.Expr)
    shape = ast.dump(wanted.value)
    for node in ast.walk(function):
        if type(node) is type(wanted.value) and isinstance(node, ast.expr) and ast.dump(node) == shape:
            yield node, node


def _statements(function: ast.AST, wanted: list[ast.stmt]) -> Iterator[Span]:
    """Wherever these statements follow each other."""
    shapes = list(map(ast.dump, wanted))
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if not isinstance(block, list):
                continue
            for at in range(len(block) - len(wanted) + 1):
                part = block[at : at + len(wanted)]
                if type(part[0]) is type(wanted[0]) and list(map(ast.dump, part)) == shapes:
                    yield part[0], part[-1]


def _function(source: str, fault: Fault) -> _Definition:
    block = _parsed(source).body
    found: _Definition | None = None
    for name in fault.where.split("."):
        # Overloads have the name, too, and come before what they are of.
        inside = [one for one in block if isinstance(one, _Definition) and one.name == name]
        if not inside:
            msg = f"fault {fault.name!r}: there is no {fault.where} in {fault.file}"
            raise CannotPlantError(msg)
        found = inside[-1]
        block = found.body
    assert found is not None, fault
    return found


@functools.cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _offset(lines: list[str], line: int, column: int) -> int:
    """A place that Python gives in lines and in bytes, in characters."""
    before = lines[line - 1].encode()[:column].decode()
    return sum(map(len, lines[: line - 1])) + len(before)
