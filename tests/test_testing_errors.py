"""Where `cancel_everywhere` injects an error, and what it makes of the one that comes out."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from creche import ConcurrentTaskRunner
from creche.testing import CancelReport, cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])
BROKEN = OSError("broken")


def written_in(file: str, source: str, name: str = "fn", **names: Any) -> Any:
    """A function of a program in that file."""
    exec(compile(source, file, "exec"), names)  # noqa: S102 - a program of this test's own
    return names[name]


def waits(report: CancelReport) -> int:
    """How many points there are at which a task waits."""
    return sum(point.moment == "waiting" for point in report.points[1:])


@pytest.mark.parametrize(
    "file",
    [
        "locks.py",
        "/home/me/taskgroups.py",
        "/home/me/user_locks.py",
        "/home/me/anyio/_backends/_asyncio.py",
    ],
)
def test_a_file_of_a_name_that_asyncio_has_too(file: str) -> None:
    """What is awaited there can fail, as anywhere in a program."""
    source = """
import asyncio

async def fn():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(1, future.set_result, None)
    await future
"""
    assert waits(cancel_everywhere(written_in(file, source), backend="asyncio", how=BROKEN)) == 1


@both
@pytest.mark.parametrize("folder", ["trio", "asyncio"])
def test_a_folder_of_the_name_of_a_loop(folder: str, backend: Any) -> None:
    """What is in it is not the loop's; called by creche, it is not creche that waits there."""
    source = """
async def fn():
    await sleep(1)
"""
    file = f"/opt/site-packages/redis/{folder}/client.py"
    work = written_in(file, source, sleep=anyio.sleep)

    async def fn() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            slot = await runner.submit("a", work)
            await slot

    report = cancel_everywhere(fn, backend=backend, how=BROKEN)
    assert file in {point.place.file for point in report.points if point.place is not None}
