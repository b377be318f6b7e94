"""A view in the lowest lines of a terminal, as control sequences: sizes and lines in, text out.

What it is for: the terminal is told to scroll only the lines above the view. So whatever anybody prints,
this process or another, a thread, a library of C, with or without an end of line, lands above the view,
where the cursor stays. Nothing is redirected, the cursor is never hidden, no mode is changed.

What it does not know: where the text goes, what the lines say, colours.

Invariant: after `end` the whole terminal scrolls again, the lines of the view are empty, and the cursor
is where output has left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_WHOLE = "\x1b[r"
_DOWN = "\x1bD"
_CLEAR_BELOW = "\x1b[J"
_PLAIN = "\x1b[0m"

LEAST = 4
"""Lines that a terminal must have to be shared."""


def most_lines(height: int) -> int:
    """How many lines of a terminal a view may take.

    Args:
        height: of the terminal, in lines.

    Returns:
        a half of them, and 12 at most; none of a very low one.
    """
    return 0 if height < LEAST else min(12, height // 2)


@final
class Screen:
    """The view as it is on the terminal now.

    Attributes:
        lines: how many lines it takes.
    """

    def __init__(self) -> None:
        self.lines = 0
        self._size: tuple[int, int] | None = None

    def draw(self, painted: Sequence[str], size: tuple[int, int]) -> str:
        """Show these lines; a view that has grown stays as large until the end, or a new size.

        Args:
            painted: each without an end of line, and no wider than the terminal.
            size: of the terminal, columns and lines.

        Returns:
            what to write, in one piece.
        """
        height = size[1]
        needed = min(len(painted), most_lines(height))
        out = []
        if size != self._size:
            if self._size is not None:
                out.append(self._give_back())
            self._size = size
            self.lines = 0
        if needed > self.lines:
            # Room is made below the cursor; what is there scrolls up if need be.
            out += [
                _SAVE + _WHOLE + _RESTORE,
                _DOWN * needed,
                f"\x1b[{needed}A",
                _SAVE,
                f"\x1b[1;{height - needed}r",
                _RESTORE,
            ]
            self.lines = needed
        if self.lines:
            out.append(_SAVE + _PLAIN)
            first = height - self.lines + 1
            for number in range(self.lines):
                text = painted[number] if number < needed else ""
                out.append(f"\x1b[{first + number};1H\x1b[2K{text}{_PLAIN}")
            out.append(_RESTORE)
        return "".join(out)

    def end(self) -> str:
        """Take the view off.

        Returns:
            what to write, in one piece; nothing if there is no view.
        """
        if not self.lines:
            return ""
        self._size = None
        return self._give_back()

    def _give_back(self) -> str:
        if not self.lines:
            return ""
        self.lines = 0
        # Below the cursor there is nothing but the view, wherever a new size has put it.
        return _SAVE + _WHOLE + _RESTORE + _CLEAR_BELOW
