"""`cancel_everywhere(how="task")` cancels tasks of the program, and none that asyncio has for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from creche.testing import cancel_everywhere


class Nap:
    """What can be awaited, and is no coroutine."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(1).__await__()


def test_the_tasks_of_a_child_process() -> None:
    """Without the one that connects its pipes its start hangs; nobody but asyncio has that."""

    async def fn() -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        try:
            await process.communicate(b"x")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    report = cancel_everywhere(fn, backend="asyncio", how="task")
    assert {point.task for point in report.points} == {"", "main"}


def test_tasks_that_the_program_makes_of_what_asyncio_has() -> None:
    """They are the program's, also what it has wrapped."""

    async def fn() -> None:
        event = asyncio.Event()
        tasks: list[Any] = [
            asyncio.create_task(asyncio.sleep(1)),
            asyncio.create_task(event.wait()),
            asyncio.ensure_future(Nap()),
        ]
        try:
            await asyncio.wait(tasks, timeout=2)
        finally:
            for task in tasks:
                task.cancel()

    report = cancel_everywhere(fn, backend="asyncio", how="task")
    assert {point.task for point in report.points} >= {"main", "sleep", "wait", "_wrap_awaitable"}
