"""`check_cancelled`: plain code in a thread learns that its call is to stop."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from outcome import Value

from calls import forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Retry,
    SequentialTaskRunner,
    State,
    StopCall,
    ThreadTaskRunner,
    check_cancelled,
)
from creche.instruments import Instrument
from spinning import Spin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

# A call without a time limit goes through its thread without a task, if nobody listens.
paths = pytest.mark.parametrize(
    ("options", "wishes"),
    [({}, {}), ({}, {"timeout": 60}), ({"instruments": [Instrument()]}, {})],
    ids=["light", "timeout", "instruments"],
)
runners = pytest.mark.parametrize("make", [ConcurrentTaskRunner, ThreadTaskRunner])


@pytest.fixture
def spin() -> Spin:
    return Spin()


@runners
@paths
async def test_cancelled_by_its_key(
    make: Any, options: dict[str, Any], wishes: dict[str, Any], spin: Spin
) -> None:
    """It stops at its next question, and the call is CANCELLED with the reason that was given."""
    async with make(**options).start() as runner:
        slot = runner.submit_nowait("k", spin, **wishes)
        await spin.until_begun()
        begin = time.monotonic()
        runner.cancel("k", reason="not needed")
        await runner.wait("k")
        assert time.monotonic() - begin < 5
        assert await runner.submit_nowait("next", lambda: 3) == 3
    assert (slot.state, slot.origin, slot.reason) == (State.CANCELLED, "cancel", "not needed")
    with pytest.raises(CallCancelled):
        slot.result()


@runners
async def test_a_timeout(make: Any, spin: Spin) -> None:
    """FAILED with its time limit, as any call."""
    async with make().start() as runner:
        slot = runner.submit_nowait("k", spin, timeout=0.05)
        await runner.wait("k")
    assert slot.state is State.FAILED
    with pytest.raises(TimeoutError, match="'k' has not ended within its timeout of 0.05"):
        slot.result()


@paths
async def test_an_outer_scope(options: dict[str, Any], wishes: dict[str, Any], spin: Spin) -> None:
    """The scope around the runner reaches code in threads that asks."""
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(**options).start() as runner:
            runner.submit_nowait("k", spin, **wishes)
            await spin.until_begun()
            scope.cancel()
    assert scope.cancelled_caught
    assert runner.slots["k"].origin == "outer"


@paths
async def test_the_body_raises(options: dict[str, Any], wishes: dict[str, Any], spin: Spin) -> None:
    """So does the end of the runner before its time."""
    runner = ConcurrentTaskRunner(**options)
    with pytest.raises(KeyError):
        async with runner.start():
            runner.submit_nowait("k", spin, **wishes)
            await spin.until_begun()
            raise KeyError
    assert runner.slots["k"].origin == "closed"


@paths
async def test_drain(options: dict[str, Any], wishes: dict[str, Any], spin: Spin) -> None:
    """What had its time is cut."""
    async with ConcurrentTaskRunner(**options).start() as runner:
        runner.submit_nowait("k", spin, **wishes)
        await spin.until_begun()
        assert await runner.drain(0.05) == ["k"]
    assert runner.slots["k"].origin == "closed"


async def test_fail_fast(spin: Spin) -> None:
    """A failure beside it, with `on_error="cancel"`."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup):
        async with runner.start():
            runner.submit_nowait("k", spin)
            await spin.until_begun()
            runner.submit_nowait("bad", lambda: 1 / 0)
    assert runner.slots["k"].origin == "closed"


@pytest.mark.parametrize("instruments", [[], [Instrument()]])
async def test_grace(instruments: list[Any], spin: Spin) -> None:
    """Not before the grace is over; a cancellation by key is none of its business."""
    other = Spin()
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(grace=0.3, instruments=instruments).start() as runner:
            runner.submit_nowait("k", spin)
            runner.submit_nowait("other", other)
            await spin.until_begun()
            await other.until_begun()
            begin = time.monotonic()
            scope.cancel()
            runner.cancel("other")
    assert spin.stopped - begin >= 0.29
    assert other.stopped < spin.stopped
    assert runner.slots["k"].origin == "outer"
    assert runner.slots["other"].origin == "cancel"


async def test_a_second_reason_ends_the_grace(spin: Spin) -> None:
    """A body that raises leaves no time."""
    runner = ConcurrentTaskRunner(grace=30)
    with pytest.raises(KeyError):
        async with runner.start():
            runner.submit_nowait("k", spin)
            await spin.until_begun()
            raise KeyError
    assert runner.slots["k"].origin == "closed"


