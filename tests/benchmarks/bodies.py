"""What the calls of the benchmarks do: as little as makes the point, and the same for every contender.

What it is for: a call that passes the loop once, a call that sleeps until it is cancelled, a plain
function; and the numbers that stand for keys.

What it does not know: who runs them.

Invariant: a call gives back the number that it was given, so that a result shows whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import trio

Call = Callable[[int], Awaitable[int]]

Read = Callable[[], Iterable[int]]
"""Reads what came of the calls when the clock has stopped, in the order of the keys."""

Contender = Callable[[int], Awaitable[Read]]
"""Does the work of a workload n times."""


def keys_of(n: int) -> range:
    """The keys of n calls. None is 0: the ancestor takes what is false for not there yet."""
    return range(1, n + 1)


async def pass_trio(key: int) -> int:
    """One checkpoint."""
    await trio.lowlevel.checkpoint()
    return key


async def pass_asyncio(key: int) -> int:
    """One pass of the loop."""
    await asyncio.sleep(0)
    return key


PASS: dict[str, Call] = {"trio": pass_trio, "asyncio": pass_asyncio}


def give(key: int) -> int:
    """A plain function that does nothing."""
    return key


class Sleepers:
    """Calls that sleep until they are cancelled, and tell when the last of them has fallen asleep.

    Each loop's cheapest way to sleep is used, and no way of a library's own to find out who sleeps:
    such ways look at every task there is.
    """

    def __init__(self, n: int, sleep: Callable[[], Awaitable[Any]]) -> None:
        self.all_asleep = anyio.Event()
        self._awake = n
        self._sleep = sleep

    async def sleep(self) -> None:
        """Does not return."""
        self._awake -= 1
        if not self._awake:
            self.all_asleep.set()
        await self._sleep()


async def sleep_on_asyncio() -> None:
    """What `trio.sleep_forever` is on trio: nothing but waiting."""
    await asyncio.get_running_loop().create_future()


SLEEP: dict[str, Callable[[], Awaitable[Any]]] = {
    "trio": trio.sleep_forever,
    "asyncio": sleep_on_asyncio,
}


class Counting:
    """An instrument that listens to everything and only counts."""

    def __init__(self) -> None:
        self.heard = 0

    def call_submitted(self, event: object) -> None:
        """One more."""
        self.heard += 1

    call_admitted = call_started = call_finished = call_submitted
