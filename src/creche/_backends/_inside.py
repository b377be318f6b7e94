"""What only anyio itself knows of a task on asyncio, and a hot path must know: its present scope.

What it is for: asking anyio through its public functions costs a microsecond and more, since each
finds out first which loop runs here. All that is not public is used in this file, and only as long as
anyio has it in the shape that is known here; else `KNOWN` is false, and whoever asks goes the public
way.

What it does not know: what it is asked for.

Invariant: nothing of anyio's is changed from here.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any
from weakref import ref

import anyio


def _probe() -> Any:  # noqa: ANN401 - a module, if it is as expected
    """Anyio's own part for asyncio, if all that is used here is there."""
    try:
        inside = importlib.import_module("anyio._backends._asyncio")
        states = inside._task_states.data  # noqa: SLF001 - what this file is for
        scope: Any = anyio.CancelScope
        seen = set(dir(inside.CancelScope)) & {"_cancel_called", "_shield", "_parent_scope"}
        named = set(dir(inside.TaskState)) & {"cancel_scope", "parent_id"}
    except (ImportError, AttributeError):  # pragma: no cover - so far every anyio has them
        return None
    fits = isinstance(states, dict) and scope is not None and len(seen) == 3 and len(named) == 2  # noqa: PLR2004 - all
    return inside if fits else None


_INSIDE = _probe()

KNOWN = _INSIDE is not None
"""Whether the rest of this file may be used."""

_STATES: dict[Any, Any] = _INSIDE._task_states.data if KNOWN else {}  # noqa: SLF001 - see above


def state_of(task: asyncio.Task[Any]) -> Any:  # noqa: ANN401 - a TaskState, which is not public
    """What anyio keeps of a task: its `cancel_scope` is the innermost; `None` if it has seen none."""
    return _STATES.get(ref(task))


def is_cancelled(scope: Any) -> bool:  # noqa: ANN401 - of anyio's
    """Whether a scope is cancelled, or one around it that it is not shielded from."""
    while scope is not None:
        if scope._cancel_called:  # noqa: SLF001
            return True
        if scope._shield:  # noqa: SLF001
            return False
        scope = scope._parent_scope  # noqa: SLF001
    return False
