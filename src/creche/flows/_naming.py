"""The readable part of a task's keys, made from the arguments.

What it is for: `key=` of a task, a template or a function, gives ``'ast.py'``, and the key of the call
is ``parse['ast.py']``.

What it does not know: flows; whether a key is taken.

Invariant: what it gives is the same from run to run for the same arguments: it reads no slot, and
shows nothing by its address.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from string import Formatter
from typing import Any, final

from creche._arguments import holds_slots
from creche._call import is_async_callable

# Whose `str` is their `repr`, and may have sets in it.
_CONTAINERS = (list, tuple, dict, set, frozenset)

KeyMaker = str | Callable[..., object]


@final
class Namer:
    """Makes the readable part of the keys of one task."""

    def __init__(self, who: str, given: KeyMaker, fn: Callable[..., Any]) -> None:
        """Check it.

        Args:
            who: has it, as words for the beginning of a sentence.
            given: what was passed as `key`.
            fn: the function of the task.

        Raises:
            TypeError: it is neither a string nor a plain function, or the arguments of `fn` are unknown.
            ValueError: it is a template that is none, or asks for what is no argument of `fn`.
        """
        self._who = who
        self._given = given
        self._make: Callable[..., object]
        if isinstance(given, str):
            self._fields = _Fields(who)
            self._signature = _signature_of(who, fn)
            self._bare = self._check_template(given)
            self._make = self._fill
        elif callable(given) and not is_async_callable(given):
            self._make = given
        else:
            msg = (
                f"{who}: key must be a template of its arguments, key='{{path}}', or a plain function "
                f"of them, not {given!r}"
            )
            raise TypeError(msg)

    def part(self, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
        """The part for a call.

        Args:
            args: positional arguments; of a method, with the object.
            kwargs: keyword arguments.

        Returns:
            what stands in brackets.

        Raises:
            TypeError: it reads a slot, gives what has no readable form, or the arguments do not fit.
            ValueError: the template does not fit these arguments.
            BaseException: what the function raised, with a note.
        """
        try:
            made = self._make(*args, **kwargs)
        except BaseException as exc:
            exc.add_note(f"raised while the key of a call of {self._who} was made from its arguments")
            raise
        return _readable(self._who, made)

    def _check_template(self, given: str) -> str | None:
        """Look at the fields of a template; the only one, if there is nothing beside it."""
        try:
            parts = list(self._fields.parse(given))
        except ValueError as exc:
            msg = f"{self._who}: key={given!r} is no template ({exc}); write key='{{path}}'"
            raise ValueError(msg) from None
        parameters = self._signature.parameters
        is_open = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        for _, field, _, _ in parts:
            if field is None:
                continue
            name = field.partition(".")[0].partition("[")[0]
            if name not in parameters and not (is_open and name.isidentifier()):
                known = ", ".join(parameters) or "none"
                msg = f"{self._who}: key={given!r} asks for {name!r}; its arguments are: {known}"
                raise ValueError(msg)
        if len(parts) == 1 and parts[0][0] == "" and not parts[0][2] and not parts[0][3]:
            return parts[0][1]
        return None

    def _fill(self, *args: object, **kwargs: object) -> object:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        for name, one in self._signature.parameters.items():
            if one.kind is one.VAR_KEYWORD:
                values = {**values.pop(name), **values}
        try:
            if self._bare is not None:
                return self._fields.get_field(self._bare, (), values)[0]
            return self._fields.vformat(str(self._given), (), values)
        except (AttributeError, LookupError, ValueError) as exc:
            msg = f"{self._who}: key={self._given!r} does not fit these arguments ({exc})"
            raise ValueError(msg) from exc


@final
class _Fields(Formatter):
    """Fills in nothing that has no readable form."""

    def __init__(self, who: str) -> None:
        self._who = who

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - as declared
        found = super().get_field(field_name, args, kwargs)
        _readable(self._who, found[0])
        return found

    def format_field(self, value: Any, format_spec: str) -> Any:  # noqa: ANN401 - as declared
        if type(value) in _CONTAINERS and not format_spec:
            return _spelled_once(value)
        return super().format_field(value, format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:  # noqa: ANN401 - as declared
        if type(value) not in _CONTAINERS or conversion is None:
            return super().convert_field(value, conversion)
        shown = _spelled_once(value)
        return shown.encode("ascii", "backslashreplace").decode() if conversion == "a" else shown


def _readable(who: str, value: object) -> str:
    if holds_slots(value):
        msg = (
            f"{who}: its key= is made from {value!r}, and a slot has no value yet; make it from "
            f"arguments that are known at the submit"
        )
        raise TypeError(msg)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    shown = _spelled_once(value)
    if " at 0x" in shown and not isinstance(value, (str, bytes)):
        msg = f"{who}: its key= gives {shown}, which differs from run to run; give a text or a number"
        raise TypeError(msg)
    return shown


def _spelled_once(value: object) -> str:
    try:
        return _spelled(value)
    except RecursionError:  # a list that is in itself
        return repr(value)


def _spelled(value: object) -> str:
    """As `repr`, with the elements of sets in an order that does not change from run to run."""
    if type(value) is list:
        return f"[{', '.join(map(_spelled, value))}]"
    if type(value) is tuple:
        return f"({', '.join(map(_spelled, value))}{',' if len(value) == 1 else ''})"
    if type(value) is dict:
        return "{" + ", ".join(f"{_spelled(key)}: {_spelled(one)}" for key, one in value.items()) + "}"
    if (type(value) is set or type(value) is frozenset) and value:
        braces = "{" + ", ".join(sorted(map(_spelled, value))) + "}"
        return braces if type(value) is set else f"frozenset({braces})"
    return repr(value)


def _signature_of(who: str, fn: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        msg = f"{who}: the names of its arguments are not known; make key= a function of them"
        raise TypeError(msg) from None
