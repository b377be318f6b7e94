"""`cancel_everywhere` raises no false alarm, and not the same one twice."""

from __future__ import annotations

import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from creche.testing import cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@both
def test_an_invariant_that_hangs(backend: Any) -> None:
    """It is one finding, whatever the closing of it raises."""

    async def fn() -> None:
        await anyio.sleep(1)

    async def hangs() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("closed")

    for invariant in (anyio.sleep_forever, hangs):
        report = cancel_everywhere(fn, backend=backend, invariant=invariant, check=False)
        assert len(report.failures) == len(report.points)
        for point in report.failures:
            assert [found.kind for found in point.findings] == ["invariant"]
            assert "nothing can run any more" in point.findings[0].text


@both
def test_the_end_of_an_iterator(backend: Any) -> None:
    """It is an error as others are, unlike that of a generator."""
    seen: list[BaseException] = []

    async def fn() -> None:
        try:
            await anyio.sleep(1)
        except StopAsyncIteration as exc:
            seen.append(exc)
            raise

    end = StopAsyncIteration()
    assert cancel_everywhere(fn, backend=backend, how=end).failures == ()
    assert seen == [end]


@both
def test_what_a_thread_gives_back_when_it_ends(backend: Any) -> None:
    """It is not held if the thread that was abandoned ends soon; what the author keeps is."""
    limiters: list[Any] = []

    async def fn() -> None:
        limiters.append(anyio.CapacityLimiter(1))
        await anyio.to_thread.run_sync(time.sleep, 0.02, abandon_on_cancel=True, limiter=limiters[-1])

    assert cancel_everywhere(fn, backend=backend).failures == ()

    async def keeps() -> None:
        limiter = anyio.CapacityLimiter(1)
        await limiter.acquire()
        await anyio.sleep(1)
        limiter.release()

    report = cancel_everywhere(keeps, backend=backend, check=False)
    assert "CapacityLimiter made at" in str(report)


@both
def test_a_limiter_of_the_loops_own(backend: Any) -> None:
    """It is not the author's who asks for it, also if some of it is taken."""

    async def fn() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        await limiter.acquire_on_behalf_of("me")
        await anyio.sleep(1)

    assert cancel_everywhere(fn, backend=backend).failures == ()
