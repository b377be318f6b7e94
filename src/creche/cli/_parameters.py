"""From ``--param NAME=VALUE`` to the arguments of a flow.

What it is for: text is converted to what the flow's annotations ask for, by the same library that reads
the command line.

What it does not know: files, how flows are run.

Invariant: an annotation is evaluated only if a value was given for its parameter; what a value or an
annotation raises is a `UsageError` that names the parameter.
"""

from __future__ import annotations

# cyclopts loads these late, when it converts and when something is wrong. By then the folder of the
# user's file comes first on the path, and may have files of the same names.
import difflib  # noqa: F401 - imported early, see above
import functools
import inspect
import json  # noqa: F401 - imported early, see above
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import App, CoercionError, CycloptsError, Parameter, Token, convert

from ._text import one_line
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
    values: dict[str, list[str]] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {one!r} must have the form NAME=VALUE")
        if name not in known:
            there = ", ".join(known) or "none"
            raise UsageError(f"the flow has no parameter {name!r}; it has {there}")
        values.setdefault(name, []).append(value)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in values:
            raise UsageError(f"parameter {name!r} of the flow is missing; add --param {name}=VALUE")
    # Not `bind` with all of them: by name it takes no parameter that is positional only.
    bound = signature.bind_partial()
    for name, parameter in known.items():
        if name in values:
            bound.arguments[name] = _convert(fn, parameter, values[name])
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            # Without it a later one that was given would not be in its place.
            bound.arguments[name] = parameter.default
    return bound


def convert_exactly(option: str, annotation: Any, type_: Any, tokens: Any) -> Any:  # noqa: ANN401 - whatever a parameter is annotated with, or gets
    """Convert as cyclopts does, but never round a number; a converter, once the first two are filled in.

    Args:
        option: what the value was given for, for messages.
        annotation: what the parameter is annotated with.
        type_: what cyclopts asks for: the same, or the type of something inside of it.
        tokens: the text, as cyclopts has read it.

    Returns:
        the value.

    Raises:
        CoercionError: the text is no such value.
    """
    # cyclopts takes the `None` off before it asks, but the word for it is to be understood still.
    whole = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    whole = getattr(whole, "__value__", whole)  # `type Name = ...`
    hint = whole if (type_ | None) == whole else type_
    return convert(hint, tokens, functools.partial(_convert_one, option), _as_spelled)


def _convert_one(option: str, type_: Any, text: str) -> Any:  # noqa: ANN401 - whatever a parameter is annotated with, or gets
    """Convert what is neither a collection nor a union of types; those are cyclopts' to take apart."""
    exact = text
    if type_ is int and "." in text:
        exact, _, rest = text.partition(".")
        if rest.strip("0"):
            raise ValueError(text)
    try:
        return convert(type_, [exact], name_transform=_as_spelled)
    except CoercionError as exc:
        exc.token = Token(keyword=option, value=text)  # it would not know the option otherwise
        raise


def _as_spelled(name: str) -> str:
    return name


def _convert(fn: Callable[..., Any], parameter: inspect.Parameter, values: Sequence[str]) -> Any:  # noqa: ANN401 - whatever a parameter is annotated with, or gets
    name = parameter.name
    read = _reader(parameter.replace(annotation=_evaluate(fn, parameter)))
    tokens = [f"--{name}={value}" for value in values]
    try:
        _, bound, _ = read.parse_args(tokens, exit_on_error=False, print_error=False)
        return bound.arguments[name]
    except CycloptsError as exc:
        sentence = " ".join(str(exc).split()).rstrip(".")
        sentence = re.sub(f'^Invalid value for "?--{re.escape(name)}"?: ', "", sentence)
        sentence = sentence.replace(f"--{name}", f"--param {name}")
        raise UsageError(f"parameter {name!r} of the flow: {sentence}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - the constructor of a type of the user's raises what it likes
        given = ", ".join(map(repr, values))
        raise UsageError(
            f"parameter {name!r} of the flow: {given} does not convert, {one_line(exc)}",
        ) from None


def _evaluate(fn: Callable[..., Any], parameter: inspect.Parameter) -> Any:  # noqa: ANN401 - whatever a parameter is annotated with, or gets
    """The annotation of one parameter; others may name what is there for type checkers only."""

    def annotated() -> None:
        """Only its annotation counts."""

    if parameter.annotation is parameter.empty:
        return parameter.empty
    annotated.__annotations__ = {parameter.name: parameter.annotation}
    try:
        return get_type_hints(annotated, _globals_of(fn), include_extras=True)[parameter.name]
    except Exception as exc:  # noqa: BLE001 - it is an expression of the user's
        raise UsageError(
            f"the annotation of parameter {parameter.name!r} of the flow cannot be evaluated, "
            f"{one_line(exc)}; import what it names also outside of TYPE_CHECKING",
        ) from None


def _globals_of(fn: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a parameter is annotated with, or gets
    """Where the names in the annotations of a callable are looked up."""
    if isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if not hasattr(fn, "__globals__"):
        fn = type(fn).__call__  # an object that can be called
    return getattr(fn, "__globals__", {})


def _reader(parameter: inspect.Parameter) -> App:
    """A command line whose only option is this parameter."""

    def command() -> None:
        """Only its signature counts."""

    name, annotation = parameter.name, parameter.annotation
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # a function may have one; the stubs do not say so
        [parameter.replace(kind=parameter.KEYWORD_ONLY)],
        return_annotation=None,
    )
    command.__annotations__ = {} if annotation is parameter.empty else {name: annotation}
    converter = functools.partial(convert_exactly, f"--{name}", annotation)
    as_spelled = Parameter(name_transform=_as_spelled, negative=(), converter=converter)
    app = App(default_parameter=as_spelled, help_flags=(), version_flags=())
    app.default(command)
    return app
