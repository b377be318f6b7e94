"""What a task had open when it was cancelled is seen as left, also if nobody keeps its error."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from creche import ConcurrentTaskRunner
from creche.testing import cancel_everywhere

Child = Callable[[], Coroutine[Any, Any, None]]


async def forgets() -> None:
    file = Path(os.devnull).open(encoding="utf-8")  # noqa: ASYNC230, SIM115 - left open on purpose
    await anyio.sleep(1)  # the bug
    file.close()


async def closes() -> None:
    with Path(os.devnull).open(encoding="utf-8"):  # noqa: ASYNC230 - of a device
        await anyio.sleep(1)


async def in_a_group(child: Child) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(child)
        group.start_soon(child)


async def in_a_native_group(child: Child) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child())


async def in_a_runner(child: Child) -> None:
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait(1, child)
        runner.submit_nowait(2, child)


@pytest.mark.parametrize("how", ["scope", "task"])
@pytest.mark.parametrize("parent", [in_a_group, in_a_runner])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_file_of_a_child(backend: Any, parent: Any, how: Any) -> None:
    """Nobody keeps its error, and the file would be closed by chance: as nobody has it any more."""
    report = cancel_everywhere(lambda: parent(forgets), backend=backend, how=how, check=False)
    assert {found.kind for one in report.failures for found in one.findings} == {"left"}
    assert "forgets" in [one.function for one in report.suspects]
    assert not cancel_everywhere(lambda: parent(closes), backend=backend, how=how).failures


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_socket_of_an_attempt_that_failed(backend: Any) -> None:
    """The error is caught, and tried again."""

    async def attempt() -> None:
        one = socket.socket()
        await anyio.sleep(1)
        one.close()

    async def fn() -> None:
        try:
            await attempt()
        except OSError:
            await anyio.sleep(1)
            await attempt()

    report = cancel_everywhere(fn, backend=backend, how=OSError("refused"), check=False)
    first = report.failures[0]
    assert first.place is not None
    assert first.place.function.endswith("attempt")
    assert [found.kind for found in first.findings] == ["left"]


def test_a_lock_that_a_generator_has_is_looked_at_when_that_is_gone() -> None:
    """Asyncio closes a generator that nobody has any more, and that lets go of the lock."""

    async def fn() -> None:
        lock = asyncio.Lock()

        async def numbers() -> AsyncIterator[int]:
            async with lock:
                yield 1
                yield 2

        async def child() -> None:
            async for _ in numbers():
                await anyio.sleep(1)

        async with anyio.create_task_group() as group:
            group.start_soon(child)

    assert not cancel_everywhere(fn, backend="asyncio").failures


@pytest.mark.parametrize("how", ["scope", OSError("refused")])
@pytest.mark.parametrize(
    ("parent", "backend"),
    [(in_a_group, "trio"), (in_a_group, "asyncio"), (in_a_native_group, "asyncio")],
)
def test_what_was_left_is_gone_with_the_run(backend: Any, parent: Any, how: Any) -> None:
    """The injected error does not keep it, and no later test gets the warning that it is closed."""
    files: list[weakref.ref[Any]] = []

    async def forgets() -> None:
        file = Path(os.devnull).open(encoding="utf-8")  # noqa: ASYNC230, SIM115 - left open on purpose
        files.append(weakref.ref(file))
        await anyio.sleep(1)
        file.close()

    gc.disable()
    try:
        assert cancel_everywhere(lambda: parent(forgets), backend=backend, how=how, check=False).failures
        assert {file() for file in files} == {None}
    finally:
        gc.enable()
