"""The calls of the contract, which run anywhere: on the loop, in threads, in processes, on a cluster.

What it is for: a worker process imports this file to find them, so it imports little itself.

What it does not know: runners.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from creche._checking import check_cancelled

_TICK = 0.002
_LONGEST = 120.0
"""Seconds after which a call ends whose clause is not there any more to tell it."""

VARIABLE: ContextVar[str] = ContextVar("creche_contract", default="lost")


class TwoArgumentsError(Exception):
    """Cannot be made again from its `args`, as many that people write."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what)
        self.code = code


def give(value: Any) -> Any:
    """A plain call."""
    return value


async def passing() -> None:
    """Let the others run, whatever loop it is."""
    await checkpoint()


async def give_async(value: Any) -> Any:
    """An async call."""
    await passing()
    return value


def fail(make: Callable[[], BaseException]) -> Any:
    """A plain call that fails."""
    raise make()


async def fail_async(make: Callable[[], BaseException]) -> Any:
    """An async call that fails."""
    await passing()
    raise make()


def odd_error() -> ValueError:
    """An error with all that one can carry that is no matter of its class."""
    error = ValueError("wrong", 3)
    error.hint = "try again"  # type: ignore[attr-defined]  # an attribute that it must keep
    error.add_note("seen at night")
    return error


def fail_deep() -> Any:
    """A plain call that fails because of something else."""
    raise odd_error() from KeyError("the inner one")


def give_lock() -> Any:
    """A value that cannot be sent anywhere."""
    return threading.Lock()


def read_variable() -> str:
    """What the submitter had set; what is set here is nobody else's."""
    found = VARIABLE.get()
    VARIABLE.set("of a call")
    return found


async def read_variable_async() -> str:
    """The same, async."""
    await passing()
    return read_variable()


def give_in_turn(path: str, seconds: float, number: int) -> int:
    """The first of several calls ends after the second one, if that runs beside it."""
    if number == 1:
        note(path, "second")
    end = time.monotonic() + seconds
    while number == 0 and not os.path.exists(path) and time.monotonic() < end:  # noqa: PTH110 - os is there already, pathlib may not be
        time.sleep(_TICK)
    return number


def tick(path: str) -> str:
    """A plain call that leaves traces for as long as it runs: until it is told to end, or to stop."""
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end and not os.path.exists(f"{path}.end"):  # noqa: PTH110 - as short as can be
        note(path, "tick")
        check_cancelled()
        time.sleep(_TICK)
    return "ended"


async def tick_async(path: str) -> str:
    """The same, async."""
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end and not os.path.exists(f"{path}.end"):  # noqa: ASYNC240, PTH110 - it is one look, and a call that may be elsewhere; os is there already, pathlib may not be
        note(path, "tick")
        await anyio.sleep(_TICK)
    return "ended"


def note(path: str, line: str) -> str:
    """A call that leaves a trace, wherever it runs."""
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - as short as can be
        file.write(f"{line}\n")
    return line


def far_len(what: Any) -> int:
    """A call that fails for some."""
    return len(what)


def fail_at_first(path: str, failures: int) -> int:
    """A call that fails so many times, which it counts in a file; the number of the attempt."""
    note(path, "tried")
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as above
        tries = len(file.readlines())
    if tries <= failures:
        msg = f"attempt {tries}"
        raise ConnectionError(msg)
    return tries


async def fail_at_first_async(path: str, failures: int) -> int:
    """The same, async."""
    await passing()
    return fail_at_first(path, failures)
