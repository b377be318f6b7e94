"""Named limits: what else a call may need before it starts, beside a place.

What it is for: `Limit` is what a user writes, under a name; a `Gate` is one in use. A call takes all its
limits at once, or waits without any.

What it does not know: who waits, in which order. Loops: of a limiter object it knows what the loop's
half has told it.

Invariant: `holders` never outnumber the size, except after that was made smaller; each holder holds
one token of a limiter object, if there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

from ._checks import check_count
from ._rates import Bucket, Rate, read_rate


@runtime_checkable
class Limiter(Protocol):
    """A limiter object, `trio.CapacityLimiter` or anyio's, which is shared with other code."""

    @property
    def total_tokens(self) -> float:
        """How many tokens there are."""
        ...

    @property
    def borrowed_tokens(self) -> int:
        """How many of them somebody has."""
        ...

    def acquire_on_behalf_of_nowait(self, borrower: object, /) -> object:
        """Take a token, or raise."""
        ...

    async def acquire_on_behalf_of(self, borrower: object, /) -> object:
        """Take a token, in turn."""
        ...

    def release_on_behalf_of(self, borrower: object, /) -> object:
        """Give a token back."""
        ...


@final
class Limit(NamedTuple):
    """One named limit of a runner: how many calls that need it run at once, how often one starts.

    Attributes:
        size: how many at once; or a `trio.CapacityLimiter` or `anyio.CapacityLimiter`, of which each
            call borrows a token; `None` for no limit.
        rate: how many start in a time; a `Rate`, or a number of starts in a second; `None`: no limit.
    """

    size: int | Limiter | None = None
    rate: Rate | float | None = None


def read_limits(given: object) -> Mapping[str, Limit]:
    """Check the named limits of a runner.

    Args:
        given: what was passed: each name with a number, a limiter object, a `Rate` or a `Limit`.

    Returns:
        the limits by their names; none of them without a size and a rate.

    Raises:
        TypeError: it is no mapping of strings to these.
        ValueError: a number is less than 1, or a limit limits nothing.
    """
    if not isinstance(given, Mapping):
        msg = f"limits must be a mapping of names to limits, {{'db': 2}}, not {given!r}"
        raise TypeError(msg)
    found: dict[str, Limit] = {}
    for name, value in given.items():
        if not isinstance(name, str):
            msg = f"the name of a limit must be a string, not {name!r}"
            raise TypeError(msg)
        what = f"limit {name!r}"
        if isinstance(value, Limit):
            limit = value
        else:
            limit = Limit(rate=value) if isinstance(value, Rate) else Limit(value)
        if not (limit.size is None or isinstance(limit.size, Limiter)):
            cure = "or a limiter object, a Rate, or a Limit of both; leave it out for no limit"
            check_count(what, limit.size, cure=cure)
        rate = read_rate(limit.rate, f"the rate of {what}")
        if limit.size is None and rate is None:
            msg = f"{what} must have a size or a rate, not {value!r}; leave it out for no limit"
            raise ValueError(msg)
        found[name] = Limit(limit.size, rate)
    return found


def check_names(given: object) -> tuple[str, ...]:
    """Check the names of the limits that a call needs.

    Args:
        given: what was passed.

    Returns:
        the names, each once.

    Raises:
        TypeError: it is no collection of strings.
    """
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        msg = f"limits must be a list of names, ['db'], not {given!r}"
        raise TypeError(msg)
    names = tuple(dict.fromkeys(given))
    for name in names:
        if not isinstance(name, str):
            msg = f"limits must be a list of names of the runner's limits, not {given!r}"
            raise TypeError(msg)
    return names


@final
class Gate:
    """One named limit in use.

    Attributes:
        name: its name.
        limiter: the limiter object, if it is one.
        holders: the calls that have it, by their slots; each with what it has borrowed as.
        spare: what a token of the limiter object was borrowed as, that nobody has yet.
        lanes: where calls wait that need it; the queue's affair.
        closers: those of them whose first call was passed over because of it; the queue's affair.
    """

    __slots__ = (
        "_bucket",
        "_size",
        "_would_block",
        "closers",
        "holders",
        "lanes",
        "limiter",
        "name",
        "spare",
    )

    def __init__(
        self,
        name: str,
        limit: Limit,
        would_block: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.name = name
        self.limiter = limit.size if isinstance(limit.size, Limiter) else None
        self.holders: dict[object, object] = {}
        self.spare: object = None
        self.lanes: dict[Any, None] = {}
        self.closers: dict[Any, None] = {}
        self._size: float = math.inf
        if isinstance(limit.size, int):
            self._size = limit.size
        self._bucket = Bucket(limit.rate) if isinstance(limit.rate, Rate) else None
        self._would_block = would_block

    @property
    def size(self) -> float:
        """How many calls may have it at once."""
        return self._size if self.limiter is None else self.limiter.total_tokens

    def resize(self, size: int) -> None:
        """Let so many calls have it at once; those that have it keep it."""
        self._size = size

    @property
    def is_held_by_calls(self) -> bool:
        """Whether it is short because of calls of the run, and nothing else."""
        taken = len(self.holders)
        return taken >= self.size and (self.limiter is None or self.limiter.borrowed_tokens <= taken)

    def due(self) -> float:
        """When there is one, as far as that is known: infinity until something is given back."""
        if len(self.holders) >= self._size:
            return math.inf
        return -math.inf if self._bucket is None else self._bucket.due()

    def borrow(self, holder: object) -> bool:
        """Have the limiter object give a token, if there is such an object; False when it has none."""
        if self.limiter is None:
            return True
        borrower, self.spare = self.spare, None
        if borrower is None:
            borrower = holder
            try:
                self.limiter.acquire_on_behalf_of_nowait(borrower)
            except self._would_block:
                return False
        self.holders[holder] = borrower
        return True

    def hold(self, holder: object, now: float) -> None:
        """A call starts that needs it, and for which it has been borrowed."""
        if self.limiter is None:
            self.holders[holder] = None
        if self._bucket is not None:
            self._bucket.take(now)

    def pass_on(self, holder: object, other: object) -> None:
        """What has been borrowed for one is for another; nothing happens if nothing has been."""
        if holder in self.holders:
            self.holders[other] = self.holders.pop(holder)

    def give_back(self, holder: object) -> None:
        """A call has ended, or does not start after all; nothing happens if it holds nothing."""
        borrower = self.holders.pop(holder, None)
        if borrower is not None and self.limiter is not None:
            self.limiter.release_on_behalf_of(borrower)


def open_gates(
    limits: Iterable[tuple[str, Limit]],
    adopt: Callable[[str, Any], tuple[type[BaseException], ...]],
) -> dict[str, Gate]:
    """Put named limits into use.

    Args:
        limits: each with its name.
        adopt: the loop's half: given a limiter object, and the name, what that raises if it is short.

    Returns:
        the gates by their names.

    Raises:
        TypeError: one is a limiter object of another loop's.
    """
    return {
        name: Gate(name, limit, adopt(name, limit.size) if isinstance(limit.size, Limiter) else ())
        for name, limit in limits
    }
