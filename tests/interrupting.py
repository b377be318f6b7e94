"""Ctrl-C at any line of creche's own, and a book that is kept of what the calls of a program do.

What it does not know: the programs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import anyio

import creche
from loops import ctrl_c

SOURCE = str(Path(creche.__file__).parent)

Line = tuple[str, int]


class Presser:
    """Presses Ctrl-C when this thread has come to a line of creche's own so many times; or only looks.

    The keys are pressed before the line is carried out. In a sweep over all the lines, that is between
    any two of them.
    """

    def __init__(self, at: tuple[Line, int] | None = None) -> None:
        self.seen: Counter[Line] = Counter()
        self.has_pressed = False
        self._at = at
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()  # of a debugger, or of whoever measures coverage
        sys.settrace(self._enter_frame)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def _enter_frame(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._come_to if frame.f_code.co_filename.startswith(SOURCE) else None

    def _come_to(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            self.seen[line] += 1
            if (line, self.seen[line]) == self._at:
                self.has_pressed = True
                ctrl_c()  # what it raises, trio's handler or Python's own, is raised in that frame
        return self._come_to


class Book:
    """What the calls of a program do, and its runners."""

    def __init__(self) -> None:
        self.begun: Counter[Hashable] = Counter()
        self.ended: Counter[Hashable] = Counter()
        self.runners: list[Any] = []

    def open(self, runner: Any) -> Any:
        """Note a runner."""
        self.runners.append(runner)
        return runner

    async def work(self, key: Hashable, seconds: float = 1) -> Hashable:
        """A call that takes some time."""
        self.begun[key] += 1
        await anyio.sleep(seconds)
        self.ended[key] += 1
        return key
