"""A run that was cancelled and waits for a function in a thread says so."""

from __future__ import annotations

import logging
import threading
import time

import anyio
import pytest

import creche._lingering
from calls import forever
from creche import ConcurrentTaskRunner, SequentialTaskRunner, ThreadTaskRunner

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, real_time: None) -> None:
    """It is said soon."""
    monkeypatch.setattr(creche._lingering, "PATIENCE", 0.05)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


def wait_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """In a thread; not for ever."""
    for _ in range(1000):
        if warnings_of(caplog):
            break
        time.sleep(0.01)


@pytest.mark.parametrize("make", [ConcurrentTaskRunner, ThreadTaskRunner])
async def test_a_thread_that_holds_up_the_end_is_named(
    make: type[ConcurrentTaskRunner], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with what to do about it; the run ends when the thread does."""
    begun = threading.Event()

    def stubborn() -> None:
        begun.set()
        wait_for_a_warning(caplog)

    async with anyio.create_task_group() as group:

        async def run() -> None:
            async with make().start() as runner:
                await runner.submit("stubborn", stubborn)
                await anyio.sleep_forever()

        group.start_soon(run)
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    (said,) = warnings_of(caplog)
    assert "stop" in said
    assert "'stubborn'" in said
    assert "check_cancelled" in said
    assert "abandon_on_cancel=True" in said


async def test_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Ten keys are enough."""
    waiting = threading.Semaphore(0)

    def stubborn() -> None:
        waiting.release()
        wait_for_a_warning(caplog)

    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(12).start() as runner:
            for n in range(12):
                runner.submit_nowait(n, stubborn)
            for _ in range(12):
                await anyio.to_thread.run_sync(waiting.acquire)
            scope.cancel()
    (said,) = warnings_of(caplog)
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more;" in said


@pytest.mark.parametrize("abandons", [False, True])
async def test_nothing_is_said_otherwise(caplog: pytest.LogCaptureFixture, *, abandons: bool) -> None:
    """Of a thread that ends in time, of one that is left behind, and where there is none."""
    begun, go = threading.Event(), threading.Event()

    def body() -> None:
        begun.set()
        go.wait(5 if abandons else 0.001)

    with anyio.CancelScope() as scope:
        async with ThreadTaskRunner(abandon_on_cancel=abandons).start() as runner:
            runner.submit_nowait("on the loop", forever)
            runner.submit_nowait("in a thread", body)
            await anyio.to_thread.run_sync(begun.wait)
            scope.cancel()
    await anyio.sleep(0.1)
    go.set()
    assert not [said for said in warnings_of(caplog) if "waits for" in said]
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]


@pytest.mark.parametrize("ends_in_time", [False, True])
async def test_a_submit_that_a_thread_holds_up(
    caplog: pytest.LogCaptureFixture, *, ends_in_time: bool
) -> None:
    """A sequential runner runs the call inside the submit: that one says so, and the run goes on."""

    def stubborn() -> None:
        if ends_in_time:
            time.sleep(0.02)
        else:
            wait_for_a_warning(caplog)

    async with SequentialTaskRunner().start() as runner:
        with anyio.move_on_after(0.01) as scope:
            await runner.submit("stubborn", stubborn)
        assert scope.cancel_called
        assert (await runner.submit("next", len, "abc")).result() == 3
    await anyio.sleep(0.1)
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    if ends_in_time:
        assert warnings_of(caplog) == []
    else:
        (said,) = warnings_of(caplog)
        assert "runner 'sequential' has a submit that was cancelled 0.05 seconds ago" in said
        assert "'stubborn'" in said
