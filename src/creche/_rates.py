"""Rates: how many calls may start in a time, as a token bucket.

What it is for: `Rate` is what a user writes; a `Bucket` is one in use, and says when the next start is
due.

What it does not know: clocks; `now` is an argument. What is started.

Invariant: between any two moments at most ``burst + seconds * starts / per`` starts are allowed. The
time of each is computed from the last moment at which the bucket was full, in one division: errors of
rounding do not add up.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final


@final
class Rate(NamedTuple):
    """So many starts in so many seconds: a token bucket.

    The bucket holds `burst` tokens, a start takes one, and every ``per / starts`` seconds one comes
    back. With a burst of 1, the default, the starts are evenly spaced, and no stretch of `per` seconds
    sees more than `starts` of them.

    Attributes:
        starts: how many.
        per: in how many seconds.
        burst: how many may start at once, after a quiet time.
    """

    starts: float
    per: float = 1.0
    burst: int = 1


def read_rate(given: object, option: str = "rate") -> Rate | None:
    """Check a rate.

    Args:
        given: a `Rate`; a number stands for so many starts in a second.
        option: its name.

    Returns:
        the rate; `None` for no limit.

    Raises:
        TypeError: it is neither, or a part of it is of the wrong type.
        ValueError: a part of it is not more than 0, or infinite.
    """
    if given is None:
        return None
    rate = given if isinstance(given, Rate) else Rate(given)  # type: ignore[arg-type] # checked next
    for what, number in (("starts", rate.starts), ("per", rate.per)):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            msg = (
                f"{option} must be a number of starts in a second, or a Rate(starts, per, burst) of "
                f"numbers, not {given!r}; None means no limit"
            )
            raise TypeError(msg)
        if not 0 < number < math.inf:
            cure = "None means no limit"
            msg = f"{what} of {option} must be more than 0, and finite, not {number!r}; {cure}"
            raise ValueError(msg)
    if not isinstance(rate.burst, int) or isinstance(rate.burst, bool):
        msg = f"burst of {option} must be a whole number of at least 1, not {rate.burst!r}"
        raise TypeError(msg)
    if rate.burst < 1:
        msg = f"burst of {option} must be at least 1, not {rate.burst!r}; 1 spaces the starts evenly"
        raise ValueError(msg)
    return rate


@final
class Bucket:
    """A rate in use. Full to begin with."""

    __slots__ = ("_rate", "_since", "_taken")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        # The last time at which it was known to be full, and how many were taken since.
        self._since = -math.inf
        self._taken = 0

    def due(self) -> float:
        """When the next start is allowed."""
        return self._time_of(self._taken + 1 - self._rate.burst)

    def take(self, now: float) -> None:
        """Something starts now, which is due."""
        if now > self._time_of(self._taken):  # it is full again, and does not get fuller
            self._since, self._taken = now, 0
        self._taken += 1

    def _time_of(self, tokens: int) -> float:
        """When so many tokens will have come in since it was full."""
        return self._since + tokens * self._rate.per / self._rate.starts
