"""After the exit of a run nothing of ours is left: no task, thread, timer, open slot or running body."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from calls import Gate, error_of, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, SequentialTaskRunner, Slot, State
from loops import run_asyncio, run_trio


def handles() -> int:
    """How many callbacks and timers asyncio's own loop still holds; 0 on trio."""
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return 0
    return sum(not handle.cancelled() for handle in (*loop._ready, *loop._scheduled))


def tasks() -> int:
    """How many tasks there are on this loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


async def all_sorts(runner: ConcurrentTaskRunner) -> None:
    """Whatever leaves something behind while it goes on, cut short by a deadline."""
    with anyio.move_on_after(0.2) as scope:
        async with runner.start():
            for n in range(20):
                runner.submit_nowait(n, forever)
            runner.submit_nowait("thread", len, "abc")
            await runner.wait("thread")
            assert await runner.wait(0, timeout=0.001) is None
            async with runner.as_completed() as slots:
                async for _ in slots:
                    break
            await runner.map(give, range(3))
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("run", [run_trio, run_asyncio])
def test_nothing_is_left_on_the_loop(run: Callable[[Any], None]) -> None:
    """Tasks, threads, callbacks and timers are counted before and after, on the plain loops."""

    async def main() -> None:
        # The loop keeps idle worker threads for the next call, ours or another's.
        await anyio.to_thread.run_sync(len, "warm up")
        await all_sorts(ConcurrentTaskRunner())
        await anyio.lowlevel.checkpoint()
        gc.collect()
        before = (tasks(), threading.active_count(), handles())
        runner = ConcurrentTaskRunner(max_workers=30)
        await all_sorts(runner)
        await anyio.lowlevel.checkpoint()
        after = (tasks(), threading.active_count(), handles())
        assert after[::2] == before[::2]
        assert after[1] <= before[1]  # one that was idle may have ended by itself
        assert all(slot.done for slot in runner.slots.values())
        assert len(runner) == 0
        numbers = runner.statistics()
        assert (numbers.pending, numbers.running, numbers.reserved) == (0, 0, 0)
        assert numbers.carriers == numbers.carriers_idle == 0

    run(main)


@pytest.mark.anyio
async def test_no_waiter_is_left_in_a_settled_slot() -> None:
    """Whoever waited was woken, or had left; a settled slot holds nobody."""
    runner = ConcurrentTaskRunner()
    with anyio.move_on_after(0.2):
        async with runner.start(), anyio.create_task_group() as group:
            for n in range(3):
                runner.submit_nowait(n, forever)
                group.start_soon(runner.wait, n)
                group.start_soon(runner.wait, n, 0.01)
    assert [slot._wakers for slot in runner.slots.values()] == [None] * 3


@pytest.mark.anyio
async def test_no_body_runs_on_after_the_exit() -> None:
    """The exit of a cancelled run waits for clean-up, however slow."""
    runner = ConcurrentTaskRunner()
    ended: list[int] = []

    async def slow_to_end(n: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02 * n)
            ended.append(n)

    with pytest.raises(LookupError):
        async with runner.start():
            for n in range(3):
                runner.submit_nowait(n, slow_to_end, n)
            await settle_down()
            raise LookupError
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.anyio
async def test_a_sequential_submit_of_another_task_is_waited_for() -> None:
    """A normal exit waits for every call, also for one that runs in somebody else's task."""
    runner = SequentialTaskRunner()
    gate = Gate()

    async def open_later() -> None:
        await settle_down()
        gate.open.set()

    async with anyio.create_task_group() as group:
        async with runner.start():
            group.start_soon(runner.submit, "k", gate, 1)
            await settle_down()
            group.start_soon(open_later)
        assert gate.inside == 0
    assert runner.slots["k"].result() == 1


