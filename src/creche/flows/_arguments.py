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
        value: anything.

    Yields:
        the value itself if it is a slot, or the slots inside its lists, tuples and dicts.
    """
    if isinstance(value, Slot):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in cast("tuple[object, ...]", value):
            yield from slots_in(item)
    elif isinstance(value, dict):
        for item in cast("dict[object, object]", value).values():
            yield from slots_in(item)


def with_values(value: Any) -> Any:  # noqa: ANN401 - whatever it is
    """The same value, with the result of each slot in the slot's place.

    Args:
        value: anything.

    Returns:
        the value, or a copy of its containers with the slots replaced.

    Raises:
        BaseException: what the call of a slot raised; see `Slot.result`.
    """
    if isinstance(value, Slot):
        return value.result()
    if next(slots_in(value), None) is None:
        return value
    if isinstance(value, dict):
        return {key: with_values(item) for key, item in value.items()}
    replaced = [with_values(item) for item in value]
    if isinstance(value, list):
        return replaced
    if hasattr(value, "_fields"):  # a named tuple takes its fields one by one
        return type(value)(*replaced)
    return tuple(replaced)
