"""What creche knows of anyio's insides on asyncio, and what is quicker by knowing it.

What it is for: to anyio a task is a name in the set of a scope, and a record of which scope it is in.
Reading them directly tells whether a scope is cancelled, and taking a task out of the set for a moment
shields it, each for a tenth of what anyio's own functions cost, which ask first which loop this is, or
open a scope.

What it does not know: nurseries. Only the one in `_nursery` looks inside anyio, too; with the names
from here.

Invariant: what is done here has the outcome that anyio's own functions have. What anyio looks like is
asked once, by `fits`; where it looks different none of this is used, see `_primitives`.
"""

# ruff: noqa: SLF001 - what this file is for

from __future__ import annotations

import asyncio
import math
import sys
from asyncio import CancelledError, Future, current_task, get_running_loop
from collections.abc import Callable, Generator
from threading import get_ident
from types import coroutine
from typing import Any
from weakref import WeakKeyDictionary, ref

from ._kept import leave

try:
    from anyio._backends import _asyncio as _found
except ImportError:  # pragma: no cover - so far every anyio has it
    INSIDE: Any = None
else:
    INSIDE = _found


def fits(inside: Any) -> bool:  # noqa: ANN401 - a module of anyio's
    """Whether anyio's insides are what this file takes them for.

    Args:
        inside: the module that holds them.

    Returns:
        whether all is there that is used here, of the right kind.
    """
    try:
        states = inside._task_states
        scope = inside.CancelScope(deadline=math.inf, shield=False)
        state = inside.TaskState(parent_id=0, cancel_scope=scope)
        state.cancel_scope = None
        return (
            isinstance(states, WeakKeyDictionary)
            and isinstance(states.data, dict)  # type: ignore[attr-defined]  # anyio's own, of which the stubs know nothing
            and isinstance(scope._tasks, set)
            and (scope._cancel_called, scope._shield) == (False, False)
            and (scope._parent_scope, scope._host_task, scope._timeout_handle) == (None, None, None)
            and {"_cancel_reason", "_deliver_cancellation"} <= set(dir(scope))
            and {state: state.parent_id} == {state: 0}
            and hasattr(asyncio.Task, "_must_cancel")
        )
    except (AttributeError, TypeError):
        return False


KNOWN = fits(INSIDE)
"""Whether the rest of this file may be used."""

STATES: Any = getattr(INSIDE, "_task_states", None)
# To look in it directly takes half as long.
DATA: Any = getattr(STATES, "data", None)
State: Any = getattr(INSIDE, "TaskState", None)
# Up to Python 3.11 it is not in C, and does nothing but look in a dict.
_CURRENT: Any = (
    current_task if sys.version_info >= (3, 12) else vars(asyncio.tasks)["_current_tasks"].get
)
running_task: Callable[[], Any] = (
    current_task if sys.version_info >= (3, 12) else lambda: _CURRENT(get_running_loop())
)
"""`asyncio.current_task`, as quick as it is in C."""

_ScopeOfAnyio: Any = INSIDE.CancelScope if KNOWN else object


class Scope(_ScopeOfAnyio):  # type: ignore[misc]  # anyio's own, of which the stubs know nothing
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
        this._cancel_reason = f"Cancelled via cancel scope {id(self):x}"
        if this._host_task is not None:
            this._deliver_cancellation(self)


# anyio knows its own cancellations by how this begins; to write it anew each time would take long.
_WHY = "Cancelled via cancel scope of a call of creche's"

# What the quick way touches besides; since anyio 4.16 all of it is there.
_IS_QUICK = {
    *("_active", "_cancel_handle", "_cancelled_caught", "_cancelling_at_enter", "_child_scopes"),
    "_pending_uncancellations",
} <= set(getattr(_ScopeOfAnyio, "__slots__", ()))


class Kept(Scope):
    """A scope that is entered by `keep_scope` and left by `leave`, quickly if the case is the usual one.

    That is: nothing but the waiting task is in it when it is cancelled, and the cancellation comes out.
    """

    __slots__ = ("state",)

    state: Any
    """The record of the task that has entered it, where the quick way was taken; else `None`."""

    def cancel(self, reason: str | None = None) -> None:
        """Cancel what runs inside."""
        this: Any = self
        task = this._host_task
        waiter = getattr(task, "_fut_waiter", None)
        if (
            not isinstance(waiter, Future)  # it runs, or is about to
            or waiter.done()
            or task._must_cancel
            or this.state is None
            or this._cancel_called
            or this._child_scopes
            or task not in this._tasks
            or len(this._tasks) != 1
            or reason is not None
        ):
            super().cancel(reason)
            return
        this._cancel_called = True
        this._cancel_reason = _WHY
        task.cancel(_WHY)
        this._pending_uncancellations += 1
        this._cancel_handle = get_running_loop().call_soon(this._deliver_cancellation, self)

    def leave(self, raised: BaseException | None) -> BaseException | None:
        """Leave it.

        Args:
            raised: what is on its way out.

        Returns:
            what still is, outside.
        """
        this: Any = self
        task, parent, state, handle = (
            this._host_task,
            this._parent_scope,
            this.state,
            this._cancel_handle,
        )
        if (
            type(raised) is not CancelledError
            or this._cancel_reason is not _WHY
            or raised.args != (_WHY,)
            or state is None
            or handle is None
            or state.cancel_scope is not self
            or this._child_scopes
            or len(this._tasks) != 1
            or is_cancelled(parent)
            or this._pending_uncancellations != 1
            or task.cancelling() - this._cancelling_at_enter != 1
        ):
            return leave(self, raised)
        this._pending_uncancellations = task.uncancel() - this._cancelling_at_enter
        handle.cancel()  # it would find nobody
        this._cancel_handle = None
        this._active = False
        this._cancelled_caught = True
        this._tasks.clear()
        parent._child_scopes.remove(self)
        parent._tasks.add(task)
        state.cancel_scope = parent
        this._host_task = None
        return None


