"""Where asyncio itself has a task stand, told by the code that waits there.

What it is for: a future does not say what it is for; the function that awaits it does.

What it does not know: what is looked for.

Invariant: a file is asyncio's or anyio's by its full path: there are others of the same name.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator
from typing import Any

from anyio._backends import _asyncio as anyios

from ._where import awaiting

# What waits in these never raises anything but a cancellation: locks, queues, ends of task groups.
_NEVER_FAIL = frozenset(
    code.co_filename
    for code in (
        asyncio.Event.wait.__code__,
        asyncio.Queue.get.__code__,
        asyncio.TaskGroup.__aexit__.__code__,
        anyios.TaskGroup.__aexit__.__code__,
    )
)


_TASKS = asyncio.wait.__code__.co_filename
# Nor do these, which wait until others have ended, whatever they have ended with.
_WAITERS = ("_wait", "_cancel_and_wait")
_GATHERED: type[Any] = vars(asyncio.tasks)["_GatheringFuture"]


_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep  # noqa: PTH120 - the beginning of names
# What `ensure_future` puts around what is not a coroutine.
_AROUND = "_wrap_awaitable"


def is_internal(coro: Any) -> bool:  # noqa: ANN401 - what a task runs
    """Whether asyncio has started it for itself; nobody else could, by a name that is not public."""
    code = getattr(coro, "cr_code", None)
    if code is None or not code.co_filename.startswith(_ASYNCIO) or code.co_name == _AROUND:
        return False
    return any(part.startswith(("_", "<")) for part in code.co_qualname.split("."))


def _awaited(task: Any) -> Iterator[Any]:  # noqa: ANN401 - a task
    """The tasks that are cancelled in its place, while it waits for them."""
    waiter = task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
    ones = waiter._children if isinstance(waiter, _GATHERED) else [waiter]  # noqa: SLF001 - the same
    for one in ones:
        if isinstance(one, asyncio.Task):
            yield one
            yield from _awaited(one)


def is_passed_on(task: Any, by: Collection[Any], waiting: Any) -> bool:  # noqa: ANN401 - tasks
    """Whether it was cancelled natively, once, since one of those tasks was, or the one that waits.

    The former cancel the groups that they leave; the latter, if it waits for a task, has that cancelled
    in its place. If it was cancelled before, by the program, that is the program's affair.
    """
    owners = [getattr(one, "__self__", None) for one, _ in task._callbacks or ()]  # noqa: SLF001 - the same
    groups: list[Any] = [one for one in owners if isinstance(one, asyncio.TaskGroup)]
    was_left = any(
        one._aborting and not one._errors and one._parent_task in by  # noqa: SLF001 - the same
        for one in groups
    )
    is_waited_for = waiting is not None and task in _awaited(waiting)
    return task.cancelling() == 1 and (was_left or is_waited_for)


def is_absorbed(coro: Any) -> bool:  # noqa: ANN401 - a coroutine that waits
    """Whether asyncio lets no cancellation through there, as what is waited for has come.

    `wait_for` does so before Python 3.12, and it is none of the program's doing.
    """
    frames = list(awaiting(coro))
    if not frames or frames[-1].f_code is not asyncio.wait_for.__code__:
        return False
    here = frames[-1].f_locals
    return "waiter" in here and bool(here["fut"].done())


def can_fail(coro: Any, waiter: Any) -> bool:  # noqa: ANN401 - a coroutine that waits, a future
    """Whether what it waits for may raise an error of another kind than cancellation, and by itself.

    The error of a task comes from a point of that task's.
    """
    if isinstance(waiter, _GATHERED):
        return not _are_tasks(waiter._children)  # noqa: SLF001 - asyncio has no public name for it
    *_, frame = awaiting(coro)
    code = frame.f_code
    if code is asyncio.wait_for.__code__ and "waiter" in frame.f_locals:  # before Python 3.12
        return not _are_tasks([frame.f_locals["fut"]])
    is_told = code.co_filename == _TASKS and code.co_name in _WAITERS
    return not is_told and code.co_filename not in _NEVER_FAIL


def _are_tasks(futures: list[Any]) -> bool:
    return all(isinstance(one, asyncio.Task) for one in futures)