async def test_it_does_nothing_elsewhere() -> None:
    """Outside of calls, in async code, in calls that go on: nothing happens."""
    check_cancelled()
    await anyio.to_thread.run_sync(check_cancelled)

    async def on_loop() -> None:
        check_cancelled()
        try:
            await anyio.sleep_forever()
        finally:
            check_cancelled()

    async def on_own_loop() -> int | None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            check_cancelled()
            return 3
        return None

    def plain() -> int:
        check_cancelled()
        return 2

    async with ConcurrentTaskRunner().start() as runner:
        assert await runner.submit_nowait("plain", plain) == 2
        assert await runner.submit_nowait("plain on the loop", plain, place="loop") == 2
        slots = [
            runner.submit_nowait("a", on_loop),
            runner.submit_nowait("b", on_own_loop, place="thread"),
        ]
        await anyio.sleep(0.1)
        for slot in slots:
            runner.cancel(slot)
    assert slots[0].origin == "cancel"
    assert slots[1].result() == 3


async def test_async_code_that_a_call_in_a_thread_has_started(spin: Spin) -> None:
    """On the loop it does nothing, though the call in the thread is to stop."""
    seen: list[str] = []
    runner = ConcurrentTaskRunner()

    async def on_loop() -> None:
        runner.cancel("k")
        check_cancelled()
        seen.append("loop")

    def plain() -> None:
        anyio.from_thread.run(on_loop)
        check_cancelled()
        seen.append("thread")

    async with runner.start():
        slot = runner.submit_nowait("k", plain)
    assert seen == ["loop"]
    assert slot.origin == "cancel"


async def test_code_that_outlives_its_call() -> None:
    """A thread that a call has started, and that goes on after it, is nobody's."""
    seen: list[str] = []
    go_on = threading.Event()

    def plain(context: Any) -> None:
        def later() -> None:
            go_on.wait(10)
            check_cancelled()
            seen.append("later")

        thread = threading.Thread(target=context().run, args=(later,))
        thread.start()
        threads.append(thread)

    threads: list[threading.Thread] = []
    async with ConcurrentTaskRunner().start() as runner:
        await runner.submit_nowait("k", plain, contextvars.copy_context)
        runner.cancel("k")
        go_on.set()
        await anyio.to_thread.run_sync(threads[0].join)
    assert seen == ["later"]


@paths
@pytest.mark.parametrize("make", [ConcurrentTaskRunner, ThreadTaskRunner, SequentialTaskRunner])
async def test_a_stop_that_nobody_asked_for(
    make: Any, options: dict[str, Any], wishes: dict[str, Any]
) -> None:
    """Raised by hand: contained, as a stray cancellation is, and all others go on."""

    def stop() -> None:
        raise StopCall

    async with make(**options).start() as runner:
        slot = runner.submit_nowait("k", stop, **wishes)
        other = runner.submit_nowait("other", give, 2)
        assert await other == 2
        await runner.wait(slot)
    assert (slot.state, slot.origin) == (State.CANCELLED, "foreign")


async def test_a_stop_by_hand_in_async_code() -> None:
    """The same; and one that comes with a cancelled scope around the run does not travel."""

    async def stop() -> None:
        raise StopCall

    async def stop_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise StopCall

    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner().start() as runner:
            first = runner.submit_nowait("a", stop)
            second = runner.submit_nowait("b", stop_when_cancelled)
            runner.submit_nowait("c", forever)
            await settle_down()
            scope.cancel()
    assert scope.cancelled_caught
    assert (first.origin, second.origin) == ("foreign", "outer")


@pytest.mark.parametrize("retries", [0, 1])
async def test_late_by_the_clock_of_its_thread(monkeypatch: pytest.MonkeyPatch, retries: int) -> None:
    """A call that has seen by itself that it is late has failed; of several attempts, that one."""
    asked = 0

    def ask() -> int:
        nonlocal asked
        asked += 1
        # The loop has not come to it yet: there it is long until then.
        ahead = 1000 if asked == 1 else 0
        monkeypatch.setattr("creche._carrier.monotonic", lambda: time.monotonic() + ahead)
        check_cancelled()
        return asked

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", ask, timeout=100, retry=Retry(retries, delay=0))
        outcome = await runner.wait("k", timeout=10)
    if retries:
        assert outcome == Value(2)
        assert slot.attempt == 2
    else:
        assert isinstance(slot.peek_error(), TimeoutError)
        assert slot.state is State.FAILED
