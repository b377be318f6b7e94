"""The wrapper in which the code of a user runs on a far side.

What it is for: a parcel with a call goes in, a parcel with what became of it comes out. A transport so
never carries an exception of its own kind, and no call can hurt the one that carries it out.

What it does not know: transports, keys, who asked.

Invariant: `carry` does not raise, whatever the call, its arguments or its result do, as long as there is
memory for the answer.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Any

from ._groups import leaves, split
from ._loops import await_given, run_async
from ._pickling import PLAIN, Part, dump, dump_plain, load
from ._raised import UnpicklableError, describe, name_of, shown, traceback_of
from ._stop import Cut, Stop, enter

# What the first item of an answer says. The rest: the value; the record of the exception and the text
# of its traceback; or a sentence and such a text; nothing, if a cancellation came out that nobody made.
VALUE, RAISED, EXIT, SERIALIZE, DESERIALIZE, CANCELLED, STRAY = (
    "value",
    "raised",
    "exit",
    "serialize",
    "deserialize",
    "cancelled",
    "stray",
)

# By loop: the name of its own exception for cancellation; and what `check_cancelled` raises on either.
_CANCELLED_ON = {"trio": "Cancelled", "asyncio": "CancelledError"}
_STOP = ("creche._errors", "StopCall")

# Functions that do not depend on when they were pickled are sent as bytes of their own, and loaded once.
_FUNCTIONS: dict[bytes, Any] = {}
_MOST_FUNCTIONS = 256
_VARIABLES: dict[tuple[str, str], ContextVar[Any]] = {}


def carry(
    parts: Sequence[Part],
    stop: Stop | None = None,
    *,
    in_band: bool = False,
    wants_value: bool = True,
) -> list[Part]:
    """Carry out a call.

    Args:
        parts: the call, packed.
        stop: is set, from elsewhere, when the call is to stop.
        in_band: give an answer of a single part, for a transport that wants one.
        wants_value: whether what the call returns matters; if not it need not be one that travels.

    Returns:
        the answer, packed.
    """
    try:
        call = _loaded(parts)
    except MemoryError as exc:
        return _raised(exc)
    except BaseException as exc:  # noqa: BLE001 - of whatever kind, it becomes an answer
        return _answer(DESERIALIZE, _not_loaded(exc), traceback_of(exc, _inner(exc)))
    del parts
    loop = call[2]
    try:
        result = _call(stop, call)
    except BaseException as exc:  # noqa: BLE001 - of whatever kind, it becomes an answer
        return _ended(exc, stop, loop)
    return _returned(result if wants_value else None, in_band=in_band)


def _ended(exc: BaseException, stop: Stop | None, loop: str | None) -> list[Part]:
    """What becomes of a call that has raised, by the capture rule; see `creche._capture`."""
    rest = None if isinstance(exc, Cut) else _without_cancellation(exc, loop)
    if rest is None:
        is_to_stop = stop is not None and stop.is_set
        return _answer(CANCELLED, shown(exc), "") if is_to_stop else [dump_plain((STRAY,))]
    if all(isinstance(leaf, Exception) for leaf in leaves(rest)):
        return _raised(rest)
    detail = f"{shown(rest)} came out of the call; an Exception would have been its failure"
    return [dump_plain((EXIT, detail, traceback_of(rest, _inner(rest)), _code_of(rest)))]


def _without_cancellation(exc: BaseException, loop: str | None) -> BaseException | None:
    """What is left of what a call has raised; all of it, if it is none that a loop could cancel."""
    if loop is None:
        return exc
    # Where nobody has imported the module nobody has raised its exception.
    found = [
        getattr(sys.modules.get(module), name, None)
        for module, name in ((loop, _CANCELLED_ON[loop]), _STOP)
    ]
    return split(exc, tuple(kind for kind in found if kind is not None))[1]


def _code_of(exc: BaseException) -> int | None:
    """The exit code that a SystemExit asks for, as the interpreter reads it."""
    if not isinstance(exc, SystemExit):
        return None
    if exc.code is None:
        return 0
    return int(exc.code) if isinstance(exc.code, int) else 1


def _loaded(parts: Sequence[Part]) -> list[Any]:
    fn, args, loop, values, name, is_async = load(parts)
    context = copy_context()
    for (module, variable), value in values:
        context.run(_variable(module, variable).set, value)
    return [_function(fn) if type(fn) is bytes else fn, args, loop, context, name, is_async]


def _call(stop: Stop | None, call: list[Any]) -> Any:  # noqa: ANN401 - whatever it gives
    fn, args, loop, context, name, is_async = call
    call.clear()  # nothing of ours holds what the call has let go
    context.run(enter, stop, name)
    if is_async:
        return context.run(run_async, loop, stop, fn, args)
    result = context.run(fn, *args)
    if type(result) in PLAIN or loop is None:
        return result
    return context.run(await_given, loop, stop, result)


def _returned(result: object, *, in_band: bool) -> list[Part]:
    try:
        if type(result) in PLAIN:
            return [dump_plain((VALUE, result))]
        return dump((VALUE, result), in_band=in_band)
    except MemoryError as exc:
        return _raised(exc)
    except BaseException as exc:  # noqa: BLE001 - of whatever kind, it becomes an answer
        detail = (
            f"the result of the call, of type {name_of(type(result))}, cannot be pickled: {shown(exc)}"
        )
        return _answer(SERIALIZE, detail, traceback_of(exc, _inner(exc)))


def _raised(exc: BaseException) -> list[Part]:
    text = traceback_of(exc, _inner(exc))
    try:
        # A plain tuple of plain tuples: the names in here do not exist on the other side.
        return [dump_plain((RAISED, _plain(describe(exc)), text))]
    except UnpicklableError as unpicklable:
        return _answer(SERIALIZE, str(unpicklable), text)
    except BaseException as odd:  # noqa: BLE001 - whatever its pickling raises is not ours to die of
        detail = f"the exception {shown(exc)!r} that the call raised cannot be pickled: {shown(odd)}"
        return _answer(SERIALIZE, detail, text)


def _plain(record: Any) -> Any:  # noqa: ANN401 - a record, or part of one
    return tuple(map(_plain, record)) if isinstance(record, tuple) else record


def _answer(kind: str, detail: str, text: str) -> list[Part]:
    return [dump_plain((kind, detail, text))]


def _inner(exc: BaseException) -> TracebackType | None:
    """The traceback without the frames of this wrapper, unless there is nothing else in it."""
    found = exc.__traceback__
    while found is not None and found.tb_frame.f_globals.get("__package__") == __package__:
        found = found.tb_next
    return found


def _not_loaded(exc: BaseException) -> str:
    detail = f"the call cannot be loaded over there: {shown(exc)}"
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        detail += (
            f"; the module {exc.name!r} is not to be found there: put it on sys.path before the runner "
            f"starts, or send it along with cloudpickle.register_pickle_by_value({exc.name})"
        )
    elif isinstance(exc, AttributeError) and "'__main__'" in str(exc):
        detail += (
            "; the main program is not there, and this travels by its name alone: put it in a module "
            "that can be imported there"
        )
    elif isinstance(exc, AttributeError):
        detail += "; what is found under that name there is not what was sent from here"
    return detail


def _function(pickled: bytes) -> Any:  # noqa: ANN401 - whatever is called
    found = _FUNCTIONS.get(pickled)
    if found is None:
        if len(_FUNCTIONS) >= _MOST_FUNCTIONS:
            _FUNCTIONS.clear()
        found = _FUNCTIONS[pickled] = pickle.loads(pickled)  # noqa: S301 - a parcel of our own
    return found


def _variable(module: str, name: str) -> ContextVar[Any]:
    found = _VARIABLES.get((module, name))
    if found is None:
        found = getattr(importlib.import_module(module), name)
        _VARIABLES[module, name] = found
    return found
