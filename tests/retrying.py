"""Calls that fail a number of times, and an instrument that hears of it.

What it does not know: runners. Times are the loop's own.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from calls import settle_down
from creche import ConcurrentTaskRunner, Rate, Retry, Slot
from creche.instruments import CallEvent, Instrument

AT_ONCE = Retry(9, delay=0)
"""Nine retries, without waiting."""

SLOWLY = Retry(9, delay=1000, factor=1, cap=1000, jitter="none")
"""Nine retries, with waits that no test sits through."""

STEADY = Retry(3, delay=1, jitter="none")
"""Three retries, after 1, 2 and 4 seconds."""


IN_THREE = [
    ("admitted", 1),
    ("started", 1),
    ("retrying", 1),
    ("started", 2),
    ("retrying", 2),
    ("started", 3),
    ("finished", 3),
]
"""What is heard of a call that fails twice, and with which attempts."""


class FlakyError(Exception):
    """What they fail with; a weak reference can see it going."""


class Flaky:
    """Fails so many times, and then returns how often it was called."""

    def __init__(self, failures: int = 10**6) -> None:
        self.failures = failures
        self.began: list[float] = []
        self.errors: list[weakref.ref[FlakyError]] = []

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self.began)

    @property
    def gaps(self) -> list[float]:
        """The seconds between the attempts."""
        return [later - sooner for sooner, later in zip(self.began, self.began[1:], strict=False)]

    def plain(self) -> int:
        """Called in a thread, or on the loop."""
        self.began.append(0)
        return self._end()

    async def on_loop(self) -> int:
        """Awaited, with a checkpoint."""
        self.began.append(anyio.current_time())
        await anyio.lowlevel.checkpoint()
        return self._end()

    def half(self) -> Any:
        """Called in a thread, gives an awaitable."""
        self.began.append(0)
        return self._late()

    async def _late(self) -> int:
        await anyio.lowlevel.checkpoint()
        return self._end()

    def _end(self) -> int:
        if self.calls > self.failures:
            return self.calls
        error = FlakyError(f"attempt {self.calls}")
        self.errors.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error


class Attempts(Instrument):
    """Writes down which attempts of which call it hears of."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any, int]] = []
        self.delays: list[float | None] = []
        self.errors: list[str] = []

    def _note(self, name: str, event: CallEvent) -> None:
        self.heard.append((name, event.key, event.attempt))

    def call_admitted(self, event: CallEvent) -> None:
        self._note("admitted", event)

    def call_started(self, event: CallEvent) -> None:
        self._note("started", event)

    def call_retrying(self, event: CallEvent) -> None:
        self._note("retrying", event)
        self.delays.append(event.delay)
        self.errors.append(str(event.error))

    def call_finished(self, event: CallEvent) -> None:
        self._note("finished", event)

    def of(self, key: object) -> list[tuple[str, int]]:
        """What it heard of one call."""
        return [(name, attempt) for name, of, attempt in self.heard if of == key]


@contextmanager
def seeded() -> Iterator[None]:
    """The same delays each time."""
    state = random.getstate()
    random.seed(1)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def without_gc() -> Iterator[None]:
    """What is freed in here is freed by itself."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


MAKES: list[Callable[..., Any]] = [
    ConcurrentTaskRunner,
    lambda **kw: ConcurrentTaskRunner(1, **kw),
    lambda **kw: ConcurrentTaskRunner(2, limits={"db": 1}, **kw),
    lambda **kw: ConcurrentTaskRunner(1, rate=Rate(1e6, burst=100), **kw),
]
"""Runners of all kinds of admission."""


def submit(runner: Any, key: object, call: Any, retry: Retry = SLOWLY, **options: Any) -> Slot[Any]:
    """Submit a call, with the limit that there is."""
    limits = list(runner._options.limits and ["db"])
    slot: Slot[Any] = runner.submit_nowait(key, call, retry=retry, limits=limits, **options)
    return slot


async def until_failed(*calls: Flaky) -> None:
    """Wait until each has failed, and waits."""
    with anyio.fail_after(20):
        while not all(call.errors for call in calls):  # noqa: ASYNC110 - also in threads
            await anyio.sleep(0.001)
    await settle_down()
