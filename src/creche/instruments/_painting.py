"""Whether there is a terminal to show something on, and what colours it has; with rich.

What it does not know: runs, what is shown, when.

Invariant: what it paints has no control sequence but colours; with ``NO_COLOR`` not even these.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from rich.console import Console
from rich.style import Style

from ._words import Line

_STYLES = {
    "head": Style(bold=True),
    "note": Style(color="yellow", bold=True),
    "fill": Style(color="cyan"),
    "going": Style(),
    "retry": Style(color="yellow"),
    "fault": Style(color="red"),
    "more": Style(dim=True),
}


@final
class Terminal:
    """The terminal that standard error is.

    Attributes:
        fd: its number.
    """

    def __init__(self, fd: int, console: Console) -> None:
        self.fd = fd
        self._console = console

    def size(self) -> tuple[int, int]:
        """Columns and lines, now.

        Raises:
            OSError: it is gone.
        """
        columns, lines = os.get_terminal_size(self.fd)
        return columns, lines

    def paint(self, lines: Sequence[Line]) -> list[str]:
        """Lines with colours."""
        system = None if self._console.no_color else self._console._color_system  # noqa: SLF001 - nothing public gives it as `render` takes it
        return [_STYLES[line.kind].render(line.text, color_system=system) for line in lines]

    def write(self, text: str) -> None:
        """Write in as few pieces as the terminal takes.

        Raises:
            OSError: it is gone.
        """
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            data = data[os.write(self.fd, data) :]


def find_terminal() -> Terminal | None:
    """The terminal that standard error is.

    Returns:
        `None` if it is none, or one that knows no control sequences, or not how large it is.
    """
    stream = sys.stderr
    with suppress(AttributeError, OSError, ValueError):
        fd = stream.fileno()
        console = Console(file=stream, highlight=False)
        able = os.isatty(fd) and not console.is_dumb_terminal and not console.legacy_windows
        if able and min(os.get_terminal_size(fd)) > 0:
            return Terminal(fd, console)
    return None
