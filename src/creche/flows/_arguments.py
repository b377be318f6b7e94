"""Slots among the arguments of a task: finding them, and putting their values in their place.

What it is for: a slot that is passed to a task is a dependency, and arrives as its value; also inside
lists, tuples and dicts, however deep.

What it does not know: runners, loops. It waits for nothing; reading an open slot is the caller's affair.

Invariant: a container without a slot in it is handed on as the object that it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from creche._slot import Slot


def slots_in(value: object) -> Iterator[Slot[Any]]:
    """Every slot in a value, in order, as often as it occurs.

    Args:
        value: anything; a container that is its own part, or a part twice, is looked into once.

    Yields:
        the value itself if it is a slot, or the slots inside its lists, tuples and dicts.
    """
    stack, seen = [value], set[int]()
    while stack:
        one = stack.pop()
        if isinstance(one, Slot):
            yield one
        elif isinstance(one, (list, tuple, dict)) and id(one) not in seen:
            seen.add(id(one))
            parts = one.values() if isinstance(one, dict) else one
            stack += reversed(cast("list[object]", list(parts)))


def with_values(value: Any) -> Any:  # noqa: ANN401 - whatever it is
    """The same value, with the result of each slot in the slot's place.

    Args:
        value: anything.

    Returns:
        the value, or a copy of its containers with the slots replaced.

    Raises:
        BaseException: what the call of a slot raised; see `Slot.result`.
        ValueError: a container with slots in it is a part of itself.
    """
    return value if next(slots_in(value), None) is None else _replaced(value, ())


def _replaced(value: Any, inside: tuple[int, ...]) -> Any:  # noqa: ANN401
    if isinstance(value, Slot):
        return value.result()
    if not isinstance(value, (list, tuple, dict)):
        return value
    if id(value) in inside:
        msg = "a list with slots in it is a part of itself; pass a task the slots without the circle"
        raise ValueError(msg)
    if next(slots_in(value), None) is None:
        return value
    inside = (*inside, id(value))
    if isinstance(value, dict):
        return {key: _replaced(item, inside) for key, item in value.items()}
    replaced = [_replaced(item, inside) for item in value]
    if isinstance(value, list):
        return replaced
    # A named tuple keeps its class; its own constructor may want anything.
    make = getattr(type(value), "_make", tuple)
    return make(replaced)
