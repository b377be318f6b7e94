"""What has no order of its own on asyncio has one here: that in which it came about.

What it is for: asyncio and anyio cancel the tasks of a group in the order of a set, which is that of
their addresses, and wake those with equal timers in that of a heap. Both would be others in the next
run, or surprising.

What it does not know: the loop, and who comes next of those that can run.

Invariant: two runs that do the same things in the same order see the same order of tasks in sets, of
scopes in scopes, and of equal timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, final

from anyio._backends import _asyncio as anyios

# What anyio keeps in sets, and goes through to cancel it.
_SETS = tuple({"_tasks", "_child_scopes"} & vars(anyios.CancelScope).keys())
_INIT: Callable[..., None] = anyios.CancelScope.__init__


@final
class Moment(float):
    """When a timer is due; of two that are equal the one that was set first comes first."""

    number: int

    def __new__(cls, when: float, number: int) -> Moment:
        """As a `float`."""
        self = super().__new__(cls, when)
        self.number = number
        return self

    def __lt__(self, other: float) -> bool:
        """Whether it comes first."""
        if isinstance(other, Moment) and self == other:
            return self.number < other.number
        return super().__lt__(other)


@final
class _Task(asyncio.Task[Any]):
    """One whose place in a set does not depend on its address."""

    def __init__(self, number: int, coro: Any, **options: Any) -> None:  # noqa: ANN401 - as asyncio has it
        self._creche_number = number  # first: asyncio puts it in a set
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._creche_number

    def set_name(self, value: object) -> None:
        """As asyncio's; whose loop, in Python 3.13.0, hands on the `None` of whoever gives no name."""
        if value is not None:
            super().set_name(value)


_Task.__name__ = _Task.__qualname__ = "Task"  # as asyncio shows it


def task_factory() -> Callable[..., asyncio.Task[Any]]:
    """What makes the tasks of one loop."""
    numbers = count(1)

    def make(
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401 - more in each version
    ) -> asyncio.Task[Any]:
        return _Task(next(numbers), coro, loop=loop, **options)

    return make


@final
class _InOrder(set[Any]):
    """A set that gives what is in it in the order in which it was put there.

    And a real one: whoever looks whether anyio is as it is known has to find it so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[Any, None] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(self._order)

    def add(self, one: object, /) -> None:
        super().add(one)
        self._order[one] = None

    def discard(self, one: object, /) -> None:
        super().discard(one)
        self._order.pop(one, None)

    def remove(self, one: object, /) -> None:
        super().remove(one)
        del self._order[one]

    def clear(self) -> None:
        super().clear()
        self._order.clear()


def _init_in_order(self: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as it comes
    _INIT(self, *args, **options)
    for name in _SETS:
        setattr(self, name, _InOrder())


@contextmanager
def scopes_in_order() -> Iterator[None]:
    """Have the scopes of anyio's that are made inside cancel what is in them in order."""
    kind: Any = anyios.CancelScope
    kind.__init__ = _init_in_order
    try:
        yield
    finally:
        kind.__init__ = _INIT
