"""What came back from a far side, as an outcome.

What it is for: whatever carries out calls elsewhere opens their answers here.

What it does not know: transports, and where the call was carried out.

Invariant: what the user's code returned or raised is an outcome; everything else is raised, as
`CallCrashed`, or as `StopCall` for a stray cancellation. An exception keeps its notes, cause and
context, and shows its traceback over there.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

from outcome import Error, Value

from creche._errors import CallCrashed, RemoteError, RemoteTraceback, StopCall
from creche._far._body import RAISED, STRAY, VALUE
from creche._far._pickling import Part, load
from creche._far._raised import Raised, shown, traceback_of

E = TypeVar("E", bound=BaseException)

CANCELLED_THERE = "cancelled"
"""The kind of a crash that is none: the call was asked to stop, and did."""


def unpack(key: Hashable, parts: Sequence[Part]) -> Value[Any] | Error:
    """Open an answer.

    Args:
        key: of the call.
        parts: the answer; what it gives may use their memory.

    Returns:
        what the user's code returned or raised.

    Raises:
        CallCrashed: it did neither, or its result cannot be loaded here.
        StopCall: a cancellation came out of it that nobody had asked for.
    """
    is_value, came = open_answer(key, parts)
    return Value(came) if is_value else Error(came)


def open_answer(key: Hashable, parts: Sequence[Part]) -> tuple[bool, Any]:
    """The same as whether it is a value, and that or the exception; it costs half as much.

    Args:
        key: of the call.
        parts: the answer; what it gives may use their memory.

    Raises:
        CallCrashed: see `unpack`.
        StopCall: the same.
    """
    try:
        answer = load(parts)
        kind = answer[0]
    except KeyboardInterrupt:  # not the answer's
        raise
    except BaseException as exc:  # noqa: BLE001 - translated: loading may run code of the user's
        detail = f"the result of the call cannot be loaded here: {shown(exc)}"
        crash = CallCrashed(key, "deserialize", detail)
        crash.__cause__ = RemoteTraceback(traceback_of(exc, exc.__traceback__))
    else:
        if kind == VALUE:
            return True, answer[1]
        if kind == RAISED:
            _, record, text = answer
            return False, _rebuild(record, text)
        if kind == STRAY:
            raise StopCall
        _, detail, text, *code = answer
        crash = CallCrashed(key, kind, detail, *code)
        if text:
            crash.__cause__ = RemoteTraceback(text)
    # Out here: what was raised has no part in it, which leads to whoever has the call.
    raise crash


def _rebuild(record: Sequence[Any], text: str) -> BaseException:
    exc = _with_chain(record, text)
    last = exc
    while last.__cause__ is not None:
        last = last.__cause__
    # That hides its context, which the text shows.
    last.__cause__ = RemoteTraceback(text)
    return exc


def _with_chain(fields: Sequence[Any], text: str) -> BaseException:
    record = Raised(*fields)
    exc = _alone(record, text)
    if record.cause is not None:
        exc.__cause__ = _with_chain(record.cause, text)
    if record.context is not None:
        exc.__context__ = _with_chain(record.context, text)
    exc.__suppress_context__ = record.suppress
    return exc


def _alone(record: Raised, text: str) -> BaseException:
    if record.members is not None:
        group = BaseExceptionGroup(record.message, [_with_chain(one, text) for one in record.members])
        return _noted(group, record)
    if record.pickled is not None:
        try:
            exc = load([record.pickled])
        except KeyboardInterrupt:  # not the answer's
            raise
        except BaseException:  # noqa: BLE001 - what stands for it says what it was
            exc = None
        if isinstance(exc, BaseException):
            return exc
    return _noted(RemoteError(record.type_name, record.message, text), record)


def _noted(exc: E, record: Raised) -> E:
    for note in record.notes:
        exc.add_note(note)
    return exc
