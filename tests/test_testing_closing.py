"""A run that went wrong is closed all the same, and nothing of it is heard of in the next one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creche import ConcurrentTaskRunner
from creche.testing import HungError, _asyncio_loop, _virtual, run_virtual
from elsewhere import Elsewhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@pytest.fixture(autouse=True)
def passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has few."""
    for module in (_virtual, _asyncio_loop):
        monkeypatch.setattr(module, "PASSES", 300)


async def spins() -> None:
    while True:
        await anyio.lowlevel.checkpoint()


@both
def test_after_a_run_that_goes_on_and_on(backend: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What it has left open is closed, though it has taken all its passes."""
    seen: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            seen.append("closes")
            if backend == "asyncio":
                await anyio.lowlevel.checkpoint()
                seen.append("closed")

    kept: list[Any] = []

    async def main() -> None:
        kept.append(numbers())
        await anext(kept[0])
        await spins()

    with pytest.raises(HungError, match="goes on and on, 301 passes"):
        run_virtual(main, backend=backend)
    assert seen == ["closes", "closed"][: 1 + (backend == "asyncio")]
    kept.clear()
    gc.collect()
    assert caplog.records == []


def test_a_task_that_is_left_and_goes_on_and_on(caplog: pytest.LogCaptureFixture) -> None:
    """The run has ended; the task has not, when it was cancelled, and the rest is closed."""
    seen: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await spins()
            except asyncio.CancelledError:
                continue

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            seen.append("closed")

    kept: list[Any] = []

    async def main() -> int:
        kept.extend([asyncio.create_task(stubborn()), numbers()])
        await anext(kept[1])
        return 5

    assert run_virtual(main, backend="asyncio") == 5
    assert seen == ["closed"]
    kept.clear()
    gc.collect()
    assert caplog.records == []


@both
def test_an_open_place_in_a_run_that_hangs(backend: Any, caplog: pytest.LogCaptureFixture) -> None:
    """That it is closed without a loop is no fault of its, and is not told."""

    async def main() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            assert await runner.submit_nowait("one", int, place=Elsewhere()) == 0
            await anyio.sleep_forever()

    with pytest.raises(HungError, match="nothing can run"):
        run_virtual(main, backend=backend)
    gc.collect()
    assert caplog.records == []


def test_what_is_awaited_catches_everything() -> None:
    """It is ended along with those that wait for it, which are ended before."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(0)  # it waits also where there is no loop
            except BaseException:  # noqa: S112 - the bug
                continue

    async def waits() -> None:
        await stubborn()

    async def main() -> None:
        await waits()

    with pytest.raises(HungError, match="goes on and on"):
        run_virtual(main, backend="asyncio")
    gc.collect()
