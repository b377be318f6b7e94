"""Where asyncio itself has a task stand, told by the code that waits there.

What it is for: a future does not say what it is for; the function that awaits it does.

What it does not know: what is looked for.

Invariant: a file is asyncio's or anyio's by its full path: there are others of the same name.
"""

from __future__ import annotations

import asyncio
from typing import Any

from anyio._backends import _asyncio as anyios

from ._where import awaiting

# What waits in these never raises anything but a cancellation: locks, events, ends of task groups.
_NEVER_FAIL = frozenset(
    code.co_filename
    for code in (
        asyncio.Event.wait.__code__,
        asyncio.TaskGroup.__aexit__.__code__,
        anyios.TaskGroup.__aexit__.__code__,
    )
)


def can_fail(coro: Any) -> bool:  # noqa: ANN401 - a coroutine that waits
    """Whether what it waits for may raise an error of another kind than cancellation."""
    *_, frame = awaiting(coro)
    return frame.f_code.co_filename not in _NEVER_FAIL
