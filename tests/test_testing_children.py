"""`cancel_everywhere` finds a child that swallows the cancellation, whoever has handed it on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import anyio
import pytest
import trio

from creche import ConcurrentTaskRunner
from creche.testing import CancelReport, cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])
scopes = pytest.mark.parametrize("how", ["scope", "fail_after"])


def kinds(report: CancelReport) -> set[str]:
    return {found.kind for point in report.failures for found in point.findings}


async def swallows() -> None:
    with suppress(BaseException):
        await anyio.sleep(1)


async def lets_through() -> None:
    try:
        await anyio.sleep(1)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        raise


async def swallows_natively() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)


async def raises_natively() -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:  # noqa: TRY203 - the twin of the other
        raise


async def in_a_task_group(child: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(child)
        group.start_soon(anyio.sleep, 2)


async def alone(child: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(child)


async def below_another(child: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(alone, child)


async def in_a_group_of_asyncios(child: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(2)


async def below_a_group_of_asyncios(child: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(in_a_group_of_asyncios(child))


async def awaited(child: Any) -> None:
    await asyncio.create_task(child())


async def gathered(child: Any) -> None:
    await asyncio.gather(child(), asyncio.sleep(2))


@both
@scopes
@pytest.mark.parametrize("parent", [in_a_task_group, alone, below_another])
def test_a_child_of_a_task_group(parent: Any, how: Any, backend: Any) -> None:
    """It is cancelled by the scope around the function; its line is told."""

    async def fn(child: Any) -> None:
        await parent(child)

    report = cancel_everywhere(fn, backend=backend, how=how, setup=lambda: swallows, check=False)
    assert kinds(report) == {"swallowed"}
    line = swallows.__code__.co_firstlineno + 2
    said = (
        f"swallowed: task 'swallows' was cancelled at tests/test_testing_children.py:{line} in swallows"
    )
    assert f"{said}, and returned as if it had not been" in str(report)
    assert line in {place.line for place in report.suspects}
    assert not cancel_everywhere(fn, backend=backend, how=how, setup=lambda: lets_through).failures


@pytest.mark.parametrize("how", ["scope", "fail_after", "native", "ctrl_c"])
@pytest.mark.parametrize(
    "parent", [in_a_group_of_asyncios, below_a_group_of_asyncios, awaited, gathered]
)
def test_a_child_that_is_cancelled_natively(parent: Any, how: Any) -> None:
    """By the task that waits for it, or by the group that is left."""

    async def fn(child: Any) -> None:
        await parent(child)

    report = cancel_everywhere(
        fn, backend="asyncio", how=how, setup=lambda: swallows_natively, check=False
    )
    assert kinds(report) == {"swallowed"}
    assert "task 'swallows_natively' was cancelled at" in str(report)
    twin = cancel_everywhere(fn, backend="asyncio", how=how, setup=lambda: raises_natively)
    assert twin.failures == ()


@both
@scopes
def test_children_that_are_cancelled_by_others(how: Any, backend: Any) -> None:
    """By the program itself, or not at all: what they make of that is its affair."""

    async def fn() -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                group.start_soon(swallows)
                group.start_soon(anyio.sleep, 2)
            async with anyio.create_task_group() as group:
                group.start_soon(swallows)
                group.cancel_scope.cancel()
        await anyio.sleep(1)

    assert cancel_everywhere(fn, backend=backend, how=how).failures == ()


async def stops_its_worker() -> None:
    worker = asyncio.create_task(swallows_natively())
    try:
        await asyncio.sleep(2)
    finally:
        worker.cancel()
        await worker


async def stops_its_worker_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(swallows_natively())
        try:
            await asyncio.sleep(2)
        finally:
            worker.cancel()


async def loses_another_child() -> None:
    failed: list[int] = []

    async def fails() -> None:
        await asyncio.sleep(0.5)
        failed.append(1)
        raise LookupError

    async def swallows_then() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            if not failed:
                raise

    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(swallows_then())


@pytest.mark.parametrize(
    ("fn", "how"),
    [
        (stops_its_worker, "scope"),
        (stops_its_worker, "native"),
        (stops_its_worker_in_a_group, "scope"),
        (stops_its_worker_in_a_group, "native"),
        (loses_another_child, "scope"),
    ],
)
def test_tasks_that_are_cancelled_by_others(fn: Any, how: Any) -> None:
    """The same, natively, also if that is when their parent is cancelled."""

    async def around() -> None:
        await fn()
        await asyncio.sleep(1)

    assert cancel_everywhere(around, backend="asyncio", how=how).failures == ()


@both
def test_what_a_library_makes_of_its_tasks(backend: Any) -> None:
    """The carriers of a runner end as always: they have put down what came of the call."""

    async def fn() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            runner.submit_nowait("a", anyio.sleep, 1)
            await anyio.sleep(2)

    assert cancel_everywhere(fn, backend=backend).failures == ()


def test_a_child_that_trio_has_not_begun() -> None:
    """It is cancelled at its first wait."""

    async def fn() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallows)
            await trio.lowlevel.checkpoint()

    report = cancel_everywhere(fn, check=False)
    assert kinds(report) == {"swallowed"}
