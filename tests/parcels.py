"""Calls that go to a far side and back without a process: packed, carried out, opened.

What it does not know: transports.
"""

from __future__ import annotations

import contextvars
import pickle
import sys
from typing import Any

from creche._far._body import carry
from creche._place import Work
from creche.places._answers import unpack
from creche.places._requests import pack


def work(fn: Any, *args: Any, is_async: bool = False) -> Work:
    return Work("key", fn, args, is_async, contextvars.copy_context())


def outcome(fn: Any, *args: Any, is_async: bool = False, loop: str = "trio", **options: Any) -> Any:
    return unpack("key", carry(pack(work(fn, *args, is_async=is_async), loop), **options))


class Closing:
    """Ends whoever loads it."""

    def __reduce__(self) -> Any:
        return sys.exit, (1,)


def throw(exc: BaseException) -> None:
    raise exc


class Throws:
    """Raises when it is pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def give(value: object) -> Any:
    return lambda: value


class Array:
    """Two pieces of memory, which are sent from where they are."""

    def __init__(self, one: Any, other: Any) -> None:
        self.one = one
        self.other = other

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.one), pickle.PickleBuffer(self.other))


def swap(array: Array) -> Array:
    """The other way round."""
    return Array(array.other, array.one)
