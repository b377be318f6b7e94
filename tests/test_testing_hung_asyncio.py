"""A run on asyncio that hangs and is not the kit's own: who raises the error, and how it goes on."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio
import pytest
from anyio._backends._asyncio import TestRunner as AnyiosRunner
from outcome import Error

from creche import ConcurrentTaskRunner
from creche.testing import HungError, VirtualTimeLoop, run_virtual, virtual_time

Main = Callable[[], Coroutine[Any, Any, None]]


async def waits() -> None:
    await asyncio.Event().wait()


async def catches() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except Exception:  # noqa: S112 - the bug
            continue


async def sleeps() -> None:
    await anyio.sleep(3600)


async def in_a_group_of_anyios() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(waits)
        group.start_soon(anyio.sleep_forever)


async def in_a_group_of_asyncios() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeps())
        group.create_task(waits())


async def in_a_gathering() -> None:
    await asyncio.gather(sleeps(), waits())


async def in_a_task() -> None:
    await asyncio.create_task(waits())


class Awaited:
    """What is no coroutine, and can be awaited."""

    def __await__(self) -> Generator[Any, None, None]:
        return waits().__await__()


def run(fn: Main) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(fn())


def in_waits(error: BaseException) -> bool:
    """Whether it was raised there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not waits.__code__:
        trace = trace.tb_next
    return trace is not None


def test_where_the_main_task_waits() -> None:
    """It raises the error there, as it comes; what is around it may clean up."""
    seen: list[str] = []

    async def main() -> None:
        try:
            await waits()
        finally:
            await asyncio.sleep(3600)
            seen.append("cleaned up")

    with pytest.raises(HungError, match=r"main: waits in Event.wait, at .*_hung_asyncio.py:") as caught:
        run(main)
    assert in_waits(caught.value)
    assert seen == ["cleaned up"]


@pytest.mark.parametrize(
    "fn",
    [in_a_group_of_anyios, in_a_group_of_asyncios, in_a_gathering, in_a_task],
    ids=lambda fn: fn.__name__,
)
def test_where_those_wait_that_are_waited_for(fn: Main) -> None:
    """The first that waits for a future raises it, and the others end as after any error."""
    with pytest.raises((HungError, ExceptionGroup)) as caught:
        run(fn)
    error: BaseException = caught.value
    if isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, HungError)
    assert in_waits(error)


def test_a_call_of_a_runner() -> None:
    """That fails, and the runner is left."""

    async def main() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            slot = runner.submit_nowait("waits", waits)
        assert isinstance(slot.outcome, Error)
        assert isinstance(slot.outcome.error, HungError)

    run(main)


def test_one_that_catches_it(caplog: pytest.LogCaptureFixture) -> None:
    """It comes out of the loop in the end, and nothing is heard of it afterwards."""
    with pytest.raises(HungError, match="catches: waits in Event.wait"):
        run(catches)
    gc.collect()
    assert caplog.records == []


def test_two_that_wait_for_each_other() -> None:
    """Nobody can be told."""

    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []

        async def other(number: int) -> None:
            await tasks[number]

        tasks.extend(asyncio.create_task(other(1 - number)) for number in range(2))
        await tasks[0]

    loop = VirtualTimeLoop()  # a runner would cancel them, which asyncio does in a circle
    with pytest.raises(HungError, match="nothing can run"):
        loop.run_until_complete(main())
    loop.close()
    with pytest.raises(HungError, match="nothing can run") as caught:
        run_virtual(main, backend="asyncio")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "  main",
        "    other",
        "      other",
    ]


def test_a_loop_that_runs_for_ever() -> None:
    """There is no task that it is run for."""
    loop = VirtualTimeLoop()
    task = loop.create_task(waits())
    with pytest.raises(HungError, match="nothing can run"):
        loop.run_forever()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    with pytest.raises(HungError, match="nothing can run"):
        loop.run_until_complete(Awaited())
    loop.close()


def test_under_anyios_plugin() -> None:
    """The test fails, and the next one runs on the same loop; also after one that catches the error."""
    _, options = virtual_time("asyncio")
    tests: list[Any] = [waits, sleeps, catches, sleeps, in_a_group_of_anyios, sleeps]
    failed: list[bool] = []
    with AnyiosRunner(**options) as runner:
        for test in tests:
            try:
                runner.run_test(test, {})
            except (HungError, ExceptionGroup):
                failed.append(True)
            else:
                failed.append(False)
    assert failed == [True, False, True, False, True, False]
    gc.collect()
