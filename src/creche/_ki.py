"""The one thing of trio's that every floor may use: where Ctrl-C may interrupt, and where it may not.

What it is for: trio raises `KeyboardInterrupt` between any two lines of Python, unless the innermost
function that is marked at all is marked as protected; then it comes out of a checkpoint of the main
task instead. `protected` is for code that would leave something torn: the bodies of our own tasks, and
the functions through which users enter. What these call is protected as well. Code of the user's among
it has to stay interruptible, and is called through one of the functions here that say `openly`; a task
that it starts is open as any other task of the user's.

What it does not know: what it protects. A mark is looked for when a signal comes, and costs nothing
before. Under asyncio marks have no effect: there the first Ctrl-C cancels the main task instead of
raising in the middle of something.

Invariant: Ctrl-C that comes before the first step of a call finds that nothing was called: a coroutine
that was made is begun, and nobody is warned that it never was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import CodeType
from typing import Any, Protocol, TypeVar

from trio.lowlevel import disable_ki_protection, enable_ki_protection


class _Function(Protocol):
    __code__: CodeType


F = TypeVar("F", bound=_Function)

_PROTECTED: set[object] = set()


def protected(fn: F) -> F:
    """Mark a function as one that Ctrl-C does not interrupt, with what it calls.

    Args:
        fn: the function.

    Returns:
        the same function.
    """
    _PROTECTED.add(fn.__code__)
    return enable_ki_protection(fn)


def call_openly(fn: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401 - code of the user's
    """Call a function of the user's from code that is protected.

    One of our own that stands in for it, a callback of a group's, say, is protected itself, and Ctrl-C
    must not come just before it, either.

    Args:
        fn: the function.
        *args: its arguments.

    Returns:
        what it gives.
    """
    try:
        if getattr(fn, "__code__", None) in _PROTECTED:
            return fn(*args)
        return called_openly(fn, args)
    finally:
        del fn, args  # see await_openly


@disable_ki_protection
def called_openly(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - as above
    """`call_openly` for what is certainly not our own.

    Args:
        fn: the function.
        args: its arguments.

    Returns:
        what it gives.
    """
    try:
        return fn(*args)
    finally:
        del fn, args  # see await_openly


@disable_ki_protection
async def await_openly(fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the function gives
    """Await what a function of the user's gives, from code that is protected.

    Args:
        fn: an async function, or what gives an awaitable at once: the call alone is protected.
        args: its arguments.

    Returns:
        what comes of the awaitable.
    """
    try:
        return await _made(fn, args)
    finally:
        del fn, args  # the traceback of a failure leads back to this frame


@protected
def _made(fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Awaitable[Any]:
    try:
        return fn(*args)
    finally:
        del fn, args  # see await_openly


@disable_ki_protection
async def openly(awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401 - code of the user's
    """Await code of the user's from code that is protected; `await_openly` in pieces, for the hot path.

    Ctrl-C may come before the first step of it: whoever made a coroutine closes it then.

    Args:
        awaitable: what calling a function of the user's gave.

    Returns:
        what comes of it.
    """
    return await awaitable
