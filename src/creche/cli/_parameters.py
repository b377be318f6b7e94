"""From ``--param NAME=VALUE`` to the arguments of a flow.

What it is for: text is converted to what the flow's annotations ask for, by the same library that reads
the command line.

What it does not know: files, how flows are run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from ._usage import UsageError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def bind_parameters(fn: Callable[..., Any], given: Sequence[str]) -> inspect.BoundArguments:
    """Convert and bind what was given for a flow.

    Args:
        fn: the function of the flow.
        given: ``NAME=VALUE``, each; a name that is given again adds to a list.

    Returns:
        the arguments.

    Raises:
        UsageError: one has no value, is unknown, is missing, or does not convert.
    """
    signature = inspect.signature(fn)
    known = {name: one for name, one in signature.parameters.items() if one.kind not in _VARIADIC}
    tokens: list[str] = []
    named: set[str] = set()
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {one!r} must have the form NAME=VALUE")
        if name not in known:
            there = ", ".join(known) or "none"
            raise UsageError(f"the flow has no parameter {name!r}; it has {there}")
        named.add(name)
        tokens.append(f"--{name}={value}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in named:
            raise UsageError(f"parameter {name!r} of the flow is missing; add --param {name}=VALUE")
    return _convert(fn, tokens)


def _convert(fn: Callable[..., Any], tokens: list[str]) -> inspect.BoundArguments:
    as_spelled = Parameter(name_transform=lambda name: name, negative=())
    app = App(default_parameter=as_spelled, help_flags=(), version_flags=())
    app.default(_by_keyword(fn))
    try:
        _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as exc:
        sentence = " ".join(str(exc).split()).replace('"--', '"').rstrip(".")
        raise UsageError(f"a parameter of the flow: {sentence}") from None
    return inspect.signature(fn).bind(**bound.arguments)


def _by_keyword(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The same signature, as far as it can be given by name."""

    def parameters() -> None:
        """Only its signature counts."""

    signature = inspect.signature(fn, eval_str=True)
    parameters.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for one in signature.parameters.values()
            if one.kind not in _VARIADIC
        ],
        return_annotation=None,
    )
    parameters.__annotations__ = {
        one.name: one.annotation
        for one in signature.parameters.values()
        if one.kind not in _VARIADIC and one.annotation is not one.empty
    }
    return parameters
