"""A scope on trio that is entered, cancelled and left without what nobody here asks for.

What it is for: trio's scope looks at the clock when it is entered, sees to its deadline each time
anything happens to it, and goes through whatever may be below it. A scope that is kept for calls has no
deadline, and when one of them is cancelled there is usually nothing below it: the steps that remain
take a third less. To everything inside it is the scope that it always was.

What it does not know: calls, carriers.

Invariant: what is done here has the outcome that trio's own methods have; where they would have more to
do they are called. What trio looks like is asked once, by `fits`.
"""

# ruff: noqa: SLF001 - what this file is for

from __future__ import annotations

import math
from typing import Any, final

from trio import Cancelled, CancelScope
from trio.lowlevel import Task, current_task

from creche._ki import protected

from ._kept import KeptByTheBook, leave

try:
    from trio._core import _run as _found
except ImportError:  # pragma: no cover - so far every trio has it
    INSIDE: Any = None
else:
    INSIDE = _found


def fits(inside: Any) -> bool:  # noqa: ANN401 - a module of trio's
    """Whether trio's insides are what this file takes them for.

    Args:
        inside: the module that holds them.

    Returns:
        whether all is there that is used here, of the right kind.
    """
    try:
        scope: Any = CancelScope()
        status = inside.CancelStatus(scope=scope)
        inside.CancelReason(source="explicit", reason=None, source_task=None)
        return (
            hasattr(Task, "_cancel_status")
            and callable(Task._activate_cancel_status)
            and callable(Task._attempt_delivery_of_any_pending_cancel)
            and (scope._cancel_status, scope._cancel_reason) == (None, None)
            and (scope._cancel_called, scope._has_been_entered) == (False, False)
            and scope._registered_deadline == math.inf
            and (status._tasks, status._children) == (set(), set())
            and (status._parent, status.effectively_cancelled) == (None, False)
        )
    except (AttributeError, TypeError):
        return False


KNOWN = fits(INSIDE)
"""Whether `Kept` may be used."""


@final
class Kept:
    """A scope of the running task, without a deadline or a shield."""

    __slots__ = ("_scope", "_status", "_task")

    def __init__(self, task: Any) -> None:  # noqa: ANN401 - a task of trio's, whose insides are used
        """Enter it.

        Args:
            task: the running one.
        """
        scope: Any = CancelScope()
        scope._has_been_entered = True
        parent = task._cancel_status
        if parent.effectively_cancelled:
            status = INSIDE.CancelStatus(scope=scope, parent=parent)
        else:  # it need not ask its parent
            status = INSIDE.CancelStatus(scope=scope)
            status._parent = parent
            parent._children.add(status)
        scope._cancel_status = status
        task._activate_cancel_status(status)
        self._scope = scope
        self._status = status
        self._task = task

    @protected
    def cancel(self) -> None:
        """Cancel what runs inside."""
        scope, status = self._scope, self._status
        if scope._cancel_called or status.effectively_cancelled or status._children:
            scope.cancel()
            return
        try:
            by = repr(current_task())
        except RuntimeError:
            by = None
        scope._cancel_reason = INSIDE.CancelReason(source="explicit", source_task=by)
        scope._cancel_called = status.effectively_cancelled = True
        for task in status._tasks:
            task._attempt_delivery_of_any_pending_cancel()

    @protected
    def leave(self, raised: BaseException | None) -> BaseException | None:
        """Leave it.

        Args:
            raised: what is on its way out.

        Returns:
            what still is, outside.
        """
        scope, status, task = self._scope, self._status, self._task
        parent = status._parent
        if (
            type(raised) is not Cancelled
            or not scope._cancel_called
            or task._cancel_status is not status
            or status._children
            or len(status._tasks) != 1
            or parent is None
            or parent.effectively_cancelled
        ):
            return leave(scope, raised)
        task._activate_cancel_status(parent)
        parent._children.remove(status)
        status._parent = scope._cancel_status = None
        scope.cancelled_caught = True
        return None


def keep_scope(task: Any) -> Kept | KeptByTheBook:  # noqa: ANN401 - as above
    """Enter a scope, to be left by its `leave`.

    Args:
        task: the running one.

    Returns:
        the scope.
    """
    return Kept(task) if KNOWN else KeptByTheBook(CancelScope())
