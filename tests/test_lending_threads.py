"""Plain calls that wait in their threads: places and threads are lent as they are on the loop."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from outcome import Value

from calls import Gate, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, Slot, flow, task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(1), ConcurrentTaskRunner(2)])
async def test_plain_calls_that_wait_in_their_threads(runner: ConcurrentTaskRunner) -> None:
    """They submit through their loop, and block on slots: places and threads are lent alike."""
    runner = runner.duplicate()

    def at_depth(depth: int) -> int:
        if depth == 0:
            return 1
        slots = [
            anyio.from_thread.run_sync(runner.submit_nowait, None, at_depth, depth - 1) for _ in range(2)
        ]
        assert slots[0].result(timeout=60) == 2 ** (depth - 1)
        return slots[0].result() + slots[1].result()

    with anyio.fail_after(60):
        async with runner.start():
            slot = runner.submit_nowait("top", at_depth, 4)
    assert slot.result() == 16


async def test_more_waiting_threads_than_an_unbounded_runner_has() -> None:
    """A thread that waits for another call does not count among the 40."""
    runner = ConcurrentTaskRunner()

    def inner(n: int) -> int:
        return n

    def outer(n: int) -> int:
        slot = anyio.from_thread.run_sync(runner.submit_nowait, f"inner {n}", inner, n)
        return slot.result()

    with anyio.fail_after(60):
        async with runner.start():
            slots = [runner.submit_nowait(n, outer, n) for n in range(45)]
    assert [slot.result() for slot in slots] == list(range(45))


async def test_a_timed_wait_in_a_thread() -> None:
    """When the time passes, the call goes on without its place."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()

    def submit_gate() -> Slot[Any]:
        return runner.submit_nowait("gate", gate)

    def outer() -> str:
        slot: Slot[Any] = anyio.from_thread.run_sync(submit_gate)
        with pytest.raises(TimeoutError):
            slot.result(timeout=0.02)
        anyio.from_thread.run_sync(gate.open.set)
        slot.result()
        assert slot.block(None)
        return "back"

    with anyio.fail_after(60):
        async with runner.start():
            assert await runner.submit_nowait("outer", outer) == "back"
            assert await runner.submit_nowait("next", give, 1) == 1


async def test_waiting_in_a_circle_through_a_thread() -> None:
    """A call on the loop that waits for one in a thread, and the other way round."""
    runner = ConcurrentTaskRunner(2)
    begun = threading.Event()

    def in_thread() -> Any:
        begun.set()
        return runner.slots["loop"].result()

    async def on_loop() -> Any:
        await anyio.to_thread.run_sync(begun.wait)
        return await runner.result("thread")

    with anyio.fail_after(60):
        async with runner.start():
            runner.submit_nowait("loop", on_loop)
            runner.submit_nowait("thread", in_thread)
    errors = [str(slot.outcome.error) for slot in runner.slots.values()]  # type: ignore  # they have failed
    assert all("waits for itself through" in error for error in errors)


async def test_a_call_that_waits_for_a_thread_is_cancelled() -> None:
    """The 40 threads of an unbounded runner are taken: it leaves the line, and the rest goes on."""
    runner = ConcurrentTaskRunner()
    go_on = threading.Event()
    async with runner.start():
        for n in range(40):
            runner.submit_nowait(n, go_on.wait, 10)
        await settle_down()
        waiting = runner.submit_nowait("waiting", threading.get_ident)
        last = runner.submit_nowait("last", threading.get_ident)
        await settle_down()
        runner.cancel(waiting)
        assert await runner.wait(waiting) is not None
        go_on.set()
        await last
    with pytest.raises(CallCancelled):
        waiting.result()


async def test_a_slot_whose_loop_ends_while_a_thread_waits_for_it() -> None:
    """The last sweep settles it, and whoever waits in a thread is told, of whatever run it is."""
    told: list[Any] = []
    waits = threading.Event()

    def wait_in_a_call_of_another_run(slot: Slot[Any]) -> None:
        waits.set()
        told.append(slot.block(None))

    async def short_run() -> None:
        async with ConcurrentTaskRunner().start() as other:
            slot = other.reserve("never")
            runner_slots.append(await runner_submit(slot))
            await anyio.to_thread.run_sync(waits.wait)

    runner = ConcurrentTaskRunner(1)
    runner_slots: list[Slot[Any]] = []

    async def runner_submit(slot: Slot[Any]) -> Slot[Any]:
        return await runner.submit("t", wait_in_a_call_of_another_run, slot)

    async with runner.start():
        await short_run()
        await runner_slots[0]
    assert told == [True]


