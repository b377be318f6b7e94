"""The fields of a record of an event file, read strictly.

What it is for: what a reader is given is of the type that is promised; anything else is refused with the
name of the field.

What it does not know: which record has which fields, and what they are for.

Invariant: what is wrong with a field is a `ValueError`, a wrong type too, since it is of a file and not
of an argument; a field that is missing is a `KeyError`.
"""

# ruff: noqa: TRY004 - see above

from __future__ import annotations

import math
import sys
from typing import Any

from creche._rates import Rate

# More than any time is, in seconds.
_ENDLESS = 1e15

# As which an endless number is written: JSON has none.
_LARGEST = sys.float_info.max

Record = dict[str, Any]


def read_text(record: Record, field: str) -> str:
    """A string.

    Args:
        record: of an event, or a part of one.
        field: its name.

    Returns:
        it.

    Raises:
        KeyError: it is not there.
        ValueError: it is of another type.
    """
    given = record[field]
    if not isinstance(given, str):
        raise ValueError(f"{field} is {given!r}, which is no string")
    return given


def read_count(record: Record, field: str, default: int | None = None) -> int:
    """A whole number of 0 or more.

    Args:
        record: of an event, or a part of one.
        field: its name.
        default: what it is when it is not there; `None`: it has to be.

    Returns:
        it.

    Raises:
        KeyError: it is not there.
        ValueError: it is something else.
    """
    given = record[field] if default is None else record.get(field, default)
    if type(given) is not int or given < 0:
        raise ValueError(f"{field} is {given!r}, which is no number of things")
    return given


def read_number(record: Record, field: str) -> float:
    """A number that a time can be.

    Args:
        record: of an event, or a part of one.
        field: its name.

    Returns:
        it.

    Raises:
        KeyError: it is not there.
        ValueError: it is something else.
    """
    given = record[field]
    if type(given) not in (int, float) or not abs(given) < _ENDLESS:
        raise ValueError(f"{field} is {given!r}, which is no number that can be")
    return float(given)


def read_positive(record: Record, field: str) -> float:
    """A number of more than 0.

    Args:
        record: of an event, or a part of one.
        field: its name.

    Returns:
        it.

    Raises:
        KeyError: it is not there.
        ValueError: it is something else.
    """
    given = record[field]
    if type(given) not in (int, float) or not 0 < given <= _LARGEST:
        raise ValueError(f"{field} is {given!r}, which is no number of more than 0")
    return float(given)


def read_priority(record: Record) -> float:
    """The priority of a call.

    Args:
        record: of its submission.

    Returns:
        it; 0 if it is not there, and infinity for the largest number that there is.

    Raises:
        ValueError: it is no number.
    """
    given = record.get("priority", 0)
    if type(given) not in (int, float):
        raise ValueError(f"priority is {given!r}, which is no number")
    return math.copysign(math.inf, given) if abs(given) >= _LARGEST else float(given)


def read_rate(record: Record, field: str = "rate") -> Rate | None:
    """A rate.

    Args:
        record: of a runner, or what it says of rates.
        field: its name.

    Returns:
        it; `None` if it is not there.

    Raises:
        KeyError: a part of it is not there.
        ValueError: it is something else.
    """
    given = record.get(field)
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError(f"{field} is {given!r}, which is no rate")
    burst = read_positive(given, "burst")
    if not burst.is_integer():
        raise ValueError(f"burst is {burst!r}, which is no number of things")
    return Rate(read_positive(given, "starts"), read_positive(given, "per"), int(burst))


def read_rates(record: Record, limits: dict[str, float | None]) -> dict[str, Rate]:
    """The rates of named limits.

    Args:
        record: of a runner.
        limits: which limits it has.

    Returns:
        those that have one, by their names.

    Raises:
        KeyError: a part of one is not there.
        ValueError: one is something else, or of no limit.
    """
    given = record.get("rates", {})
    if not isinstance(given, dict):
        raise ValueError(f"rates is {given!r}, which are no rates by their names")
    found: dict[str, Rate] = {}
    for name in given:
        rate = read_rate(given, name)
        if rate is None or name not in limits:
            raise ValueError(f"rates has {name!r}, which is no limit, or has no rate")
        found[name] = rate
    return found


def read_list(record: Record, field: str) -> list[Any]:
    """A list.

    Args:
        record: of an event.
        field: its name.

    Returns:
        it; an empty one if it is not there.

    Raises:
        ValueError: it is something else.
    """
    given = record.get(field, [])
    if not isinstance(given, list):
        raise ValueError(f"{field} is {given!r}, which is no list")
    return given


def read_error(record: Record) -> dict[str, str] | None:
    """An error.

    Args:
        record: of an event.

    Returns:
        its `type`, `message` and `traceback`; `None` if there is none.

    Raises:
        KeyError: a part of it is not there.
        ValueError: it is something else.
    """
    given = record.get("error")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError(f"error is {given!r}")
    return {field: read_text(given, field) for field in ("type", "message", "traceback")}
