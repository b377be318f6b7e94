"""asyncio's own task groups, as far as they leave something behind on the task that leaves them.

What it is for: a group one of whose children fails while it is being left cancels its task, to wake it,
and before Python 3.13 does not take that back. The task counts as cancelled from then on, by nobody. In
a task of creche's own that count is nobody's affair; in that of a submitter it is what tells a
cancellation of the submit.

What it does not know: calls.

Invariant: for each group one cancellation is taken back at most, and only while it is being delivered to
that group.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from weakref import WeakSet

from creche._awaiting import awaiting

from ._inside import running_task

_LEAVES = asyncio.TaskGroup.__aexit__.__code__

_known: WeakSet[asyncio.TaskGroup] = WeakSet()


def take_back(awaited: Any, exc: BaseException) -> None:  # noqa: ANN401 - whatever can be awaited
    """Take back what a task group has cancelled its task with, if that is what is delivered now.

    Args:
        awaited: what the running task awaits, and the exception is about to be thrown into.
        exc: the exception.
    """
    if not isinstance(exc, asyncio.CancelledError):
        return
    *_, frame = (None, *awaiting(awaited))
    if frame is None or frame.f_code is not _LEAVES:
        return
    group, body = frame.f_locals["self"], frame.f_locals["et"]
    # If its block had raised, it would have ended its children by itself, without a cancellation.
    if body is None and group._parent_cancel_requested and group not in _known:  # noqa: SLF001 - asyncio has no public name for it
        _known.add(group)
        running_task().uncancel()


TAKE_BACK = take_back if sys.version_info < (3, 13) else None
"""That, where groups do not do so by themselves."""