@pytest.mark.anyio
async def test_a_sequential_submit_of_another_task_is_cancelled_by_a_raising_body() -> None:
    """A run that closes cancels every call, also one that runs in somebody else's task."""
    runner = SequentialTaskRunner()
    gate = Gate()
    given: list[Slot[Any]] = []

    async def submit() -> None:
        given.append(await runner.submit("k", gate))

    async with anyio.create_task_group() as group:
        with pytest.raises(LookupError):
            async with runner.start():
                group.start_soon(submit)
                await settle_down()
                raise LookupError
        assert gate.inside == 0
    assert [(slot.state, slot.origin) for slot in given] == [(State.CANCELLED, "closed")]


@pytest.mark.trio
async def test_a_call_submitted_while_idle_carriers_are_being_cancelled() -> None:
    """It settles at once, as everything that may not start: a shielded waiter is not left waiting."""
    runner = ConcurrentTaskRunner()
    with trio.CancelScope() as outer:
        async with runner.start():
            await runner.submit_nowait("first", give)
            await trio.testing.wait_all_tasks_blocked()
            outer.cancel()
            slot = runner.submit_nowait("second", give)
            with trio.move_on_after(1, shield=True):
                await runner.wait("second")
            assert (slot.state, slot.origin) == (State.CANCELLED, "closed")


@pytest.mark.anyio
@pytest.mark.parametrize("max_workers", [None, 1])
async def test_a_reservation_read_by_as_completed_in_a_call(max_workers: int | None) -> None:
    """At the exit it is lost as any other, and its reader is told."""
    runner = ConcurrentTaskRunner(max_workers)

    async def read() -> list[Any]:
        async with runner.as_completed(["never"]) as slots:
            return [slot.origin async for slot in slots]

    with anyio.fail_after(0.1):
        async with runner.start():
            runner.reserve("never")
            reader = runner.submit_nowait("reader", read)
    assert reader.result() == ["lost"]


@pytest.mark.anyio
async def test_a_reservation_waited_for_in_a_task_of_a_call() -> None:
    """It is not given up while the call itself goes on, which may fill it yet."""
    runner = ConcurrentTaskRunner()

    async def wait_in_a_child() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(runner.wait, "late")
            await anyio.sleep(0.01)
            await runner.submit("late", give, 7)

    async with runner.start():
        runner.reserve("late")
        runner.submit_nowait("waiter", wait_in_a_child)
    assert runner.slots["late"].result() == 7


