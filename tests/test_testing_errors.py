"""Where `cancel_everywhere` injects an error, and what it makes of the one that comes out."""

from __future__ import annotations

import asyncio
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


async def waits_for_a_future() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(1, future.set_result, None)
    await asyncio.wait_for(future, 2)


async def gathers_a_future() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(1, future.set_result, None)
    await asyncio.gather(future)


@pytest.mark.parametrize("fn", [waits_for_a_future, gathers_a_future])
def test_what_waits_for_a_future(fn: Any) -> None:
    """It raises what that does."""
    report = cancel_everywhere(fn, backend="asyncio", how=BROKEN)
    assert waits(report) == 1


async def waits_until_it_has_ended() -> None:
    task = asyncio.create_task(asyncio.sleep(1))
    done, _ = await asyncio.wait([task])
    assert task in done
    await task


async def waits_for_it() -> None:
    await asyncio.wait_for(asyncio.sleep(1), 2)


async def waits_too_long_for_it() -> None:
    try:
        await asyncio.wait_for(asyncio.sleep(2), 1)
    except TimeoutError:
        return


async def gathers() -> None:
    await asyncio.gather(asyncio.sleep(1))


async def takes_as_they_come() -> None:
    for one in asyncio.as_completed([asyncio.sleep(1)]):
        await one


@pytest.mark.parametrize(
    "fn",
    [
        waits_until_it_has_ended,
        waits_for_it,
        waits_too_long_for_it,
        gathers,
        takes_as_they_come,
    ],
)
def test_what_waits_for_tasks(fn: Any) -> None:
    """It raises nothing before one of them has; the error comes from there."""
    report = cancel_everywhere(fn, backend="asyncio", how=BROKEN)
    assert waits(report) == 1


@both
def test_a_group_that_is_injected(backend: Any) -> None:
    """It may come out as it is, in the group of a nursery, in parts, or as the cause of another."""
    group = ExceptionGroup("both", [BROKEN, ExceptionGroup("one", [ValueError("bad")])])

    async def lets_it_out() -> None:
        await anyio.sleep(1)

    async def in_a_nursery() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 1)

    async def in_parts() -> None:
        try:
            await anyio.sleep(1)
        except* OSError:
            pass

    async def as_a_cause() -> None:
        try:
            await anyio.sleep(1)
        except ExceptionGroup as exc:
            raise LookupError from exc

    for fn in (lets_it_out, in_a_nursery, in_parts, as_a_cause):
        report = cancel_everywhere(fn, backend=backend, how=group)
        assert waits(report) > 0


@both
def test_another_error_beside_it(backend: Any) -> None:
    """It is told of, also if it is equal, and in the same group."""

    class AnyError(Exception):
        def __eq__(self, _: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    async def fn() -> None:
        try:
            await anyio.sleep(1)
        except ExceptionGroup as exc:
            raise ExceptionGroup("more", [*exc.exceptions, AnyError("other")]) from None

    report = cancel_everywhere(fn, backend=backend, how=ExceptionGroup("", [BROKEN]), check=False)
    found = {str(one) for point in report.failures for one in point.findings}
    assert len(found) == 1
    assert found.pop().startswith("raised: AnyError: other")
