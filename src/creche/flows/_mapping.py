"""The arguments of many calls of a task, from iterables side by side.

What it is for: `map` of a task takes an iterable for each argument, and `unmapped` for what is the same
in each call.

What it does not know: tasks, flows.

Invariant: every iterable is walked through before the first call is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, final

from creche._slot import Slot

from ._bodies import Arguments

T = TypeVar("T")


@final
class Unmapped(Generic[T]):
    """What `unmapped` gives.

    Attributes:
        value: the same for each call.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: T = value

    def __repr__(self) -> str:
        return f"<creche.unmapped {self.value!r}>"


def unmapped(value: T) -> Unmapped[T]:
    """Say what is the same in each call of a `Task.map`.

    ``load.map(paths, unmapped(depth))`` loads each path with the same depth.

    Args:
        value: anything; a slot is a dependency of each call then.

    Returns:
        an argument for `Task.map`.
    """
    return Unmapped(value)


def rows_of(who: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Arguments]:
    """The arguments of each call.

    Args:
        who: is mapped, as words for the beginning of a sentence.
        args: iterables, slots of them, or `unmapped`.
        kwargs: likewise.

    Returns:
        them, in the order of the items.

    Raises:
        NotSettled: on an event loop, one of the slots has not ended.
        TypeError: nothing to map over, or one is no iterable.
        ValueError: the iterables are of different lengths.
    """
    given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    columns = {name: _column(who, one) for name, one in given.items() if not isinstance(one, Unmapped)}
    if not columns:
        found = "got none" if not given else "all that it got is unmapped"
        msg = f"{who}: map needs an iterable for each argument; {found}"
        raise TypeError(msg)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        found = ", ".join(str(len(column)) for column in columns.values())
        msg = (
            f"{who}: map needs iterables of equal length, not of {found} items; unmapped(value) passes "
            f"the same to each call"
        )
        raise ValueError(msg)
    rows: list[Arguments] = []
    for i in range(*lengths):
        row = {name: columns[name][i] if name in columns else one.value for name, one in given.items()}
        positional = tuple(row.pop(number) for number in range(len(args)))
        rows.append((positional, row))
    return rows


def _column(who: str, given: Any) -> list[Any]:  # noqa: ANN401 - whatever it is
    value = given.result() if isinstance(given, Slot) else given
    if not isinstance(value, Iterable):
        msg = (
            f"{who}: map needs iterables, not {value!r}; use unmapped(value) for what is the same in "
            f"each call, or submit for one call"
        )
        raise TypeError(msg)
    return list(value)
