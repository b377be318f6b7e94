"""What the tests of flows share: simple tasks, and on which loops and under which runners flows run.

What it does not know: what is tried with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner, task

ON_BOTH = pytest.mark.parametrize("backend", ["trio", "asyncio"])
UNDER_BOTH = pytest.mark.parametrize("runner", [ConcurrentTaskRunner, SequentialTaskRunner])
IN_BOTH_WAYS = pytest.mark.parametrize("way", [None, "parent"])


def run(backend: str, fn: Callable[..., Any], *args: Any) -> Any:
    """Run an async function on a loop of its own."""
    return anyio.run(fn, *args, backend=backend)


@task
def add(a: int, b: int) -> int:
    return a + b


@task
async def add_later(a: int, b: int) -> int:
    await anyio.lowlevel.checkpoint()
    return a + b


@task
async def forever(*_: Any) -> None:
    await anyio.sleep_forever()


@task
def fail(*_: Any) -> int:
    raise LookupError("task")
