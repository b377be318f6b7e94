"""The event loops on which everything is measured, each started as a user starts it.

What it is for: one function that runs a coroutine function to its end on a loop of that name.

What it does not know: what is run, and what is measured.

Invariant: each run has a loop of its own, which is gone afterwards.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import trio

T = TypeVar("T")

LOOPS = ["trio", "asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
"""The loops that are there; uvloop does not exist for every system."""

FAMILY = {"trio": "trio", "asyncio": "asyncio", "uvloop": "asyncio"}
"""Whose words code for a loop is written in: under uvloop it is asyncio's."""


def run_on(loop: str, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function on a new loop.

    Args:
        loop: one of `LOOPS`.
        main: what to run.

    Returns:
        what it returned.
    """
    if loop == "trio":
        return trio.run(main)
    if loop == "asyncio":
        return asyncio.run(main())
    import uvloop  # noqa: PLC0415 - may not be there

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
