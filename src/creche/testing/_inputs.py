"""The checks of what `cancel_everywhere` and `explore` are given.

What it is for: a mistake in a call is told as one, before anything is run, and not as a fault of the
function that is tested.

What it does not know: what the options do.

Invariant: a check raises at the call that is wrong, and its message names the option and the cure.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any

from creche._backends import any_loop_here
from creche._checks import check_count, check_timeout

from ._naming import written


class NotAsyncError(TypeError):
    """The function that is to be tested is no async function; that shows when it is called."""


def check_no_loop(caller: str) -> None:
    """Check that no event loop runs in this thread.

    Raises:
        RuntimeError: one does.
    """
    if any_loop_here():
        msg = (
            f"{caller} runs loops of its own, one after the other, and an event loop is running here; "
            "call it from a plain function, with pytest from a test that is not async"
        )
        raise RuntimeError(msg)


def check_function(caller: str, fn: object, *, with_setup: bool = False) -> None:
    """Check that the function to be tested can be called as it will be.

    Raises:
        TypeError: it cannot.
    """
    if not callable(fn):
        msg = f"{caller} needs an async function, not {fn!r}; pass the function, and do not call it"
        raise TypeError(msg)
    _check_takes(caller, fn, with_setup=with_setup)


def begun(caller: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Awaitable[Any]:
    """Call it; what is to be awaited.

    Raises:
        NotAsyncError: that is nothing that can be awaited.
    """
    made = fn(*args)
    if not inspect.isawaitable(made):
        msg = f"{caller} needs an async function, and {written(fn)} is none: it gave {written(made)}"
        raise NotAsyncError(msg)
    return made


def _check_around(setup: object, invariant: object) -> None:
    for option, given in (("setup", setup), ("invariant", invariant)):
        if given is not None and not callable(given):
            msg = f"{option} must be a function, plain or async, not {given!r}"
            raise TypeError(msg)
    if callable(setup):
        if inspect.isgeneratorfunction(setup):
            msg = (
                f"setup={written(setup)} is a plain generator function, which nobody would close; "
                "make it an async generator function (async def ... yield), or return what it makes"
            )
            raise TypeError(msg)
        _check_takes("setup", setup, with_setup=False)
    if callable(invariant):
        _check_takes("invariant", invariant, with_setup=setup is not None)


def _check_takes(caller: str, fn: Callable[..., Any], *, with_setup: bool) -> None:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # of a builtin; nobody knows
        return
    try:
        signature.bind(*[None] * with_setup)
    except TypeError as exc:
        what = "one argument, what setup makes" if with_setup else "no argument"
        cure = "pass a lambda or a functools.partial that can be called so"
        msg = f"{caller}: {written(fn)} is called with {what}: {exc}; {cure}"
        raise TypeError(msg) from None


def check_everywhere(
    fn: object,
    how: object,
    setup: object,
    invariant: object,
    within: object,
    allow: object,
    places: object,
    max_points: object,
    only: object,
) -> float | None:
    """Check what `cancel_everywhere` is given; the seconds of `within`.

    Raises:
        TypeError: something of it is of another type, or cannot be called as it will be.
        ValueError: a number is too small, or NaN.
    """
    _check_around(setup, invariant)
    check_function("cancel_everywhere", fn, with_setup=setup is not None)
    if isinstance(how, type):
        msg = f"how must be an exception, not the class {how.__name__}; how={how.__name__}()"
        raise TypeError(msg)
    _check_words("allow", allow)
    _check_words("places", places)
    if max_points is not None:
        check_count("max_points", max_points, cure="leave it out to try all points")
    if only is not None:
        check_count("only", only, cure="it is the number of a point in a report")
    return check_timeout(within, "within")


def _check_words(option: str, given: object) -> None:
    words = given if isinstance(given, Collection) and not isinstance(given, (str, bytes)) else [None]
    if not all(isinstance(one, str) for one in words):
        cure = f"; [{given!r}] is one" if isinstance(given, str) else ""
        msg = f"{option} must be a list of strings, not {given!r}{cure}"
        raise TypeError(msg)


def seeds_of(given: int | Iterable[int]) -> Iterable[int]:
    """The seeds that are meant.

    Raises:
        TypeError: it is neither a number nor numbers.
        ValueError: it is a number below 0.
    """
    if isinstance(given, int):
        return range(check_count("seeds", given, cure="that is how many; or give a list", least=0))
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        msg = f"seeds must be how many, or a list of numbers, not {given!r}"
        raise TypeError(msg)
    return _numbers(given)


def _numbers(given: Iterable[object]) -> Iterator[int]:
    for seed in given:
        if not isinstance(seed, int):
            msg = f"seeds must be numbers, and {seed!r} is none"
            raise TypeError(msg)
        yield seed
