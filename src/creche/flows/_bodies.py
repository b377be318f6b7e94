"""What a task is as the body of a call.

What it is for: the function of a task is called with the values of the slots among its arguments, while
it is known which task it is; only the function itself goes to another process.

What it does not know: flow runs; when a body is called, and where.

Invariant: by the time that a body is called, the slots among its arguments have settled.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

from creche._arguments import with_values
from creche._slot import Slot

from ._prints import printing_as

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

IN_TASK: ContextVar[str] = ContextVar("creche in task", default="")
"""The key of the task whose body the present code is; empty in the body of a flow."""


def bare(
    body: Any,  # noqa: ANN401 - a partial
    arguments: Arguments,
    value_of: Callable[[Slot[Any]], Any],
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What of a task goes to another process: its function, and the values that it is called with."""
    fn = body.args[0]
    args, kwargs = with_values(arguments, value_of)
    return (partial(fn, **kwargs) if kwargs else fn), args


def plain_body(
    fn: Callable[..., Any],
    key: str,
    log_prints: bool,  # noqa: FBT001 - bound in one place
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # noqa: ANN401 - whatever the body gives
    """A plain task; by the time it is called, the slots among its arguments have settled."""
    token = IN_TASK.set(key)
    try:
        args, kwargs = with_values((args, kwargs))
        if not log_prints:
            return fn(*args, **kwargs)
        with printing_as(key):
            return fn(*args, **kwargs)
    finally:
        IN_TASK.reset(token)


async def async_body(
    fn: Callable[..., Any],
    key: str,
    log_prints: bool,  # noqa: FBT001 - as above
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # noqa: ANN401 - whatever the body gives
    IN_TASK.set(key)
    args, kwargs = with_values((args, kwargs))
    if not log_prints:
        return await fn(*args, **kwargs)
    with printing_as(key):
        return await fn(*args, **kwargs)
