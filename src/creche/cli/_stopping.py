"""What a signal to the command means, as a state table: signals and moments in, steps out.

What it is for: the first signal lets what runs end within the grace; the second one, or the end of
the grace, or that nothing runs any more, cancels the rest; after that who still does not end is left.

What it does not know: signals, threads, runs, clocks.

Invariant: the steps come in the order of `Step`, and only the last one comes more than once.
"""

from __future__ import annotations

from enum import Enum
from typing import final

PATIENCE = 5.0
"""How many seconds what was cancelled has to end, before it is left."""


MOMENT = 0.3
"""How many seconds the body of the flow has to read what has ended last, before it is interrupted."""


class Step(Enum):
    """What is to be done."""

    DRAIN = "drain"
    CUT = "cut"
    LEAVE = "leave"


@final
class Stopping:
    """How far the stopping of a run has come.

    Attributes:
        step: the last one taken; `None` while the run goes on.
        deadline: when the next one is due.
    """

    def __init__(self, grace: float) -> None:
        """Make it.

        Args:
            grace: seconds that running calls get.
        """
        self.step: Step | None = None
        self.deadline = 0.0
        self._grace = grace
        # Since when nothing runs that had run when the first signal came.
        self._idle_since: float | None = None

    def press(self, now: float, running: int) -> Step:
        """A signal has come.

        Args:
            now: in seconds.
            running: how many calls run.

        Returns:
            what is to be done.
        """
        if self.step is None:
            self.step, self.deadline = Step.DRAIN, now + self._grace
            if running == 0:
                self.deadline = now
        else:
            self._go_on(now)
        return self.step

    def look(self, now: float, running: int) -> Step | None:
        """Time has passed.

        Args:
            now: in seconds.
            running: how many calls run.

        Returns:
            what is to be done; `None` for nothing.
        """
        if self.step is Step.DRAIN and running == 0 and self._idle_since is None:
            self._idle_since = now
            self.deadline = min(self.deadline, now + MOMENT)
        if self.step is None or now < self.deadline:
            return None
        self._go_on(now)
        return self.step

    def _go_on(self, now: float) -> None:
        self.step = Step.CUT if self.step is Step.DRAIN else Step.LEAVE
        self.deadline = now + PATIENCE
