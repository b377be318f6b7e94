"""What reports say of faults that span lines, functions of libraries, errors without a text."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from creche.testing import CancelReport, ExploreError, cancel_everywhere, explore

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def spans(lines: int) -> Any:
    """A function that keeps a lock while it waits in so many lines."""
    body = ["    lock = anyio.Lock()", "    await anyio.sleep(1)", "    await lock.acquire()"]
    body += ["    await task(1)"] * lines + ["    lock.release()", "    await anyio.sleep(1)"]
    names: dict[str, Any] = {"anyio": anyio, "task": anyio.sleep}
    exec(compile("\n".join(["async def spans():", *body]), "spans.py", "exec"), names)  # noqa: S102 - a program of this test's own
    return names["spans"]


def suspected(report: CancelReport) -> list[int]:
    assert report.failures
    return [place.line for place in report.suspects]


def test_a_fault_that_spans_several_lines() -> None:
    """Those where a task was hit only then are told, if they are few."""
    report = cancel_everywhere(spans(1), check=False)
    assert suspected(report) == [5]
    assert "\nin each of these a task was hit at spans.py:5 in spans" in str(report)
    report = cancel_everywhere(spans(3), check=False)
    assert suspected(report) == [5, 6, 7]
    said = "\nin some of these, and in no other run, a task was hit at spans.py:5 in spans, or"
    assert said in str(report)
    report = cancel_everywhere(spans(4), check=False)
    assert suspected(report) == []
    assert "was hit at" not in str(report).partition("point")[0]


@both
def test_a_task_that_is_a_function_of_a_library(backend: Any) -> None:
    """It is called by that, and not by what anyio has put around it."""

    async def fn() -> None:
        event = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(event.wait)
            await anyio.sleep(1)
            event.set()

    points = cancel_everywhere(fn, backend=backend).points
    at = {point.place.function for point in points if point.place is not None and point.task == "wait"}
    assert at == {"Event.wait"}


def test_an_error_without_a_text() -> None:
    """There is no gap where it would be."""

    async def fn() -> None:
        raise anyio.ClosedResourceError from LookupError()

    with pytest.raises(ExploreError, match=r"\n  ClosedResourceError \(from LookupError\), raised at "):
        explore(fn)
