"""A piece of work as a parcel for a far side.

What it is for: whatever carries out calls elsewhere packs them here.

What it does not know: transports, and where it is carried out.

Invariant: what cannot be packed is said by its name, and touches no other call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from types import CodeType, FunctionType
from typing import Any
from weakref import ref

from creche._errors import CallCrashed, RemoteTraceback
from creche._far._pickling import PLAIN, Part, are_plain, dump, dump_plain, why_not
from creche._far._raised import name_of, shown, traceback_of
from creche._far._stop import Name
from creche._place import Work
from creche._spelling import spell

Named = tuple[tuple[str, str], ContextVar[Any]]
"""A context variable, and the module and the attribute under which it is found."""

# By function: its code and defaults, and its pickle, if that is the same whenever it is made.
# A WeakKeyDictionary would do, at twice the price.
_LASTING: dict[ref[FunctionType], tuple[object, object, Part | None]] = {}


def pack(
    work: Work,
    loop: str | None,
    variables: Sequence[Named] = (),
    *,
    at: tuple[str, str] | None = None,
    in_band: bool = False,
) -> list[Part]:
    """Pack a piece of work.

    Args:
        work: what to do.
        loop: `"trio"` or `"asyncio"`, as the run has it; `None` for what no loop has to do with.
        variables: the context variables whose values travel with it.
        at: the names of the runner and of the place, if it is a call, and may ask which.
        in_band: give a single part.

    Returns:
        the parcel. Parts after the first may be views of memory that the arguments use.

    Raises:
        CallCrashed: something of it cannot be pickled; kind `serialize`.
    """
    fn, args = work.fn, work.args
    values = _values(work, variables) if variables else ()
    name: Name | None = None
    if at is not None:
        key = work.key
        # What is not plain need not be found over there, nor be small.
        text = key if type(key) in PLAIN else _text_of(key)
        name = text, _plain(at[0]), work.attempt, at[1], _plain(work.flow)
    try:
        lasting = _lasting(fn)
        if lasting is not None and not values and are_plain(args):
            return [dump_plain((lasting, args, loop, values, name, work.is_async))]
        parcel = (fn if lasting is None else lasting, args, loop, values, name, work.is_async)
        return dump(parcel, in_band=in_band)
    except KeyboardInterrupt:  # not the call's
        raise
    except BaseException as exc:  # noqa: BLE001 - of whatever kind, it is the call's
        crash = CallCrashed(work.key, "serialize", _blame(fn, args, values, exc))
        crash.__cause__ = RemoteTraceback(traceback_of(exc, exc.__traceback__))
    # Out here: what was raised has no part in it, which leads to whoever has the call.
    raise crash


def _text_of(key: object) -> str:
    """What a key looks like, in full: two that differ are to be told apart over there."""
    try:
        return _plain(repr(key))
    except Exception:  # noqa: BLE001 - code of the user's; nothing is lost for that
        return spell(key)


def _plain(text: str) -> str:
    """The same without the class that a user may have made of it, a StrEnum say."""
    return text if type(text) is str else str.__str__(text)


def _values(work: Work, variables: Iterable[Named]) -> tuple[tuple[tuple[str, str], Any], ...]:
    context = work.context
    return tuple((place, context[var]) for place, var in variables if var in context)


def _lasting(fn: Any) -> Part | None:  # noqa: ANN401 - whatever is called
    """The pickle of a function that depends on nothing which may change; `None` for others."""
    if type(fn) is not FunctionType:
        return None
    mark = ref(fn)
    known = _LASTING.get(mark)
    if known is None or known[0] is not fn.__code__ or known[1] is not fn.__defaults__:
        pickled = dump(fn, in_band=True)[0]
        lasts = _needs_code_only(fn) or pickled == _by_name(fn)
        known = (fn.__code__, fn.__defaults__, pickled if lasts else None)
        _LASTING.pop(mark, None)
        _LASTING[ref(fn, _LASTING.pop)] = known
    return known[2]


def _by_name(fn: FunctionType) -> Part | None:
    try:
        return dump_plain(fn)
    except Exception:  # noqa: BLE001 - it has no name under which it is found
        return None


def _needs_code_only(fn: FunctionType) -> bool:
    code = fn.__code__
    return (
        not (code.co_names or code.co_freevars or fn.__dict__ or fn.__kwdefaults__)
        and are_plain(fn.__defaults__ or ())
        and not any(isinstance(const, CodeType) for const in code.co_consts)
    )


def _blame(
    fn: Any,  # noqa: ANN401 - whatever is called
    args: Sequence[object],
    values: Iterable[tuple[tuple[str, str], Any]],
    exc: BaseException,
) -> str:
    """Which part of a call it is that cannot be pickled."""
    called = _called(fn)
    suspects: list[tuple[str, object]] = [
        (called if called.startswith("the callable") else f"the callable {called}", fn)
    ]
    suspects += [
        (f"argument {number} of {called}, of type {name_of(type(arg))},", arg)
        for number, arg in enumerate(args, 1)
    ]
    suspects += [
        (f"the context variable {name!r} of {module}", value) for (module, name), value in values
    ]
    for what, suspect in suspects:
        reason = why_not(suspect)
        if reason is not None:
            inner = _inside(suspect)
            return f"{what} cannot be pickled: {reason}{inner}"
    return f"the call of {called} cannot be pickled: {shown(exc)}"


def _inside(suspect: object) -> str:
    """What it is within a function that cannot be pickled."""
    for what, value in _parts_of(suspect):
        if why_not(value) is not None:
            return f" (it is {what}, of type {name_of(type(value))})"
    return ""


def _parts_of(suspect: object) -> Iterable[tuple[str, object]]:
    if isinstance(suspect, partial):
        yield "its function", suspect.func
        yield from ((f"its argument {number}", arg) for number, arg in enumerate(suspect.args, 1))
        yield from ((f"its argument {name!r}", arg) for name, arg in suspect.keywords.items())
    elif isinstance(suspect, FunctionType):
        code = suspect.__code__
        for name, cell in zip(code.co_freevars, suspect.__closure__ or (), strict=False):
            yield f"the variable {name!r} around it", _content(cell)
        for name in code.co_names:
            if name in suspect.__globals__:
                yield f"the global {name!r}", suspect.__globals__[name]
    elif isinstance(suspect, dict):
        yield from ((f"the value of {spell(key)}", value) for key, value in suspect.items())
    elif isinstance(suspect, (list, tuple)):
        yield from ((f"item {number}", value) for number, value in enumerate(suspect))
    else:
        owner = getattr(suspect, "__self__", suspect)
        attributes = getattr(owner, "__dict__", None)
        if isinstance(attributes, dict) and not isinstance(owner, type):
            yield from ((f"attribute {name!r} of it", value) for name, value in attributes.items())


def _content(cell: Any) -> object:  # noqa: ANN401 - the type has no public name
    try:
        return cell.cell_contents
    except ValueError:  # it is still empty
        return None


def _called(fn: Any) -> str:  # noqa: ANN401 - whatever is called
    name = getattr(fn, "__qualname__", None)
    return f"the callable of type {name_of(type(fn))}" if name is None else repr(name)
