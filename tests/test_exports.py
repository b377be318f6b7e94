"""The public names: where they say they live, and what their docstrings promise."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import creche
import creche.instruments
import creche.testing

PUBLIC = ["creche", "creche.instruments", "creche.testing"]
NAMES = [(package, name) for package in PUBLIC for name in importlib.import_module(package).__all__]

# No class and no function, and so without a `__module__` or a docstring of their own.
PLAIN = {"Origin", "flow"}


def documented(package: str, name: str) -> Iterator[tuple[str, Any]]:
    """A public name, and the public methods and properties of it that creche defines."""
    thing = getattr(importlib.import_module(package), name)
    yield name, thing
    if not inspect.isclass(thing):
        return
    for owner in thing.__mro__:
        if not owner.__module__.startswith("creche"):
            continue
        for member, value in vars(owner).items():
            inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if not member.startswith("_") and inspect.isfunction(inner):
                yield f"{name}.{member}", inner


MEMBERS = [pair for package, name in NAMES if name not in PLAIN for pair in documented(package, name)]


@pytest.mark.parametrize("package", PUBLIC)
def test_the_list_of_names(package: str) -> None:
    """Sorted, and each is there."""
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_where_a_name_lives(package: str, name: str) -> None:
    """Tracebacks, pickles and docs say the public place."""
    thing = getattr(importlib.import_module(package), name)
    if name not in PLAIN:
        assert (thing.__module__, thing.__qualname__) == (package, name)


@pytest.mark.parametrize(("name", "thing"), MEMBERS, ids=[name for name, _ in MEMBERS])
def test_a_public_thing_has_a_docstring(name: str, thing: Any) -> None:
    """With a first line that is a sentence."""
    doc = inspect.getdoc(thing)
    assert doc, name
    assert doc.splitlines()[0].rstrip().endswith((".", ":")), name


def raised_by(function: Any) -> set[str]:
    """The names of the errors that are raised in a function's own body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = node.exc.func
            if isinstance(called, ast.Name) and called.id[0].isupper():
                found.add(called.id)
    return found


def raises_section(doc: str) -> str:
    """What stands in the docstring after ``Raises:``."""
    return doc.partition("Raises:")[2]


@pytest.mark.parametrize(("name", "thing"), MEMBERS, ids=[name for name, _ in MEMBERS])
def test_errors_are_documented(name: str, thing: Any) -> None:
    """Each error that a public function raises by itself is in its docstring, with when."""
    functions = [thing] if inspect.isfunction(thing) else []
    for function in functions:
        section = raises_section(inspect.getdoc(function) or "")
        for error in raised_by(function):
            if error != "StopAsyncIteration":  # the protocol of iteration, not an error
                assert f"{error}:" in section, f"{name} raises {error}"


# What reaches the user from below, by the contract: each must be named where a user meets it.
PROMISED = {
    ("ConcurrentTaskRunner", "submit"): {
        "KeyTaken",
        "RunnerNotStarted",
        "RunnerClosed",
        "TypeError",
        "ValueError",
    },
    ("ConcurrentTaskRunner", "wait"): {"UnknownKey", "TypeError", "ValueError", "RuntimeError"},
    ("ConcurrentTaskRunner", "result"): {"CallCancelled", "UnknownKey", "RunnerNotStarted"},
    ("ConcurrentTaskRunner", "cancel"): {"UnknownKey", "RunnerNotStarted"},
    ("ConcurrentTaskRunner", "forget"): {"UnknownKey", "NotSettled"},
    ("ConcurrentTaskRunner", "start"): {"RuntimeError"},
    ("Slot", "result"): {"NotSettled", "CallCancelled", "TimeoutError"},
}


@pytest.mark.parametrize(("owner", "method"), PROMISED)
def test_promised_errors_are_documented(owner: str, method: str) -> None:
    """Those that come from below as well."""
    section = raises_section(inspect.getdoc(getattr(getattr(creche, owner), method)) or "")
    assert {error for error in PROMISED[owner, method] if f"{error}:" not in section} == set()


def test_the_reference_has_every_name() -> None:
    """No public name is missing in the docs."""
    page = (Path(__file__).parent.parent / "docs" / "reference" / "api.md").read_text("utf-8")
    missing = [name for _, name in NAMES if name not in page]
    assert missing == []


def test_what_is_there() -> None:
    """All names are listed before any was asked for; another one is refused as by any module."""
    assert set(creche.__all__) <= set(dir(creche))
    with pytest.raises(AttributeError, match="module 'creche' has no attribute 'nope'"):
        creche.nope  # noqa: B018 - wrong on purpose
