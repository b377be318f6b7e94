"""Times in few numbers: how many fell into each interval of two per cent.

What it is for: percentiles of any number of times, of one sample or of many together, without keeping
them.

Invariant: a percentile is right to two per cent; adding two together loses nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

STEP = math.log(1.02)
LEAST = 1e-6


def interval(seconds: float) -> int:
    """Which one a time falls into."""
    return round(math.log(max(seconds, LEAST)) / STEP)


def middle(number: int) -> float:
    """The time that an interval stands for."""
    return math.exp(number * STEP)


class Histogram:
    """Times, counted."""

    def __init__(self, counts: dict[str, int] | None = None) -> None:
        self.counts = Counter({int(number): count for number, count in (counts or {}).items()})

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[interval(seconds)] += 1

    def __len__(self) -> int:
        """How many there are."""
        return self.counts.total()

    def percentile(self, part: float) -> float:
        """The time that this part of them does not exceed; 0 if there are none."""
        left = part * len(self)
        for number in sorted(self.counts):
            left -= self.counts[number]
            if left <= 0:
                return middle(number)
        return 0.0

    def between(self, part: float) -> tuple[float, float]:
        """Between which times that percentile lies, for all that so few can say.

        How many of them do not exceed it is binomial; these are two standard errors to either side.
        """
        error = 2 * math.sqrt(part * (1 - part) / (len(self) or 1))
        return self.percentile(part - error), self.percentile(min(1.0, part + error))

    def as_json(self) -> dict[str, int]:
        """For a file."""
        return {str(number): count for number, count in sorted(self.counts.items())}


def together(many: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    found = Histogram()
    for one in many:
        found.counts.update(one.counts)
    return found
