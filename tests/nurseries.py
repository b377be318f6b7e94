"""What the tests of asyncio's nurseries and checkpoints share.

What it does not know: runners, trio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

import anyio
import pytest
import uvloop

from conftest import VirtualTimeLoop
from creche._backends._primitives import PUBLIC, QUICK, Primitives


@pytest.fixture(params=[VirtualTimeLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def both_loops(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """To be called `anyio_backend` where it is used."""
    return "asyncio", {"loop_factory": request.param}


both_ways = pytest.mark.parametrize(
    "way", [pytest.param(QUICK, id="quick"), pytest.param(PUBLIC, id="public")]
)


def start(way: Primitives, nursery: Any, fn: Callable[[Any], Any], arg: Any = None) -> None:
    """Start a child in the present context."""
    way.start_soon(nursery, copy_context(), fn, arg, "child")


def find(name: str) -> asyncio.Task[Any]:
    """The task of this name."""
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
    return task


async def settle_down() -> None:
    """Let the others run as far as they get by themselves."""
    for _ in range(6):
        await asyncio.sleep(0)


async def forever(log: list[Any]) -> None:
    """Until it is cancelled, which it notes."""
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        log.append("cancelled")
        raise


async def give(log: list[Any]) -> None:
    """Notes that it ran."""
    log.append("ran")
