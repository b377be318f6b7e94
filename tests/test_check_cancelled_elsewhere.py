"""`check_cancelled` under a sequential runner, an executor, a flow; and where clocks differ."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import anyio
import pytest
import sniffio

from calls import forever
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    State,
    StopCall,
    ThreadTaskRunner,
    check_cancelled,
    flow,
    task,
)
from creche._far._stop import CURRENT, Stop
from spinning import Spin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


@pytest.fixture
def spin() -> Spin:
    return Spin()


@pytest.mark.parametrize("way", ["key", "timeout", "outer", "body"])
async def test_a_sequential_runner(way: str, spin: Spin) -> None:
    """Inside a submit, in each way of ending it."""
    runner = SequentialTaskRunner()

    async def cancel(scope: anyio.CancelScope) -> None:
        await spin.until_begun()
        if way == "key":
            runner.cancel("k")
        if way == "outer":
            scope.cancel()

    with anyio.CancelScope() as scope:
        async with runner.start(), anyio.create_task_group() as group:
            group.start_soon(cancel, scope)
            if way == "body":
                runner.submit_nowait("k", spin)
                await spin.until_begun()
                group.cancel_scope.cancel()
                runner.cancel("k")
            else:
                await runner.submit("k", spin, timeout=0.1 if way == "timeout" else None)
    slot = runner.slots["k"]
    if way == "timeout":
        assert slot.state is State.FAILED
    else:
        assert slot.origin == ("outer" if way == "outer" else "cancel")


@pytest.mark.parametrize("abandons", [False, True])
async def test_a_scope_around_a_sequential_submit(spin: Spin, *, abandons: bool) -> None:
    """It is seen though the run goes on; so is asyncio's own cancellation, which cancels no scope."""
    runner = SequentialTaskRunner()
    if abandons:
        runner._options = runner._options._replace(abandon_on_cancel=True)
    async with runner.start():
        with anyio.move_on_after(0.1) as scope:
            await runner.submit("k", spin)
        assert scope.cancelled_caught
        assert runner.slots["k"].origin == "outer"
        late = await runner.submit("late", time.sleep, 0.01)
        assert late.result() is None
        with pytest.raises(TimeoutError):
            await asyncio_timeout(0.1, runner.submit("native", spin))
        assert runner.slots["native"].origin == "outer"
        assert (await runner.submit("next", lambda: 3)).result() == 3


async def asyncio_timeout(seconds: float, awaitable: Any) -> None:
    """`asyncio.wait_for`, or on trio what is like it."""
    if sniffio.current_async_library() == "trio":
        with anyio.fail_after(seconds):
            await awaitable
    else:
        async with asyncio.timeout(seconds):
            await awaitable


async def test_an_executor(spin: Spin) -> None:
    """Its futures cannot be cancelled while they run; the runner can cancel the call all the same."""
    async with ConcurrentTaskRunner().start() as runner:
        future = runner.as_executor(name="f").submit(spin)
        await spin.until_begun()
        assert not future.cancel()
        (key,) = runner.slots
        runner.cancel(key)
        await runner.until_idle()
        with pytest.raises(CallCancelled):
            future.result()


async def test_flows(spin: Spin) -> None:
    """A task of a flow is a call."""

    @flow(task_runner=ConcurrentTaskRunner())
    async def body() -> Any:
        task(spin.__call__).submit()
        await spin.until_begun()
        with anyio.move_on_after(0.05):
            await forever()
        raise KeyError

    with pytest.raises(KeyError):
        await body()
    assert spin.stopped


async def test_it_costs_little() -> None:
    """It may be called in a loop: it goes through a few functions each time."""

    def many() -> int:
        calls = 0

        def count(_frame: object, event: str, _arg: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            for _ in range(100):
                check_cancelled()
        finally:
            sys.setprofile(None)
        return calls

    async with ThreadTaskRunner().start() as runner:
        assert await runner.submit_nowait("k", many) <= 600


async def test_a_thread_whose_clock_is_early(monkeypatch: pytest.MonkeyPatch, spin: Spin) -> None:
    """By its clock the time is over, by that of the loop it is not: it has FAILED all the same."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", spin, timeout=1000)
        await spin.until_begun()
        monkeypatch.setattr("creche._carrier.monotonic", lambda: time.monotonic() + 2000)
        await runner.wait("k")
        monkeypatch.undo()
    assert slot.state is State.FAILED
    with pytest.raises(TimeoutError):
        slot.result()


def test_on_the_far_side() -> None:
    """Where the body of a call runs in another process, that is asked."""
    stop = Stop()
    token = CURRENT.set(stop)
    try:
        check_cancelled()
        stop.set()
        with pytest.raises(StopCall):
            check_cancelled()
    finally:
        CURRENT.reset(token)
    check_cancelled()
