"""A program on a loop of its own, as a user starts it, and Ctrl-C.

What it does not know: runners, virtual time; that is in conftest.py.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio


def ctrl_c() -> None:
    """What the terminal does."""
    signal.raise_signal(signal.SIGINT)


def run_trio(fn: Callable[[], Awaitable[Any]]) -> None:
    """As `trio.run`, with one argument."""
    trio.run(fn)


def run_asyncio(fn: Callable[[], Any]) -> None:
    """As `asyncio.run`, of the function and not of what it gives."""
    asyncio.run(fn())


both = pytest.mark.parametrize("run", [run_trio, run_asyncio])
