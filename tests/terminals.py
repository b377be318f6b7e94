"""What a terminal shows: a program on a pseudo-terminal, and a screen that does what it says.

What it does not know: what the program is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pyte


class Watched:
    """A program on a terminal.

    Attributes:
        screen: what is seen.
        said: everything that came.
    """

    def __init__(
        self,
        *args: str,
        size: tuple[int, int] = (80, 24),
        cwd: Path | None = None,
        env: Any = None,
    ) -> None:
        columns, lines = size
        self.screen: Any = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream: Any = pyte.ByteStream(self.screen)
        self.said = b""
        self.child: Any = pexpect.spawn(
            sys.executable, list(args), dimensions=(lines, columns), timeout=30, cwd=cwd, env=env
        )

    def lines(self) -> list[str]:
        """What is seen, without what is blank at the end of a line."""
        return [line.rstrip() for line in self.screen.display]

    def all_lines(self) -> list[str]:
        """The same, after what has scrolled away."""
        gone = [
            "".join(line[x].data for x in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        ]
        return gone + self.lines()

    def see(self, until: Callable[[list[str]], object]) -> list[str]:
        """Look until something is seen; fails if the program ends, or is silent, before."""
        deadline = time.monotonic() + 30
        while not until(self.all_lines()):
            assert time.monotonic() < deadline, "\n".join(self.all_lines())
            try:
                data = self.child.read_nonblocking(65536, timeout=20)
            except (pexpect.EOF, pexpect.TIMEOUT) as exc:
                raise AssertionError("\n".join(self.all_lines())) from exc
            self.said += data
            self._stream.feed(data)
        return self.lines()

    def end(self, seconds: float = 30) -> int:
        """See it to its end, which must come; gives its exit status."""
        deadline = time.monotonic() + seconds
        while True:
            assert time.monotonic() < deadline, "\n".join(self.all_lines())
            try:
                data = self.child.read_nonblocking(65536, timeout=30)
            except pexpect.EOF:
                break
            self.said += data
            self._stream.feed(data)
        self.child.close()
        return int(self.child.exitstatus)

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal another size, as its user would."""
        self.child.setwinsize(lines, columns)
        self.screen.resize(lines, columns)


def has(text: str) -> Callable[[list[str]], bool]:
    """Whether a text is seen."""
    return lambda lines: any(text in line for line in lines)