# anyio's own wrapper holds the coroutine and is what was cancelled, so that nobody ever awaits it.
@pytest.mark.filterwarnings("ignore:coroutine 'Carriers._carry' was never awaited:RuntimeWarning")
@pytest.mark.anyio
async def test_a_call_whose_task_was_cancelled_before_its_first_step(anyio_backend_name: str) -> None:
    """On asyncio nobody hears of that but the last sweep: the slot is final all the same, and `lost`."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no native cancel")
    runner = ConcurrentTaskRunner()

    async def host() -> None:
        async with runner.start():
            runner.submit_nowait("k", forever)
            (task,) = asyncio.all_tasks() - before
            task.cancel()
            await anyio.sleep_forever()

    before = asyncio.all_tasks()
    hosting = asyncio.ensure_future(host())
    before.add(hosting)
    # anyio ends the whole group then, and the body with it.
    await asyncio.wait([hosting])
    gc.collect()  # what anyio never awaited warns here, or not at all
    assert hosting.cancelled()
    assert (runner.slots["k"].state, runner.slots["k"].origin) == (State.CANCELLED, "lost")
    assert len(runner) == 0


@pytest.mark.anyio
async def test_sequential_submits_that_come_during_the_exit() -> None:
    """While one call holds the run open another task may submit, and the exit waits for that as well."""
    runner = SequentialTaskRunner()
    gate = Gate()
    ends: list[str] = []

    async def submit_both() -> None:
        await runner.submit(1, gate, 1)
        await runner.submit(2, give, 2)
        ends.append("both")

    async def exit_and_look() -> None:
        async with runner.start():
            group.start_soon(submit_both)
            await settle_down()
        ends.append("exit")

    async with anyio.create_task_group() as group:
        group.start_soon(exit_and_look)
        await settle_down()
        group.start_soon(runner.submit, 3, gate, 3)
        await settle_down()
        assert gate.inside == 2
        assert ends == []
        gate.open.set()
    assert ends == ["both", "exit"]
    assert [runner.slots[key].result() for key in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.anyio
async def test_sequential_submits_of_another_task_when_the_exit_is_cancelled() -> None:
    """They are not inside the cancelled scope, but their run is: they end with it, as `outer`."""
    runner = SequentialTaskRunner()
    gate = Gate()

    async def submit() -> None:
        await runner.submit("k", gate)

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.2) as scope:
            async with runner.start():
                group.start_soon(submit)
                await settle_down()
        assert scope.cancelled_caught
        assert gate.inside == 0
        slot = runner.slots["k"]
        assert (slot.state, slot.origin) == (State.CANCELLED, "outer")


@pytest.mark.anyio
async def test_a_reservation_waited_for_by_a_call_inside_a_call() -> None:
    """A sequential call that another one carries out in its own task counts once."""
    runner = SequentialTaskRunner()

    async def wait_inside() -> Any:
        inner = await runner.submit("inner", runner.wait, "never")
        return error_of(inner.result())

    async with runner.start():
        runner.reserve("never")
        outer = runner.submit_nowait("outer", wait_inside)
    error = outer.result()
    assert isinstance(error, CallCancelled)
    assert error.origin == "lost"


@pytest.mark.anyio
async def test_a_reservation_that_a_child_of_the_waiter_fills() -> None:
    """A call that waits is not hopeless as long as it has child tasks, which may do it."""
    runner = ConcurrentTaskRunner()

    async def fill_later() -> None:
        await anyio.sleep(0.01)
        await runner.submit("late", give, 7)

    async def wait_for_a_child() -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(fill_later)
            return await runner.result("late")

    async with runner.start():
        runner.reserve("late")
        waiter = runner.submit_nowait("waiter", wait_for_a_child)
    assert waiter.result() == 7


@pytest.mark.anyio
async def test_news_of_a_thread_that_was_left_to_itself() -> None:
    """It may end its wait when its call has long settled; nobody takes note of that."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        slot = runner.submit_nowait("k", give)
        await slot
        assert slot.block(None)
        assert runner.statistics().running == 0


@pytest.mark.anyio
async def test_a_slot_does_not_keep_its_run() -> None:
    """An old handle holds its own outcome and nothing else of the run."""

    class Payload:
        pass

    runner = ConcurrentTaskRunner()
    async with runner.start():
        kept = runner.submit_nowait("kept", give, 1)
        runner.submit_nowait("other", give, Payload())
    alive = weakref.ref(runner.slots["other"].result())
    async with runner.start():
        pass
    gc.collect()
    assert alive() is None
    assert kept.result() == 1


@pytest.mark.anyio
async def test_a_callback_that_is_quicker_than_the_end() -> None:
    """What is being dropped may be cancelled by the callback of what was dropped before it."""
    runner = ConcurrentTaskRunner(1)

    def cancel_all(_: object) -> None:
        for slot in (*pending, *reserved[2:]):
            runner.cancel(slot, "quicker")

    def cancel_reserved(_: object) -> None:
        runner.cancel(reserved[1], "quicker")

    with suppress(LookupError):
        async with runner.start():
            runner.submit_nowait("running", forever)
            await settle_down()
            pending = [runner.submit_nowait(n, give) for n in range(3)]
            reserved = [runner.reserve(f"reserved {n}") for n in range(3)]
            pending[0].add_done_callback(cancel_all)
            reserved[0].add_done_callback(cancel_reserved)
            raise LookupError
    assert [slot.origin for slot in pending] == ["closed", "cancel", "cancel"]
    assert [slot.origin for slot in reserved] == ["lost", "cancel", "cancel"]