def test_a_thread_that_was_left_to_itself() -> None:
    """Ctrl-C has ended the flow; what its thread waits for settles later, and lets it go."""
    ends: list[str] = []
    begun, ended = threading.Event(), threading.Event()
    gate = threading.Event()

    @task
    def slow() -> int:
        gate.wait(10)
        return 1

    @task
    def waits_for_outer(slot_in_a_box: list[Any]) -> None:
        begun.set()
        ends.append(str(slot_in_a_box[0]().block(None)))
        ended.set()

    @flow
    def inner(slot: Slot[Any]) -> None:
        waits_for_outer.submit([lambda: slot])
        begun.wait(10)
        raise KeyboardInterrupt

    @flow
    def outer() -> None:
        slot = slow.submit()
        with pytest.raises(KeyboardInterrupt):
            inner(slot)
        gate.set()
        slot.result()
        ended.wait(10)

    outer()
    assert ends == ["True"]


async def test_a_thread_that_was_left_to_itself_on_a_loop_that_goes_on() -> None:
    """Its call has ended; when what it waits for settles, it is let go, and takes nobody's place."""
    runner = ConcurrentTaskRunner(1)
    waits, ended = threading.Event(), threading.Event()

    def wait_for_reserved() -> None:
        waits.set()
        reserved.block(None)
        ended.set()

    async with runner.start():
        reserved = runner.reserve("reserved")
        left = runner.submit_nowait("left", wait_for_reserved)
        await anyio.to_thread.run_sync(waits.wait)
        runner._run.performer.abandon_threads()  # type: ignore  # it runs
        runner.cancel("left")
        await runner.wait("left")
        assert left.origin == "cancel"
        runner.cancel("reserved")
        await anyio.to_thread.run_sync(ended.wait)
        assert await runner.map(give, range(3)) == [0, 1, 2]


async def test_a_thread_that_waits_for_a_reservation_that_a_halt_gives_up() -> None:
    """It is told at once: the end of the run waits for the thread."""
    runner = ConcurrentTaskRunner()
    begun = threading.Event()

    def wait() -> Any:
        begun.set()
        return runner.from_thread.wait("reserved", timeout=5)

    async def run() -> Slot[Any]:
        async with runner.start():
            runner.reserve("reserved")
            slots.append(runner.submit_nowait("k", wait))
            await anyio.to_thread.run_sync(begun.wait)
            raise LookupError

    slots: list[Slot[Any]] = []
    with pytest.raises(LookupError):
        await run()
    told = slots[0].result()  # not `None`, which it gives when its time has passed
    assert isinstance(told.error, CallCancelled)
    assert told.error.origin == "lost"


async def test_a_thread_goes_on_when_its_place_is_back() -> None:
    """What it waited for has settled, and another call has the place still."""
    runner, first = ConcurrentTaskRunner(1), Gate()
    begun, goes_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        runner.from_thread.wait("reserved")
        goes_on.set()

    with anyio.fail_after(20):
        async with runner.start():
            runner.reserve("reserved")
            runner.submit_nowait("outer", wait)
            await anyio.to_thread.run_sync(begun.wait)
            runner.submit_nowait("first", first)
            while not first.begun:  # noqa: ASYNC110 - in a step of nobody's
                await anyio.sleep(0.01)
            runner.cancel("reserved")
            await anyio.sleep(0.1)
            assert not goes_on.is_set()
            first.open.set()
    assert goes_on.is_set()


async def test_a_thread_whose_wait_was_too_long_waits_again() -> None:
    """It goes on without its place, and has that again after the next wait."""
    runner = ConcurrentTaskRunner(1)
    first, last = Gate(), Gate()
    found: list[Any] = []

    def wait() -> None:
        found.append(runner.from_thread.wait("first", timeout=0.05))
        found.append(runner.slots["first"].is_awaited)  # nothing of that wait is left in it
        found.append(runner.from_thread.wait("first", timeout=10))
        found.append(threading.Event().wait(0.1))  # for whoever would start now
        found.append(last.begun)

    with anyio.fail_after(20):
        async with runner.start():
            runner.submit_nowait("outer", wait)
            runner.submit_nowait("first", first, 3)
            runner.submit_nowait("last", last)
            while not (found and runner.slots["first"].is_awaited):  # noqa: ASYNC110 - a thread
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            first.open.set()
            await runner.wait("outer")
            last.open.set()
    assert found == [None, False, Value(3), False, 0]
