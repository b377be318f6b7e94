"""Calls that are told to stop, and what they make of that; on whatever loop runs, in whatever place.

In a module of their own, that worker processes import quickly.

What it does not know: pytest; who tells them.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio


def touch(path: str) -> None:
    Path(path).touch()


def grind(path: str) -> None:
    """Say that it has begun, and ask until it is told to stop."""
    check_cancelled = importlib.import_module("creche").check_cancelled
    touch(path)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        check_cancelled()
        time.sleep(0.005)


def in_a_group(path: str) -> None:
    """As from a nursery of a loop of its own."""
    try:
        grind(path)
    except BaseException as exc:
        raise BaseExceptionGroup("one", [BaseExceptionGroup("inner", [exc])]) from None


def beside_an_error(path: str) -> None:
    try:
        grind(path)
    except BaseException as exc:
        raise BaseExceptionGroup("both", [exc, ValueError("mine")]) from None


async def swallow(path: str) -> str:
    """What is asked for once it may swallow; the next wait asks again."""
    with suppress(BaseException):
        await _wait(path)
    await anyio.sleep(0.1)
    return "not stopped"


async def shielded(path: str) -> None:
    """Leave a file behind when what must not be stopped has come to its end."""
    with anyio.CancelScope(shield=True):
        touch(path)
        await anyio.sleep(0.3)
        touch(f"{path}.end")
    await anyio.sleep(60)


async def ask_in_async_code(path: str) -> str:
    """There `check_cancelled` does nothing, also while the call is to stop."""
    check_cancelled = importlib.import_module("creche").check_cancelled
    try:
        await _wait(path)
    finally:
        check_cancelled()
        touch(f"{path}.end")
    return "not stopped"


async def fail_for_another(path: str) -> None:
    """With the cancellation of another call: that is an error as any."""
    try:
        await _wait(path)
    except BaseException:
        error: Callable[..., Exception] = importlib.import_module("creche").CallCancelled
        raise error("other", "cancel", "its own") from None


async def _wait(path: str) -> Any:
    touch(path)
    await anyio.sleep(60)
