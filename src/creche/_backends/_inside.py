"""What only anyio itself knows on asyncio, and a hot path must know: scopes of tasks, tasks of groups.

What it is for: asking anyio through its public functions costs a microsecond and more, since each
finds out first which loop runs here; a task that is started in its groups costs seven times as much as
one of asyncio's. All that is not public is used in this file, and only as long as anyio has it in the
shape that is known here; else `KNOWN` is false, and whoever asks goes the public way.

What it does not know: what it is asked for.

Invariant: to anyio, a task that was started here is a task of the group, until it has ended.
"""

# ruff: noqa: SLF001 - what this file is for

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

CANCELLED_BY = "Cancelled via cancel scope "
"""What the message of a cancellation by a scope of anyio's begins with."""

_SCOPE = {"_cancel_called", "_effectively_cancelled", "_host_task", "_parent_scope", "_shield", "_tasks"}
_CANCEL = {"_cancel_reason", "_deliver_cancellation", "_timeout_handle"}
_STATE = {"cancel_scope", "parent_id"}
_GROUP = {"_exceptions", "_on_completed_fut", "_tasks", "cancel_scope"}


def _probe() -> Any:  # noqa: ANN401 - a module, if it is as expected
    """Anyio's own part for asyncio, if all that is used here is there."""
    try:
        inside = importlib.import_module("anyio._backends._asyncio")
        fits = (
            isinstance(inside._task_states, WeakKeyDictionary)
            and set(dir(inside.CancelScope)) >= _SCOPE | _CANCEL
            and set(dir(inside.TaskState)) >= _STATE
            and set(vars(inside.TaskGroup())) >= _GROUP
        )
    except (ImportError, AttributeError):  # pragma: no cover - so far every anyio has them
        return None
    return inside if fits else None


_INSIDE = _probe()

KNOWN = _INSIDE is not None
"""Whether the rest of this file may be used."""

_STATES: Any = _INSIDE._task_states if KNOWN else WeakKeyDictionary()


_ScopeOfAnyio: Any = _INSIDE.CancelScope if KNOWN else object


class Scope(_ScopeOfAnyio):  # type: ignore[misc]
    """anyio's cancel scope, made without asking which loop runs here, and cancelled without a report.

    `cancel` of anyio's own describes the task that does it, in a text that nobody here reads: that costs
    as much as all the rest of a cancellation.
    """

    __slots__ = ()

    def cancel(self, reason: str | None = None) -> None:
        """Cancel what runs inside."""
        this: Any = self
        if reason is not None or this._cancel_called or this._timeout_handle is not None:
            super().cancel(reason)
            return
        this._cancel_called = True
        this._cancel_reason = f"{CANCELLED_BY}{id(self):x}"
        if this._host_task is not None:
            this._deliver_cancellation(self)


def start(group: Any, coroutine: Coroutine[Any, Any, Any], context: Context, name: str) -> None:  # noqa: ANN401
    """Start a task in a group, from the thread of its loop; also from a callback.

    Args:
        group: of anyio's.
        coroutine: what to run.
        context: to run it in; entered by the task.
        name: of the task.
    """
    scope = group.cancel_scope
    task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
    _STATES[task] = _INSIDE.TaskState(id(scope._host_task), scope)
    scope._tasks.add(task)
    group._tasks.add(task)
    # In a context of its own it would hold what is set where the task is started.
    task.add_done_callback(partial(_end, group), context=context)


def _end(group: Any, task: asyncio.Task[Any]) -> None:  # noqa: ANN401
    """A task has ended; as a group does it for its own."""
    _STATES.pop(task).cancel_scope._tasks.remove(task)
    group._tasks.remove(task)
    waiter = group._on_completed_fut
    if waiter is not None and not group._tasks and not waiter.done():
        waiter.set_result(None)
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        if not isinstance(error, asyncio.CancelledError):
            group._exceptions.append(error)
        if not group.cancel_scope._effectively_cancelled:
            group.cancel_scope.cancel()


def state_of(task: asyncio.Task[Any]) -> Any:  # noqa: ANN401 - a TaskState, which is not public
    """What anyio keeps of a task: its `cancel_scope` is the innermost; `None` if it has seen none."""
    return _STATES.data.get(ref(task))


def is_cancelled(scope: Any) -> bool:  # noqa: ANN401 - of anyio's
    """Whether a scope is cancelled, or one around it that it is not shielded from."""
    while scope is not None:
        if scope._cancel_called:
            return True
        if scope._shield:
            return False
        scope = scope._parent_scope
    return False
