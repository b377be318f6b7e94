"""How numbers, times and errors are put in words. The scripts of the page use the same words.

What it does not know: HTML; what it is given is shown as text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_LONGEST = 500
_MINUTE, _HOUR = 60, 3600
_DIGITS = re.compile(r"(\d+)")


def seconds(number: float) -> str:
    """A duration, with three digits or so.

    Args:
        number: of seconds.

    Returns:
        the words.
    """
    if number < 0.9995:  # noqa: PLR2004 - what rounds to a second is one
        return f"{number * 1000:.3g} ms" if number >= 1e-6 else "0 s"  # noqa: PLR2004 - the events' unit
    if number < _MINUTE:
        return f"{number:.2f} s"
    whole = round(number)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def share(part: float, whole: float) -> str:
    """A part of something, in percent.

    Args:
        part: any number.
        whole: what it is a part of.

    Returns:
        the words.
    """
    return f"{100 * part / whole:.0f} %" if whole > 0 else "0 %"


def count(number: int, noun: str) -> str:
    """A number of things.

    Args:
        number: how many.
        noun: what one of them is called.

    Returns:
        the words.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def moment(epoch: float) -> str:
    """A time of day, with its date.

    Args:
        epoch: seconds since the epoch.

    Returns:
        the words; `"at an unknown time"` for what is in no calendar.
    """
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"


def cut(text: object, longest: int = _LONGEST) -> str:
    """A text that is not too long to show.

    Args:
        text: any.
        longest: in characters.

    Returns:
        the text; a longer one is cut, and marked as cut.
    """
    text = str(text)
    return text if len(text) <= longest else f"{text[:longest]}…"


def error_line(error: dict[str, str]) -> str:
    """An error in one line.

    Args:
        error: as an event has it.

    Returns:
        its type and its message.
    """
    name, message = str(error.get("type", "error")), " ".join(str(error.get("message", "")).split())
    return cut(f"{name}: {message}" if message else name)


def ranks(keys: list[str]) -> list[int]:
    """The place of each key in alphabetical order, in which numbers count as numbers.

    Args:
        keys: any.

    Returns:
        a number for each key, from 0.
    """
    places = [0] * len(keys)
    for place, index in enumerate(sorted(range(len(keys)), key=lambda one: _natural(keys[one]))):
        places[index] = place
    return places


def _natural(key: str) -> tuple[list[tuple[int, str]], str]:
    """Digits by their number: by its length, then by itself; so a long one costs nothing."""
    parts = _DIGITS.split(key.casefold())
    parts[1::2] = [digits.lstrip("0") for digits in parts[1::2]]
    return [(len(part) if index % 2 else -1, part) for index, part in enumerate(parts)], key
