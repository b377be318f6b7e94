"""Virtual time: a clock that jumps to the next timer when nothing else can happen.

What it is for: both loops ask it how long to wait for the world, and tell it what came of it.

What it does not know: the loops. `HungError` is raised through them, since that is the one thing that
ends a loop whose tasks do not want to end.

Invariant: time goes on only while nothing can run. While a thread or a child process is busy that was
not there when the clock was made, it first gets `patience` seconds of the real clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ._present import Thing, processes, threads

# Real seconds. A look at the world; how long the kernel may take to tell what it has; how long a thread
# may be at work before a timer is believed to be meant for it.
_LOOK = 0.005
_CALM = 0.1
_AT_WORK = 0.1
_PATIENCE = 5.0
# Where the machine is too busy to let anybody run, the loop does not look, either: only looks count.
_LOOKS = round(_AT_WORK / _LOOK)

PASSES = 200_000
"""Of the loop, that a run may take of which nothing else is known: some seconds' worth of nothing but
passes; a day of a timer each second is half of it."""

TELLINGS = 5
"""So many tasks are told, one after the other, in a run that hangs again each time. More are not needed
where one shield is inside of another; what catches the error and waits again is told no end of times."""


class HungError(AssertionError):
    """Nothing can run any more, or what runs does not end; the text says who waits for what."""


class VirtualTime:
    """The time of one loop."""

    def __init__(self, tree: Callable[[], str], patience: float = _PATIENCE) -> None:
        self.now: float = 0.0
        self.verdict: HungError | None = None
        self.hung: bool = False
        self.held: bool = False  # the loop stands still, and nobody is to wait for anything
        self._tree = tree
        self._patience = patience
        self._idle_since: float | None = None
        self._looks = 0
        self._busy = False
        self.passes: int = 0
        self.most: float = math.inf
        self._others: set[Thing] = threads() | processes()

    def allow(self, most: float) -> None:
        """Let the loop take so many passes from now on."""
        self.most = self.passes + most

    def give_up(self, why: str) -> None:
        """Have the loop ended with a `HungError` before it does anything else."""
        self.hung = True
        self.verdict = HungError(f"{why}\n{self._tree()}")

    def go_on(self) -> None:
        """Forget that it was given up: somebody has been told, and does something about it."""
        self.hung = False
        self.verdict = self._idle_since = None

    def how_long(self, wait: float) -> float:
        """How many real seconds to wait for the world, when the next timer is `wait` seconds away.

        Raises:
            HungError: it was given up.
        """
        self.passes += 1
        if self.passes > self.most and self.verdict is None:
            self.give_up(
                f"it goes on and on, {self.passes:,} passes of the loop and {self.now:g} seconds so far:"
            )
        if self.verdict is not None:
            raise self.verdict
        if wait <= 0:
            return 0
        if self._idle_since is None:
            self._idle_since = time.monotonic()
            self._looks = 0
        # Before the look at the world: what a thread that is idle by now has told the loop is there to
        # be seen.
        self._busy = bool((threads() | processes()) - self._others)
        return 0 if math.isfinite(wait) and not self._busy else _LOOK

    def came(self) -> None:
        """Something happened meanwhile."""
        self._idle_since = None

    def nothing_came(self, wait: float) -> None:
        """Jump to the timer, if it is time.

        Raises:
            HungError: there is no timer, and nothing that could still happen.
        """
        idle = 0.0 if self._idle_since is None else time.monotonic() - self._idle_since
        if math.isfinite(wait):
            self._looks += 1
            if not self._busy or (idle >= _AT_WORK and self._looks >= _LOOKS):
                self.now += wait
                self._idle_since = None
        elif idle >= (self._patience if self._busy else _CALM):
            self.give_up("nothing can run any more, and no timer is set:")
            raise self.verdict or AssertionError
