"""How a function, or what it is given, is written in a line that can be pasted.

What it is for: ``again: cancel_everywhere(partial(fetch, 1), ...)``. What has no name is put in angle
brackets, as Python does it, and says what it is, and not at which address.

What it does not know: whether the name is known where the line is pasted.

Invariant: the same object is written the same way in each process.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from creche._stacks import shorten

_LONGEST = 60


def written(given: Any) -> str:  # noqa: ANN401 - whatever a user passes
    """A function by its name, a partial by its parts, the rest as Python writes it, if it is short."""
    if isinstance(given, functools.partial):
        parts = [given.func, *given.args]
        words = [f"{name}={written(value)}" for name, value in given.keywords.items()]
        return f"partial({', '.join([*map(written, parts), *words])})"
    owner = getattr(given, "__self__", None)
    name = getattr(given, "__qualname__", None)
    if isinstance(name, str) and callable(given):
        name = name.rpartition("<locals>.")[2]
        if name == "<lambda>" and inspect.isfunction(given):
            code = given.__code__
            return f"<lambda at {shorten(code.co_filename)}:{code.co_firstlineno}>"
        if inspect.ismethod(given) and not isinstance(owner, type):
            return f"{written(owner)}.{given.__name__}"
        return name
    text = repr(given)
    if len(text) > _LONGEST or "\n" in text or " at 0x" in text:
        return f"<{type(given).__name__} object>"
    return text
