"""An exception as a plain record, and what is known of it when it cannot be rebuilt.

What it is for: each exception of a chain is pickled by itself, with its cause and its context beside it,
since pickling an exception drops both; so is each member of a group. One that cannot be rebuilt does not
spoil the others.

What it does not know: how it is rebuilt on the other side.

Invariant: describing never raises for what an exception does when it is pickled or printed, but for the
one that was raised itself: if that cannot be pickled, `UnpicklableError` says so.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import NamedTuple

from ._pickling import Part, dump, why_not

LONGEST_CHAIN = 20
"""Exceptions of a chain that travel; the text of the traceback has them all. Pulled out of the air."""


class Raised(NamedTuple):
    """One exception. Sent as a plain tuple.

    Attributes:
        pickled: the exception without its chain; `None` when it could not be pickled, or is a group.
        type_name: module and name of its class.
        message: what it says.
        notes: those added to it.
        cause: what it was raised from, a record as this one.
        context: what was being handled when it was raised, the same.
        suppress: whether its context is not shown.
        members: of a group, a record for each.
    """

    pickled: Part | None
    type_name: str
    message: str
    notes: tuple[str, ...]
    cause: tuple[object, ...] | None
    context: tuple[object, ...] | None
    suppress: bool
    members: tuple[tuple[object, ...], ...] | None = None


class UnpicklableError(Exception):
    """What the call raised cannot be pickled; says what and why."""


def name_of(thing: type) -> str:
    """Module and name of a class, as a traceback shows it."""
    if thing.__module__ == "builtins":
        return thing.__qualname__
    return f"{thing.__module__}.{thing.__qualname__}"


def said(thing: object) -> str:
    """What an exception, or a note on it, says; also of one that cannot say it."""
    try:
        return str(thing)
    except BaseException as failure:  # noqa: BLE001 - told as it is, also that it would have exited
        return f"<str() of it raised {type(failure).__name__}>"


def shown(exc: BaseException) -> str:
    """Type and message of an exception, in a line."""
    message = said(exc)
    name = name_of(type(exc))
    return f"{name}: {message}" if message else name


def traceback_of(exc: BaseException, outermost: TracebackType | None) -> str:
    """The text of a traceback.

    Args:
        exc: the exception.
        outermost: its traceback, without the frames of the wrapper around the call.

    Returns:
        the text, as the interpreter prints it.
    """
    try:
        return "".join(traceback.format_exception(type(exc), exc, outermost))
    except BaseException as failure:  # noqa: BLE001 - told as it is; the exception is odd
        frames = "".join(traceback.format_tb(outermost))
        return f"{frames}{shown(exc)}\n(the rest cannot be shown: {type(failure).__name__})\n"


def describe(exc: BaseException) -> Raised:
    """The record of an exception that was raised.

    Args:
        exc: the exception.

    Returns:
        the record.

    Raises:
        UnpicklableError: the exception itself cannot be pickled.
    """
    record = _describe(exc, set(), LONGEST_CHAIN)
    if record.pickled is None and record.members is None:
        reason = why_not(exc)
        msg = f"the exception {shown(exc)!r} that the call raised cannot be pickled: {reason}"
        raise UnpicklableError(msg)
    return record


def _describe(exc: BaseException, seen: set[int], depth: int) -> Raised:
    seen.add(id(exc))
    members = None
    # A subclass may have more to it than its members.
    if type(exc) in (ExceptionGroup, BaseExceptionGroup) and depth > 1:
        assert isinstance(exc, BaseExceptionGroup)
        members = tuple(_describe(one, seen, depth - 1) for one in exc.exceptions)
    return Raised(
        _pickled(exc) if members is None else None,
        name_of(type(exc)),
        said(exc) if members is None else exc.message,  # type: ignore[attr-defined]  # it has members, so it is a group
        _notes(exc),
        _next(exc.__cause__, seen, depth),
        _next(exc.__context__, seen, depth),
        exc.__suppress_context__,
        members,
    )


def _next(exc: BaseException | None, seen: set[int], depth: int) -> Raised | None:
    # A cause is its exception's context as well; the host needs it once.
    if exc is None or id(exc) in seen or depth <= 1:
        return None
    return _describe(exc, seen, depth - 1)


def _pickled(exc: BaseException) -> Part | None:
    try:
        return dump(exc, in_band=True)[0]
    except MemoryError:
        raise
    except BaseException:  # noqa: BLE001 - what stands for it says what it was
        return None


def _notes(exc: BaseException) -> tuple[str, ...]:
    notes = getattr(exc, "__notes__", ())
    return tuple(map(said, notes)) if isinstance(notes, list) else ()
