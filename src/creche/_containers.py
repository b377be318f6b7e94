"""What a container holds, and the same container with other things in it.

What it is for: whoever looks for something among the arguments of a call has one idea of what is looked
into: lists, tuples, dicts (their values), sets, deques and dataclasses.

What it does not know: what is looked for.

Invariant: nothing here calls the ``__init__`` of a class that is not Python's own, and a copy is of the
class of the original as far as that can be made without it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

# Not the classes of attrs: those of event loops are among them, of which nobody wants a copy.
_LOOKED_INTO = (list, tuple, dict, set, frozenset, deque)


def is_container(kind: type) -> bool:
    """Whether things of a class are looked into.

    Args:
        kind: the class.
    """
    return issubclass(kind, _LOOKED_INTO) or hasattr(kind, "__dataclass_fields__")


def parts_of(container: Any) -> list[Any]:  # noqa: ANN401 - of any class that is looked into
    """What is in it.

    Args:
        container: of a class that is looked into.

    Returns:
        the items; of a dict the values, of a dataclass those of the fields that are set.
    """
    if isinstance(container, dict):
        return list(cast("Iterable[object]", container.values()))
    if isinstance(container, _LOOKED_INTO):
        return list(cast("Iterable[object]", container))
    return [getattr(container, name) for name in _fields_of(container)]


def with_parts(container: Any, parts: Sequence[Any]) -> Any:  # noqa: ANN401, PLR0911 - one for each kind
    """A copy with other things in it.

    Args:
        container: of a class that is looked into.
        parts: what takes the place of what `parts_of` gave, in the same order.

    Returns:
        of a dict, list or dataclass one of the same class, with all else that it had; a named tuple; or
        a plain tuple, set, frozenset or deque. A dataclass is copied without its ``__init__`` and
        ``__post_init__``, and a frozen one, too.

    Raises:
        TypeError: one of the parts of a set cannot be hashed.
    """
    if isinstance(container, dict):
        return _dict_with(container, parts)
    if isinstance(container, list):
        # Its own methods may want anything: a copy is made, and filled as a list.
        made = [] if type(cast("object", container)) is list else copy.copy(container)
        list.__setitem__(made, slice(None), parts)
        return made
    if isinstance(container, tuple):
        # A named tuple keeps its class; its own constructor may want anything.
        return getattr(type(cast("object", container)), "_make", tuple)(parts)
    if isinstance(container, deque):
        return deque(parts, container.maxlen)
    if isinstance(container, frozenset):
        return frozenset(parts)
    if isinstance(container, set):
        return set(parts)
    return _dataclass_with(container, dict(zip(_fields_of(container), parts, strict=True)))


def _fields_of(value: Any) -> list[str]:  # noqa: ANN401 - a dataclass
    """Those that are set: one with ``init=False`` may not be yet."""
    return [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]


def _dict_with(value: dict[Any, Any], parts: Sequence[Any]) -> dict[Any, Any]:
    if type(value) is dict:
        return dict(zip(value, parts, strict=True))
    made = copy.copy(value)
    for key, part in zip(value, parts, strict=True):
        dict.__setitem__(made, key, part)
    return made


def _dataclass_with(value: Any, fields: dict[str, Any]) -> Any:  # noqa: ANN401 - a dataclass
    kind = type(value)
    try:
        # Not `copy.copy` for exceptions: there are libraries, tblib for one, that have its result share
        # its attributes with the original.
        new = (
            kind.__new__(kind, *value.args) if isinstance(value, BaseException) else object.__new__(kind)
        )
    except TypeError:  # its instances are something else beside: numbers, say
        new = copy.copy(value)
    else:
        slots = [getattr(base, "__slots__", ()) for base in kind.__mro__]
        names = [name for some in slots for name in ((some,) if isinstance(some, str) else some)]
        state = {name: getattr(value, name) for name in names if hasattr(value, name)}
        for name, item in {**state, **getattr(value, "__dict__", {})}.items():
            if name not in ("__dict__", "__weakref__"):
                object.__setattr__(new, name, item)
    for name, item in fields.items():
        if item is not getattr(value, name):
            object.__setattr__(new, name, item)
    return new
