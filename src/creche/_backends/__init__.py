"""Which event loop is running here, asked once for each ``start()``.

What it is for: `detect` is the only place that finds out, and it loads what asyncio needs (anyio's
asyncio half included) only under asyncio.

Invariant: asking imports nothing by itself. A loop that runs has been imported by whoever runs it.
"""

from __future__ import annotations

import importlib
import sys
from contextvars import Context, ContextVar, copy_context
from typing import Any, cast

from creche._backend import Backend

from ._threads import leave_loop
from ._trio import BACKEND as TRIO
from ._trio import in_loop as in_trio_loop
from ._trio import in_task as in_trio_task

NAMES = ("trio", "asyncio")
"""The names of the backends."""

# How the name of each context variable of creche's begins.
_OURS = "creche "


def detect() -> Backend:
    """The backend of the loop that runs the present task.

    Returns:
        the backend.

    Raises:
        RuntimeError: no task of a loop that creche knows is running here.
    """
    if in_trio_task():
        return TRIO
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001 - documented; get_running_loop() raises instead
        if asyncio.current_task() is not None:
            return _asyncio_backend()
        msg = "asyncio is running here, but no task of it: use a coroutine, not a callback"
        raise RuntimeError(msg)
    msg = (
        "no event loop that creche knows is running here; run this under trio.run or asyncio.run "
        "(uvloop too), inside an async function"
    )
    raise RuntimeError(msg)


def by_name(name: str) -> Backend:
    """The backend of this name, running or not.

    Args:
        name: one of `NAMES`, checked already.

    Returns:
        the backend.
    """
    return TRIO if name == "trio" else _asyncio_backend()


def any_loop_here() -> bool:
    """Whether this thread is running an event loop, in a task or between two."""
    if in_trio_loop():
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - as above


def context_for_elsewhere() -> Context:
    """The context variables here, for code that is to run on the loop of another thread.

    Returns:
        a copy, in which nothing says any more which loop runs here.
    """
    context = copy_context()
    leave_loop(context)
    return context


def variables_of_users(context: Context) -> dict[ContextVar[Any], Any]:
    """What is in a context, but for what tells where code runs: creche's own variables and the loop's.

    Args:
        context: any.

    Returns:
        the variables with their values.
    """
    sniffio = sys.modules.get("sniffio")
    mark = None if sniffio is None else sniffio.current_async_library_cvar
    return {var: context[var] for var in context if var is not mark and not var.name.startswith(_OURS)}


def _asyncio_backend() -> Backend:
    # Not at the top: it costs as much as the rest of creche, and a trio program never needs it.
    return cast("Backend", importlib.import_module("creche._backends._asyncio").BACKEND)
