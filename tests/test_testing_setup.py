"""`cancel_everywhere` within what `setup` opens and closes; and where an error is injected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from creche import ConcurrentTaskRunner
from creche.testing import cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@both
def test_a_setup_that_closes_what_it_opens(backend: Any) -> None:
    """In the task of the function, after the invariant; what it opens is not left."""
    seen: list[str] = []

    async def around() -> AsyncIterator[Any]:
        seen.append("set up")
        async with ConcurrentTaskRunner(2).start() as runner:
            yield runner
        seen.append("closed")

    async def fn(runner: Any) -> None:
        await runner.submit("a", anyio.sleep, 1)
        await runner.wait("a")

    async def goes_on(runner: Any) -> None:
        seen.append("held")
        assert await runner.map(anyio.sleep, [1, 1], return_outcomes=True)

    report = cancel_everywhere(fn, backend=backend, setup=around, invariant=goes_on)
    assert report.total > 3
    assert seen == ["set up", "held", "closed"] * len(report.points)

    files: list[Any] = []

    async def forgetful() -> AsyncIterator[None]:
        files.append(Path(__file__).open())  # noqa: ASYNC230, SIM115 - left open on purpose
        yield

    async def sleeps(_: None) -> None:
        await anyio.sleep(1)

    report = cancel_everywhere(sleeps, backend=backend, setup=forgetful, check=False)
    for file in files:
        file.close()
    assert {found.kind for point in report.points for found in point.findings} == {"left"}


@both
def test_a_setup_that_fails_to_close(backend: Any) -> None:
    """What it raises is told, but for the injected error; before the run it comes out."""

    async def around() -> AsyncIterator[None]:
        yield
        raise LookupError("no way out") from OSError("shut")

    async def fn(_: None) -> None:
        await anyio.sleep(1)

    report = cancel_everywhere(fn, backend=backend, setup=around, check=False)
    assert "raised: what setup closes: LookupError: no way out (from OSError: shut), raised at" in str(
        report
    )
    broken = OSError("broken")

    async def nursery() -> AsyncIterator[Any]:
        async with anyio.create_task_group() as group:
            yield group
            group.cancel_scope.cancel()

    async def starts(group: Any) -> None:
        group.start_soon(anyio.sleep, 1)
        await anyio.sleep(2)

    report = cancel_everywhere(starts, backend=backend, how=broken, setup=nursery)
    assert report.failures == ()
    assert report.total > 1

    async def fails() -> AsyncIterator[None]:
        raise LookupError("no way in")
        yield

    with pytest.raises(LookupError, match="no way in"):
        cancel_everywhere(fn, backend=backend, setup=fails)


@both
def test_an_error_is_injected_where_one_can_come(backend: Any) -> None:
    """Not where creche parks a task, nor where others tell one of something."""

    async def fn() -> None:
        event = anyio.Event()
        async with ConcurrentTaskRunner().start() as runner, anyio.create_task_group() as group:
            slot = runner.submit_nowait("a", anyio.sleep, 1)
            group.start_soon(event.wait)
            await slot
            event.set()

    report = cancel_everywhere(fn, backend=backend, how=OSError("broken"), check=False)
    assert {(point.task, point.moment) for point in report.points[1:]} == {("creche carrier", "waiting")}
    assert report.failures == ()
