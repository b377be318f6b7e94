"""Plain calls that give awaitables of every kind; on whatever loop runs.

In a module of their own, that worker processes import quickly.

What it does not know: creche, pytest.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import sniffio

from straying import alone


async def where(number: int) -> tuple[str, int]:
    """Which loop it is."""
    loop: Any = importlib.import_module(sniffio.current_async_library())
    await loop.sleep(0)
    return loop.__name__, number


class Promise:
    """Awaitable, and no coroutine."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __await__(self) -> Generator[Any, Any, tuple[str, int]]:
        return where(self._number).__await__()


def give_coroutine(number: int) -> Coroutine[Any, Any, Any]:
    return where(number)


def give_promise(number: int) -> Promise:
    return Promise(number)


def give_generator(number: int) -> Any:
    """What was a coroutine before there was a word for it."""

    @types.coroutine
    def old() -> Any:
        return (yield from where(number).__await__())

    return old()


class Caller:
    """Called, it gives one."""

    def __init__(self) -> None:
        self.give = give_coroutine

    def __call__(self, number: int) -> Any:
        return self.give(number)


async def _fail() -> None:
    raise LookupError("not there")


def give_failure() -> Any:
    return _fail()


def give_stray() -> Any:
    return alone()


async def _sleep(path: str) -> None:
    loop: Any = importlib.import_module(sniffio.current_async_library())
    try:
        _note(path, "begun")
        await loop.sleep(30)
    finally:
        _note(f"{path}.end", loop.__name__)


def _note(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def give_long(path: str) -> Any:
    """One that takes long, and writes down when it begins and ends."""
    return _sleep(path)


async def _nothing() -> None:
    raise AssertionError("it is begun")


def give_unwanted() -> Any:
    """One that is not to be begun, and does not mind."""
    made = _nothing()
    made.close()
    return made
