"""Files by which the calls of the contract and its clauses tell each other where they are.

What it is for: a slot says what a runner believes. Whether code runs, and has stopped, only the code
itself can say, and it may be in another process, or on another machine with the same folder.

What it does not know: runners.

Invariant: when a clause has ended, each of its calls is told to end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, final

import anyio

_LOOK = 0.002


@final
class Signs:
    """The files of one clause, each with the name of a call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def path(self, name: str) -> str:
        """The file of a call."""
        self._names.add(name)
        return str(self._folder / name)

    def call(self, fn: Callable[[str], Any], name: str) -> Callable[[], Any]:
        """A call of a function that is given the file."""
        return partial(fn, self.path(name))

    def count(self, name: str) -> int:
        """How many ticks the call has given, in any of its attempts."""
        return len(self.lines(name))

    def lines(self, name: str) -> list[str]:
        """What it has written."""
        file = Path(self.path(name))
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    async def ticks(self, *names: str, more: int = 1) -> None:
        """Wait until each of them has ticked so many times from now on."""
        wanted = {name: self.count(name) + more for name in names}
        while any(self.count(name) < number for name, number in wanted.items()):  # noqa: ASYNC110 - another process does it, and nothing can tell us
            await anyio.sleep(_LOOK)

    def end(self, *names: str) -> None:
        """Have those calls return."""
        for name in names:
            Path(f"{self.path(name)}.end").touch()

    def end_all(self) -> None:
        """Have all of them return, wherever they are."""
        self.end(*self._names)
