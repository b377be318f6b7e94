"""What hangs is told from what takes long by steps and passes, and not by virtual seconds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from creche.testing import CancelReport, _everywhere, _walk, cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def found(report: CancelReport) -> set[tuple[str, str]]:
    """The kinds, and how the texts begin."""
    return {
        (one.kind, one.text.splitlines()[0].rstrip(":").split(",")[0])
        for point in report.failures
        for one in point.findings
    }


def shielded(seconds: float, times: int) -> Any:
    """A function whose cleanup polls so many times."""

    async def fn(_: object = None) -> None:
        try:
            await anyio.sleep(1)
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(times):
                    await anyio.sleep(seconds)

    return fn


async def ticks(times: float = 10) -> None:
    """Wait so many times."""
    while times > 0:
        await anyio.sleep(1)
        times -= 1


@both
def test_days(backend: Any) -> None:
    """Virtual seconds are no limit: for who lives on, and for a cleanup."""

    async def daily() -> None:
        async def job() -> None:
            for _ in range(3):
                await anyio.sleep(86_400)

        async with anyio.create_task_group() as group:
            group.start_soon(job)
            group.start_soon(job)

    assert cancel_everywhere(daily, backend=backend, how="task").failures == ()
    report = cancel_everywhere(shielded(90_000, 1), backend=backend)
    assert report.failures == ()
    assert max(point.seconds for point in report.points) == 90_000
    report = cancel_everywhere(shielded(90_000, 1), backend=backend, within=86_400, check=False)
    assert {kind for kind, _ in found(report)} == {"slow"}


@both
def test_a_cleanup_that_polls(backend: Any) -> None:
    """Three thousand times."""

    async def fn() -> None:
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            await shielded(0.1, 3_000)()
            raise

    assert cancel_everywhere(fn, backend=backend).failures == ()


@both
def test_the_step_that_ends_it(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit is, it ends in time or hangs; it is never told of as something else."""
    monkeypatch.setattr(_walk, "_TIMES", 0)
    kinds: list[set[tuple[str, str]]] = []
    for most in range(1, 12):
        monkeypatch.setattr(_walk, "_TOO_MANY", most)
        kinds.append(found(cancel_everywhere(shielded(1, 5), backend=backend, check=False)))
    assert kinds == sorted(kinds, key=len, reverse=True)
    assert kinds[0] == {("hung", "it goes on and on")}
    assert kinds[-1] == set()


@both
def test_what_comes_afterwards_has_its_own_measure(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invariant, and what `setup` closes; each is told by its name if it hangs."""
    monkeypatch.setattr(_walk, "_TIMES", 0)
    monkeypatch.setattr(_walk, "_TOO_MANY", 16)
    asked: list[int] = []

    async def holds_at_first(_: object = None) -> None:
        asked.append(1)
        await ticks(10 if len(asked) == 1 else math.inf)

    report = cancel_everywhere(shielded(1, 10), backend=backend, invariant=ticks)
    assert report.failures == ()
    report = cancel_everywhere(shielded(1, 10), backend=backend, invariant=holds_at_first, check=False)
    assert found(report) == {("invariant", "the invariant: it goes on and on")}


def test_a_setup_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by its name, if it is what hangs."""
    monkeypatch.setattr(_walk, "_TIMES", 0)
    monkeypatch.setattr(_walk, "_TOO_MANY", 50)
    asked: list[int] = []

    async def closes_never() -> AsyncIterator[None]:
        yield
        await anyio.sleep_forever()

    async def opens() -> AsyncIterator[None]:
        yield

    async def holds_at_first(_: object) -> None:
        asked.append(1)
        await ticks(1 if len(asked) == 1 else math.inf)

    def report(setup: Any, invariant: Any) -> CancelReport:
        return cancel_everywhere(
            shielded(1, 1), backend="asyncio", setup=setup, invariant=invariant, check=False
        )

    hangs = "what setup closes: nothing can run any more"
    assert found(report(closes_never, lambda _: True)) == {("hung", hangs)}
    assert found(report(closes_never, None)) == {("hung", hangs)}
    goes_on = "the invariant: it goes on and on"
    assert found(report(opens, holds_at_first)) == {("invariant", goes_on)}


def test_timers_without_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that sets itself again is no step of a task, and keeps nobody from hanging."""
    monkeypatch.setattr(_everywhere, "PASSES", 2_000)

    async def fn() -> None:
        def again() -> None:
            loop.call_later(1, again)

        loop = asyncio.get_running_loop()
        again()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await loop.create_future()

    report = cancel_everywhere(fn, backend="asyncio", how="native", check=False)
    assert found(report) == {("hung", "it goes on and on")}
    assert "passes of the loop" in str(report)
