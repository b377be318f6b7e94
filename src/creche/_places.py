"""Places: how many calls may be carried out at once, and who gets one that comes free.

What it is for: a call takes a place when it begins and frees it when it ends. One that waits for another
call lends its place meanwhile, and takes it back before any new call begins.

What it does not know: calls, loops. Whoever asks is granted a place by a method of its own.

Invariant: `taken` counts the places that somebody has; it exceeds the limit only after that was
lowered, until as many have come free. Whoever has asked is granted a place once, or has withdrawn.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol, final


class Asking(Protocol):
    """Somebody who waits for a place."""

    def grant(self) -> None:
        """There is one: it is yours."""
        ...


@final
class Places:
    """A number of places.

    Attributes:
        taken: how many of them somebody has.
        is_calm: whether one that comes free is nobody's yet, and not one too many.
        lent: how many were given back by somebody who will want one again.
        when_lent: called before one is.
    """

    __slots__ = ("_asking", "_limit", "_returning", "is_calm", "lent", "taken", "when_lent")

    def __init__(self, limit: int | None) -> None:
        self.taken = 0
        self.is_calm = True
        self.lent = 0
        self.when_lent: Callable[[], object] = lambda: None
        self._limit = math.inf if limit is None else limit
        # The first one leaves a plain dict in a time that grows with how many have left before.
        self._asking: OrderedDict[Asking, None] = OrderedDict()
        self._returning: OrderedDict[Asking, None] = OrderedDict()

    def resize(self, limit: int | None) -> None:
        """Have so many places from now on; whoever has one keeps it.

        Args:
            limit: how many; `None` for no limit.
        """
        self._limit = math.inf if limit is None else limit
        while self.taken < self._limit and (self._returning or self._asking):
            self.taken += 1
            self._pass_on()
        self._look()

    @property
    def is_bounded(self) -> bool:
        """Whether there is a limit."""
        return self._limit < math.inf

    @property
    def has_free(self) -> bool:
        """Whether there is one that nobody has."""
        return self.taken < self._limit

    def join(self) -> None:
        """Somebody has a place of these, whether there was one or not: it had begun without."""
        self.taken += 1
        self._look()

    def take(self) -> bool:
        """Take a place; False when there is none."""
        if self.taken >= self._limit:
            return False
        self.taken += 1
        return True

    def free(self) -> None:
        """Give a place back: to who has lent one and wants it back, else to who has asked first."""
        if self.taken <= self._limit and (self._returning or self._asking):
            self._pass_on()
        else:
            self.taken -= 1
        if not self.is_calm:
            self._look()

    def lend(self) -> None:
        """Give a place back for a while; `lent` is less by one when that is over, one way or another."""
        self.lent += 1
        self.when_lent()
        self.free()

    def _look(self) -> None:
        self.is_calm = self.taken <= self._limit and not self._returning and not self._asking

    def _pass_on(self) -> None:
        asking, _ = (self._returning or self._asking).popitem(last=False)
        asking.grant()

    def ask(self, asking: Asking, *, returning: bool = False) -> bool:
        """Take a place, or be granted one later, in the order of asking.

        Args:
            asking: who.
            returning: whether it has lent its place, and comes before those who never had one.

        Returns:
            False when there is none yet.
        """
        if self.take():
            return True
        (self._returning if returning else self._asking)[asking] = None
        self.is_calm = False
        return False

    @property
    def is_for_asking(self) -> bool:
        """Whether one that comes free is for who has asked first, and not for a return, or too many."""
        return self.taken <= self._limit and not (self._returning or self.lent)

    @property
    def asking(self) -> int:
        """How many wait for a place that never had one."""
        return len(self._asking)

    def first_asking(self, number: int) -> Iterable[Asking]:
        """Those of them whose turn comes first, in order; nobody may ask or withdraw meanwhile.

        Args:
            number: how many at most.
        """
        return islice(self._asking, number)

    def list_asking(self) -> list[Asking]:
        """Who waits for a place that never had one, in the order of asking."""
        return list(self._asking)

    def withdraw(self, asking: Asking) -> None:
        """Ask no longer."""
        self._asking.pop(asking, None)
        self._returning.pop(asking, None)
        self._look()
