"""Calls out of which a cancellation comes that nobody has asked for; on whatever loop runs.

In a module of their own, that worker processes import quickly.

What it does not know: creche, pytest.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import sniffio


async def _stray() -> BaseException:
    """What the loop cancels with, where it belongs to nobody."""
    if sniffio.current_async_library() == "asyncio":
        return asyncio.CancelledError()
    trio: Any = importlib.import_module("trio")
    kept: Any = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(0)
        except trio.Cancelled as exc:
            kept = exc
            raise
    assert isinstance(kept, BaseException)
    return kept


async def alone() -> None:
    raise await _stray()


async def in_groups() -> None:
    raise BaseExceptionGroup("both", [await _stray(), BaseExceptionGroup("one", [await _stray()])])


async def beside_an_error() -> None:
    raise BaseExceptionGroup("both", [await _stray(), ValueError("mine")])


async def beside_an_exit() -> None:
    raise BaseExceptionGroup("both", [await _stray(), SystemExit(3)])


async def cancel_own_task() -> None:
    _own_task().cancel()
    await asyncio.sleep(0)


async def return_in_a_cancelled_task() -> str:
    _own_task().cancel()
    return "returned"


def _own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def plain() -> None:
    """In a plain function; it is asyncio's."""
    raise asyncio.CancelledError


def stop_of_its_own() -> None:
    raise importlib.import_module("creche").StopCall
