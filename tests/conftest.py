"""What every test may ask for: an event loop, in virtual time where there is one.

A shared test is marked ``@pytest.mark.anyio`` and runs three times: on trio with a clock that jumps,
on asyncio with a loop whose clock jumps, and on uvloop, which has only the real clock. A test that
uses threads or processes asks for `real_time` too: it then runs on the real clock everywhere, since
a clock that jumps does not wait for a thread.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio.testing
import uvloop


class _JumpingSelector(selectors.DefaultSelector):
    """Where a selector would wait for a timer, it moves the loop's clock there instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else jump. Without a timer there is nothing to jump to: wait."""
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on which an hour of sleep costs nothing."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now


def _backend(name: str, *, virtual: bool) -> tuple[str, Mapping[str, Any]]:
    if name == "trio":
        clock = trio.testing.MockClock(autojump_threshold=0) if virtual else None
        return "trio", {"clock": clock}
    if name == "asyncio":
        return "asyncio", {"loop_factory": VirtualTimeLoop if virtual else asyncio.SelectorEventLoop}
    return "asyncio", {"loop_factory": uvloop.new_event_loop}


@pytest.fixture(params=["trio", "asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """The loop of a shared test."""
    return _backend(request.param, virtual="real_time" not in request.fixturenames)


@pytest.fixture
def real_time() -> None:
    """Ask for the real clock: for tests with threads, processes or signals."""


@pytest.fixture
def virtual_time(anyio_backend: tuple[str, Mapping[str, Any]]) -> bool:
    """Whether a sleep costs nothing on this loop."""
    _, options = anyio_backend
    factory = options.get("loop_factory", VirtualTimeLoop)
    return factory is VirtualTimeLoop


@pytest.fixture(params=["trio", "asyncio"])
def elsewhere(
    request: pytest.FixtureRequest,
) -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Runs an async function on a loop of another thread, and waits for it here."""

    def run(fn: Callable[[], Any]) -> Any:
        return trio.run(fn) if request.param == "trio" else asyncio.run(fn())

    return lambda fn: anyio.to_thread.run_sync(run, fn)
