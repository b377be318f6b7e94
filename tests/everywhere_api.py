"""The async functions that creche hands to its users: found, not listed, so that a new one is seen.

What it is for: tests that have something for each of them can tell when one has none. From the public
names it goes on to what their functions say that they hand back: `as_completed` gives an object with
async methods whose class has no public name.

What it does not know: what is done with them.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import creche

MODULES = (
    "creche",
    "creche.instruments",
    "creche.instruments.otel",
    "creche.logging",
    "creche.notebook",
    "creche.places",
    "creche.testing",
)

REFERENCE = (Path(__file__).parent.parent / "docs" / "reference" / "api.md").read_text("utf-8")

# What only a loop calls; and what a signature says of a function that is not async, and is awaited.
_DUNDERS = ("__await__", "__aenter__", "__aexit__", "__anext__", "__call__")
# Whose classes creche's stand in for.
_OTHERS = ("anyio", "concurrent.futures", "creche._place")
_AWAITED = re.compile(r"\b(Awaitable|Coroutine|Async\w+|AbstractAsync\w+)\b")


def public_names() -> Iterator[tuple[str, Any]]:
    """Everything public that is creche's own."""
    for module in map(importlib.import_module, MODULES):
        for name in getattr(module, "__all__", vars(module)):
            thing = getattr(module, name)
            if getattr(thing, "__module__", "").partition(".")[0] == "creche":
                yield name, thing


def _classes() -> dict[str, set[type[Any]]]:
    """Every class of creche's, by its name and by those of the classes that it stands in for."""
    found: dict[str, set[type[Any]]] = {}
    for module in pkgutil.walk_packages(creche.__path__, "creche."):
        if module.name.startswith(("creche.cli", "creche.testing.contract", "creche.__main__")):
            continue
        for thing in list(vars(importlib.import_module(module.name)).values()):
            if inspect.isclass(thing) and thing.__module__.startswith("creche"):
                for base in thing.__mro__:
                    if base is thing or base.__module__.startswith(_OTHERS):
                        found.setdefault(base.__name__, set()).add(thing)
    return found


def _gives(fn: Any) -> str:
    """What a function says that it hands back."""
    return str(getattr(fn, "__annotations__", {}).get("return", ""))


def _hidden() -> dict[str, set[str]]:
    """By class, the methods that the reference leaves out: private, without an underscore."""
    found = re.findall(r"autoclass:: [\w.]+\.(\w+)\n(?: +:.*\n)*? +:exclude-members: (.*)\n", REFERENCE)
    return {name: set(words.split(", ")) for name, words in found}


def _functions(cls: type[Any], hidden: set[str]) -> Iterator[tuple[str, Any]]:
    """What can be called on an object of a class: its public functions and properties."""
    for owner in cls.__mro__:
        if not owner.__module__.startswith("creche"):
            continue
        for name, value in vars(owner).items():
            fn = getattr(value, "fget", None) or getattr(value, "__func__", value)
            public = not name.startswith("_") or name in _DUNDERS
            if inspect.isfunction(fn) and public and name not in hidden:
                yield f"{owner.__name__}.{name}", inspect.unwrap(fn)


def _is_async(name: str, fn: Any) -> bool:
    return (
        inspect.iscoroutinefunction(fn)
        or inspect.isasyncgenfunction(fn)
        or name.endswith(".__await__")
        or _AWAITED.search(_gives(fn)) is not None
    )


def async_functions() -> set[str]:
    """By the class that defines it, if it is of one: ``BulkTaskRunner.map``."""
    classes = _classes()
    hidden = _hidden()
    found: set[str] = set()
    seen: set[Any] = set()
    waiting: list[Any] = []

    def look(name: str, fn: Any) -> None:
        if _is_async(name, fn):
            found.add(name)
        for word in re.findall(r"\w+", _gives(fn)):
            own = {one for one in classes.get(word, ()) if one.__name__ == word}
            # Where they name somebody else's (`TaskGroup`), those of theirs that stand in for it.
            waiting.extend(own or classes.get(word, set()))

    for name, thing in public_names():
        if inspect.isfunction(thing):
            look(name, inspect.unwrap(thing))
        else:
            waiting.append(thing if inspect.isclass(thing) else type(thing))
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            for name, fn in _functions(cls, hidden.get(cls.__name__, set[str]())):
                look(name, fn)
    return found
