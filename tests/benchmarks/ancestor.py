"""The runner that creche descends from: what Prefect 2.8's `ConcurrentTaskRunner` does, told again.

What it is for: the figures of the ancestor, whose users are those of creche. An event, an entry in three
collections and a task of anyio's for each call; results are looked for until they are there.

What it does not know: everything that creche repairs. Its faults are kept, as they cost or save time: it
captures every exception, cancellation included; it spins while a key is unknown, and for ever on a
result that is false. Left out is its test for being on the loop that it was made on, which knew
asyncio only.

Invariant: it does no work that the ancestor did not do, and none less.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

T = TypeVar("T")


async def crashed(error: BaseException) -> BaseException:
    """What the ancestor makes of an exception: something to store. There it was a coroutine, too."""
    return error


class Ancestor:
    """Submits, and waits by key; there was no way to cancel one, and no limit."""

    def __init__(self) -> None:
        self._group: anyio.abc.TaskGroup | None = None
        self._events: dict[Hashable, anyio.Event] = {}
        self._results: dict[Hashable, Any] = {}
        self._keys: set[Hashable] = set()
        self._is_started = False

    @asynccontextmanager
    async def start(self) -> AsyncIterator[Self]:
        """As long as this is open, calls are taken; its exit waits for them."""
        async with anyio.create_task_group() as self._group:
            self._is_started = True
            try:
                yield self
            finally:
                self._is_started = False

    async def submit(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> None:
        """Start a call under a key."""
        if not self._is_started:
            raise RuntimeError("start the runner before you submit to it")
        if self._group is None:
            raise RuntimeError("a runner that was pickled takes no calls")
        self._events[key] = anyio.Event()
        self._group.start_soon(self._run, key, call)
        self._keys.add(key)

    async def wait(self, key: Hashable, timeout: float | None = None) -> Any:
        """What came of a call, or `None` when the time is over; a result that is false is waited for."""
        if self._group is None:
            raise RuntimeError("a runner that was pickled waits for nothing")
        result = None
        event = self._events.get(key)
        with anyio.move_on_after(timeout):
            while not event:
                await anyio.lowlevel.checkpoint()
                event = self._events.get(key)
            await event.wait()
            result = self._results.get(key)
            while not result:
                await anyio.lowlevel.checkpoint()
                result = self._results.get(key)
        return result

    async def _run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> None:
        try:
            self._results[key] = await call()
        except BaseException as exc:
            self._results[key] = await crashed(exc)
        self._events[key].set()
