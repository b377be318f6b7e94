"""What every test may ask for: an event loop, in virtual time where there is one.

A shared test is marked ``@pytest.mark.anyio`` and runs three times: on trio with a clock that jumps,
on asyncio with a loop whose clock jumps, and on uvloop, which has only the real clock. A test that
uses threads or processes asks for `real_time` too: it then runs on the real clock everywhere, since
a clock that jumps does not wait for a thread.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio.testing
import uvloop
from hypothesis import HealthCheck, settings

# A busy machine is no fault of a strategy's; and a test that failed does so again for whoever looks.
settings.register_profile(
    "creche",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("creche")

# A shell has what it starts in the background ignore Ctrl-C, and the programs that it starts, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


LOOPS = ["trio", "asyncio", "uvloop"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--loops trio,asyncio``: on these loops only; ``--every-point``: see `every_point`."""
    parser.addoption("--loops", default="trio,asyncio,uvloop", help="loops that shared tests run on")
    parser.addoption("--every-point", action="store_true", help="cancel at every point, not at a few")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the shared tests on other loops."""
    loops = str(config.getoption("--loops")).split(",")
    left = [item for item in items if _loop_of(item) not in LOOPS or _loop_of(item) in loops]
    if len(left) < len(items):
        kept = set(left)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = left


def pytest_collection_finish() -> None:
    """What is there before the first test is no garbage: no collection need look at it again."""
    gc.collect()
    gc.freeze()


def _loop_of(item: pytest.Item) -> object:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("anyio_backend")


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """The loop of a shared test."""
    return _backend(request.param, virtual="real_time" not in request.fixturenames)


@pytest.fixture
def every_point(request: pytest.FixtureRequest) -> bool:
    """Whether what is cancelled everywhere is to be so, and not at a sample of its points."""
    return bool(request.config.getoption("--every-point"))


@pytest.fixture
def real_time() -> None:
    """Ask for the real clock: for tests with threads, processes or signals."""


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """All plain calls of a runner without a limit share one thread."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", 1)


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
