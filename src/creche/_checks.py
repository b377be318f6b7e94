"""The checks that options share: of numbers, words, names.

What it is for: an option is checked the same way wherever it is passed, and its message reads the same.

What it does not know: what the options do.

Invariant: a check raises at the call that is wrong, and its message names the option, what was given,
and what is allowed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable

from ._events import EVENT_NAMES, PREPARES
from ._spelling import spell


def check_count(option: str, given: object, *, cure: str, least: int = 1) -> int:
    """Check an option that counts something.

    Args:
        option: its name.
        given: what was passed.
        cure: what the message says beside the rule.
        least: the smallest number allowed.

    Returns:
        the number.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than `least`.
    """
    if not isinstance(given, int) or isinstance(given, bool):
        msg = f"{option} must be a whole number of at least {least}, not {given!r}; {cure}"
        raise TypeError(msg)
    if given < least:
        msg = f"{option} must be at least {least}, not {given!r}; {cure}"
        raise ValueError(msg)
    return given


def check_choice(option: str, given: object, allowed: tuple[str, ...]) -> None:
    """Check an option that is one of a few words.

    Args:
        option: its name.
        given: what was passed.
        allowed: the words.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(given, str) or given not in allowed:
        words = " or ".join(repr(word) for word in allowed)
        msg = f"{option} must be {words}, not {given!r}"
        raise ValueError(msg)


def check_timeout(given: object, option: str = "timeout") -> float | None:
    """Check a number of seconds to wait.

    Args:
        given: what was passed.
        option: its name.

    Returns:
        the seconds; `None` for no limit, also when infinity was passed.

    Raises:
        TypeError: it is neither a number nor `None`.
        ValueError: it is negative or NaN.
    """
    if given is None:
        return None
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        msg = f"{option} must be a number of seconds, or None for no limit, not {given!r}"
        raise TypeError(msg)
    if not given >= 0:  # NaN is not, either
        msg = f"{option} must be 0 seconds or more, not {given!r}; None means no limit"
        raise ValueError(msg)
    # Seconds beyond what a float can hold are no limit either.
    return None if given > sys.float_info.max else float(given)


def check_reading(timeout: object, foreign: Iterable[str]) -> float | None:
    """Check what the result of a call is asked for with.

    Args:
        timeout: what was passed.
        foreign: names of what else was passed; there is nothing else.

    Returns:
        the timeout in seconds; `None` for none.

    Raises:
        TypeError: it is no number; or something else was passed.
        ValueError: it is negative or NaN.
    """
    for name in foreign:
        cure = "its timeout is all that there is"
        if name == "raise_on_failure":
            cure = (
                "allow_failure(slot).result() and await allow_failure(slot) give the value or the error"
            )
        msg = f"result of a slot has no argument {name!r}: {cure}"
        raise TypeError(msg)
    return check_timeout(timeout)


def check_priority(given: object) -> float:
    """Check a priority.

    Args:
        given: what was passed.

    Returns:
        the number.

    Raises:
        TypeError: it is not a number.
        ValueError: it is NaN.
    """
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        msg = f"priority must be a number, the higher the sooner, not {given!r}; the default is 0"
        raise TypeError(msg)
    if given != given:  # noqa: PLR0124 - NaN, and nothing else
        msg = "priority must be a number that can be compared, not NaN; the default is 0"
        raise ValueError(msg)
    return given


def check_reason(given: object) -> None:
    """Check the reason of a cancellation.

    Args:
        given: what was passed.

    Raises:
        TypeError: it is no string.
    """
    if not isinstance(given, str):
        msg = f"reason must be a string, for people to read, not {given!r}"
        raise TypeError(msg)


def check_instrument(given: object) -> None:
    """Check that somebody listens to something.

    Args:
        given: what was passed as an instrument.

    Raises:
        TypeError: it is a class, or has none of the methods of an instrument.
    """
    if isinstance(given, type):
        msg = f"an instrument must be an object, not the class {given.__name__}; call it first"
        raise TypeError(msg)
    if not any(callable(getattr(given, name, None)) for name in (*EVENT_NAMES, PREPARES)):
        msg = f"{given!r} is not an instrument: it has none of the methods {', '.join(EVENT_NAMES)}"
        raise TypeError(msg)


def check_installed(what: str, packages: tuple[str, ...], extra: str) -> None:
    """Check that the packages of an extra are there, before anything is begun that needs them.

    Args:
        what: what needs them.
        packages: their names; they are not imported.
        extra: of creche, which brings them along.

    Raises:
        ModuleNotFoundError: one of them is not installed.
    """
    for package in packages:
        try:
            is_there = importlib.util.find_spec(package) is not None
        except (ImportError, ValueError):  # whoever looks for modules may say it so
            is_there = False
        if not is_there:
            cure = f"install it with: pip install 'creche[{extra}]'"
            msg = f"{what} the package {package}, which is not there; {cure}"
            raise ModuleNotFoundError(msg, name=package)


def name_call(key: object) -> str:
    """How a message calls a call that is being submitted.

    Args:
        key: its key; `None` if it has none yet.

    Returns:
        words for the middle of a sentence.
    """
    return "the call" if key is None else f"call {spell(key)}"