def keep_scope(task: asyncio.Task[Any]) -> Any:  # noqa: ANN401 - a scope of anyio's, of which the stubs know nothing
    """Enter a scope, to be left by its `leave`.

    Args:
        task: the running one.

    Returns:
        the scope.
    """
    scope: Any = Kept()
    state = state_of(task)
    if state is None or state.cancel_scope is None or not _IS_QUICK:
        scope.state = None
        scope.__enter__()
    else:
        scope.state = state
        scope._host_task = task
        parent = scope._parent_scope = state.cancel_scope
        scope._tasks.add(task)
        parent._child_scopes.add(scope)
        parent._tasks.discard(task)
        state.cancel_scope = scope
        scope._cancelling_at_enter = task.cancelling()
        scope._active = True
    return scope


def state_of(task: asyncio.Task[Any]) -> Any:  # noqa: ANN401 - a record of anyio's
    """What anyio keeps of a task: its `cancel_scope` is the innermost; `None` if it has seen none."""
    return DATA.get(ref(task))


def is_cancelled(scope: Any) -> bool:  # noqa: ANN401 - a scope of anyio's, or None
    """Whether a scope is cancelled, or one around it that it is not shielded from."""
    while scope is not None:
        if scope._cancel_called:
            return True
        if scope._shield:
            return False
        scope = scope._parent_scope
    return False


def see_to_delivery() -> None:
    """Let a cancelled scope around the running task go on cancelling.

    anyio stops when it finds nobody to cancel, and starts again when somebody leaves a scope in there.
    """
    with Scope():
        pass


def is_cut() -> bool:
    """Whether a scope around the running task is cancelled."""
    task = running_task()
    if task is None:
        return False
    state = DATA.get(ref(task))
    return state is not None and is_cancelled(state.cancel_scope)


@coroutine
def checkpoint() -> Generator[None]:
    """What `asyncio.sleep` does for 0 seconds."""
    yield


def is_cancel_due() -> bool:
    """Whether a cancel point would raise here: for a scope, or for a `Task.cancel` that is pending."""
    task: Any = _CURRENT(get_running_loop())
    state = DATA.get(ref(task))
    return task._must_cancel or (state is not None and is_cancelled(state.cancel_scope))


def watcher() -> Callable[[], bool]:
    """A function that gives the same, and finds the present task's record without looking for it.

    On another thread it gives True.
    """
    host: Any = current_task()
    known = state_of(host)
    loop, thread = get_running_loop(), get_ident()

    def is_due() -> bool:
        if get_ident() != thread:
            return True
        task: Any = _CURRENT(loop)  # to ask which loop runs takes a system call, up to Python 3.11
        if task is not host or known is None:
            return is_cancel_due()
        if task._must_cancel:
            return True
        scope = known.cancel_scope
        while scope is not None and not scope._cancel_called:  # `is_cancelled` in this frame
            scope = None if scope._shield else scope._parent_scope
        return scope is not None

    return is_due


@coroutine
def checkpoint_if_cancelled() -> Generator[None]:
    """A cancel point, also for a pending `Task.cancel`, which anyio does not look for."""
    task: Any = current_task()
    if task._must_cancel:
        yield
    state = DATA.get(ref(task))
    if state is not None and is_cancelled(state.cancel_scope):
        see_to_delivery()
        yield


@coroutine
def pass_unseen() -> Generator[None]:
    """A schedule point at which no scope cancels; `Task.cancel` does, as under anyio's own shield.

    Scopes find whom to cancel by the set that each task is in, and for this one pass it is in none.
    """
    task = current_task()
    assert task is not None, "a coroutine runs in a task"
    state = DATA.get(ref(task))
    scope = None if state is None else state.cancel_scope
    if scope is None:
        yield
        return
    scope._tasks.discard(task)
    try:
        yield
    except CancelledError:
        _come_back(task, scope)
        raise
    _come_back(task, scope)


def _come_back(task: asyncio.Task[Any], scope: Any) -> None:  # noqa: ANN401 - a scope of anyio's
    scope._tasks.add(task)
    if is_cancelled(scope):
        see_to_delivery()


async def shielded_checkpoint() -> None:
    """A schedule point at which nothing cancels; a `Task.cancel` does at the next one."""
    try:
        await pass_unseen()
    except CancelledError as exc:
        task = current_task()
        assert task is not None, "a coroutine runs in a task"
        task.uncancel()
        task.cancel(*exc.args)
