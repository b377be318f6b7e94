"""The options of tasks and flows, checked where they are given.

What it is for: an option is spelled and checked once, whether it comes by a decorator or `with_options`,
and a message names the task or the flow, and the option.

What it does not know: what the options do; what a task or a flow is.

Invariant: what has been read is valid, as far as that can be known without a runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar

from creche._call import is_async_generator, is_generator, name_of
from creche._checks import check_choice, check_priority, check_timeout
from creche._limits import check_names
from creche._place import Place, PlaceOptions, check_place, check_place_options
from creche._retry import Retry, RetryOn, read_retries

from ._hooks import Hook, Hooks, read_hooks
from ._naming import KeyMaker, Namer

T = TypeVar("T")


class TaskOptions(TypedDict, total=False):
    """The options of a task; see `task`."""

    name: str | None
    key: KeyMaker | None
    retries: int | Retry | None
    retry_delay: float | None
    retry_on: RetryOn | None
    timeout: float | None
    limits: Iterable[str] | None
    priority: float | None
    place: str | Place | None
    place_options: PlaceOptions | None
    tags: Iterable[str] | None
    on_completed: Sequence[Hook] | None
    on_failed: Sequence[Hook] | None
    on_cancelled: Sequence[Hook] | None
    on_crashed: Sequence[Hook] | None


class TaskWays(NamedTuple):
    """How a task is submitted; made by `read_task`.

    Attributes:
        name: what its keys begin with.
        namer: makes the rest of them; `None` for a number.
        wishes: what is wished of each call, as keyword arguments of `creche._submitting.wish`.
        hooks: its state hooks.
    """

    name: str
    namer: Namer | None
    wishes: Mapping[str, Any]
    hooks: Hooks


class FlowWays(NamedTuple):
    """How a flow runs; made by `read_flow`. Attributes: as the options; `hooks`: its state hooks."""

    name: str
    timeout: float | None
    on_error: Literal["cancel", "collect"] | None
    log_prints: bool | None
    hooks: Hooks


def read_task(fn: Callable[..., Any], given: Mapping[str, Any]) -> TaskWays:
    """Check the options of a task.

    Args:
        fn: its function.
        given: the options; those that are left out may be `None`.

    Returns:
        how it is submitted.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option has a value that is not allowed.
    """
    name = check_name(given.get("name"), "task", fn)
    who = f"task {name!r}"
    place, place_options = given.get("place"), given.get("place_options")
    if place is not None:
        check_place(place, who)
    check_place_options(place_options, who)
    priority, limits, tags = given.get("priority"), given.get("limits"), given.get("tags")
    wishes: dict[str, Any] = {
        "timeout": _of(who, check_timeout, given.get("timeout")),
        "priority": None if priority is None else _of(who, check_priority, priority),
        "limits": None if limits is None else _of(who, check_names, limits),
        "place": place,
        "place_options": place_options,
        "tags": None if tags is None else _check_tags(who, tags),
        "retry": _read_retries(who, given),
    }
    key = given.get("key")
    namer = None if key is None else Namer(who, key, fn)
    asked = {option: wish for option, wish in wishes.items() if wish is not None}
    return TaskWays(name, namer, asked, read_hooks(who, given))


def _read_retries(who: str, given: Mapping[str, Any]) -> Retry | None:
    retries = given.get("retries")
    delay, on = given.get("retry_delay"), given.get("retry_on")
    return _of(who, lambda _: read_retries(0 if retries is None else retries, delay, on), retries)


def read_flow(fn: Callable[..., Any], given: Mapping[str, Any]) -> FlowWays:
    """Check the options of a flow.

    Args:
        fn: its function.
        given: the options; those that are left out may be `None`.

    Returns:
        how it runs.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option has a value that is not allowed.
    """
    name = check_name(given.get("name"), "flow", fn)
    who = f"flow {name!r}"
    timeout = _of(who, check_timeout, given.get("timeout"))
    on_error, log_prints = given.get("on_error"), given.get("log_prints")
    if on_error is not None:
        check_choice(f"on_error of {who}", on_error, ("cancel", "collect"))
    if log_prints is not None and not isinstance(log_prints, bool):
        msg = f"log_prints of {who} must be True or False, not {log_prints!r}"
        raise TypeError(msg)
    return FlowWays(name, timeout, on_error, log_prints, read_hooks(who, given))


def check_function(fn: object, what: str) -> None:
    """Refuse to decorate what can be neither a task nor a flow.

    Args:
        fn: what was decorated, or the function of a class method or static method that was.
        what: ``task`` or ``flow``.

    Raises:
        TypeError: it is not callable, a property, or a generator function.
    """
    if isinstance(fn, property):
        msg = f"@{what} decorates a function, not a property; make it a method, and call it"
        raise TypeError(msg)
    if not callable(fn) or isinstance(fn, type):
        msg = f"@{what} decorates a function, not {fn!r}"
        raise TypeError(msg)
    if is_async_generator(fn):
        msg = (
            f"@{what} {name_of(fn)!r} is an async generator function, which yields many values where "
            f"a {what} has one; collect them in an async function and return a list"
        )
        raise TypeError(msg)
    if is_generator(fn):
        msg = (
            f"@{what} {name_of(fn)!r} is a generator function, which yields many values where a {what} "
            f"has one, and runs only when it is iterated; return a list"
        )
        raise TypeError(msg)


def check_name(name: object, what: str, fn: Callable[..., Any]) -> str:
    """Refuse a name that is none.

    Args:
        name: what was passed as `name`; `None` for that of the function.
        what: ``task`` or ``flow``.
        fn: the function.

    Returns:
        the name.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty.
    """
    if name is None:
        return name_of(fn)
    if not isinstance(name, str):
        msg = f"the name of a {what} must be a string, not {name!r}"
        raise TypeError(msg)
    if name == "":
        msg = f"the name of a {what} must not be empty; leave it out to use the function's"
        raise ValueError(msg)
    return name


def unbound(fn: Any) -> Any:  # noqa: ANN401 - what was decorated
    """The function that was decorated.

    Args:
        fn: a function, a class method or a static method; or anything else, which is given back.
    """
    return fn.__func__ if isinstance(fn, (classmethod, staticmethod)) else fn


def _check_tags(who: str, given: object) -> tuple[str, ...]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        msg = f"{who}: tags must be a list of words, ['nightly'], not {given!r}"
        raise TypeError(msg)
    tags = tuple(dict.fromkeys(given))
    for tag in tags:
        if not isinstance(tag, str) or not tag:
            msg = f"{who}: tags must be words, ['nightly'], not {tag!r}"
            raise TypeError(msg)
    return tags


def _of(who: str, check: Callable[[Any], T], given: object) -> T:
    """The same check, whose message says of what it is."""
    try:
        return check(given)
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"{who}: {exc}") from None
