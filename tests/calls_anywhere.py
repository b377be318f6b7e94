"""A call for worker processes that live for a tenth of a second: its module imports nothing.

What it does not know: runners.
"""

from __future__ import annotations


def note(path: str, line: str) -> str:
    """A call that leaves a trace, wherever it runs."""
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - as short as can be
        file.write(f"{line}\n")
    return line
