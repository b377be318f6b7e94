"""How many calls a worker has at hand, by how long calls take.

What it is for: a worker that has its next call at hand does not wait for one. Many short calls travel
together, which costs a tenth of one by one. Long ones are not sent ahead: whoever waits for one in a
worker has a time limit that runs already.

What it does not know: workers, clocks. It is told.

Invariant: one call that is long brings it down at once; it grows step by step, while work waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

LONG = 0.05
"""Seconds from which a call is sent to an idle worker only. What a process needs for handing over is a
hundredth of it."""
SHORT = 0.001
"""Seconds below which handing over is what costs."""
DEEPEST = 64
_WEIGHT = 1 / 8  # of the latest call; pulled out of the air
_WEIGHT_DOWN = 1 / 4  # the same of one that was shorter: the first has found nothing loaded over there


@final
class Depth:
    """How many calls a worker has at hand, the one that it carries out among them.

    Attributes:
        current: so many now.
    """

    __slots__ = ("_calm", "_is_fixed", "_typical", "current")

    def __init__(self, batch: int | str) -> None:
        self._is_fixed = isinstance(batch, int)
        self.current = batch if isinstance(batch, int) else 1
        self._typical: float | None = None
        self._calm = 0

    def learn(self, seconds: Sequence[float], *, waits: bool) -> bool:
        """Calls have ended.

        Args:
            seconds: how long each has run; not empty.
            waits: whether work waits to be sent.

        Returns:
            whether `current` is another one now.
        """
        if self._is_fixed:
            return False
        typical, longest, count = self._typical, max(seconds), len(seconds)
        if longest >= LONG or typical is None:
            self._typical = typical = longest
        else:
            mean = sum(seconds) / count
            weight = _WEIGHT if mean > typical else _WEIGHT_DOWN
            self._typical = typical = typical + (mean - typical) * min(1.0, count * weight)
        deepest = DEEPEST if typical < SHORT else 2 if typical < LONG else 1
        before = self.current
        if deepest <= before:
            self.current = deepest
            self._calm = 0
        elif waits:
            self._calm += count
            if self._calm >= before:
                self.current = min(deepest, 2 * before)
                self._calm = 0
        return self.current != before
