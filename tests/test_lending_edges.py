"""Lending where it meets guests, threads, other runners and time limits: each was a fault once."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio

from calls import Gate, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, Slot

pytestmark = pytest.mark.anyio


async def test_a_guest_in_the_task_of_a_call_that_has_the_place() -> None:
    """A sequential call that a queued one submits: when it waits, the queued one's place is lent."""
    runner = SequentialTaskRunner()

    async def guest() -> Any:
        return await runner.submit_nowait("new", give, 1)

    async def queued() -> Any:
        return (await runner.submit("guest", guest)).result()

    with anyio.fail_after(100):
        async with runner.start():
            slot = runner.submit_nowait("queued", queued)
    assert slot.result() == 1


async def test_a_guest_of_another_runner() -> None:
    """It is part of the call that has submitted it."""
    one, other = ConcurrentTaskRunner(1), SequentialTaskRunner()

    async def guest() -> Any:
        return await one.submit_nowait("new", give, 2)

    async def call() -> Any:
        return (await other.submit("guest", guest)).result()

    with anyio.fail_after(100):
        async with one.start(), other.start():
            assert await one.submit_nowait("call", call) == 2


async def test_a_circle_through_a_guest() -> None:
    """It is refused as any other."""
    one, other = ConcurrentTaskRunner(), SequentialTaskRunner()

    async def guest() -> Any:
        return await one.result("second")

    async def first() -> Any:
        return (await other.submit("guest", guest)).result()

    async def second() -> Any:
        await anyio.sleep(0.01)
        return await one.result("first")

    with anyio.fail_after(100):
        async with one.start(), other.start():
            one.submit_nowait("first", first)
            slot = one.submit_nowait("second", second)
            with pytest.raises(RuntimeError, match="waits for itself through 'first'"):
                await slot
            await one.wait("first")


async def test_a_place_that_comes_back_while_another_task_waits() -> None:
    """It is lent on: while one task of a call waits, the call does not have it."""
    runner = ConcurrentTaskRunner(1)
    go_on = anyio.Event()

    async def second_task() -> None:
        await go_on.wait()
        await runner.wait("s2")

    async def call() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(runner.wait, "s1")
            group.start_soon(second_task)

    with anyio.fail_after(100):
        async with runner.start():
            runner.submit_nowait("call", call)
            gate = Gate()
            runner.submit_nowait("gate", gate)
            runner.submit_nowait("s1", give)
            await settle_down()
            runner.submit_nowait("s2", give)
            runner.cancel("s1")
            await settle_down()
            go_on.set()
            await settle_down()
            gate.open.set()
    assert runner.statistics().completed == 3


async def test_a_time_limit_is_not_that_of_the_place() -> None:
    """Settled in time, the waiter has its outcome; it goes on when it has its place."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()
    order: list[str] = []

    async def outer() -> Any:
        outcome = await runner.wait("pending", timeout=0.5)
        order.append("outer")
        return outcome

    async with runner.start():
        slot = runner.submit_nowait("outer", outer)
        runner.submit_nowait("gate", gate)
        runner.submit_nowait("pending", give)
        await settle_down()
        runner.cancel("pending")
        await anyio.sleep(0.7)
        assert order == []
        gate.open.set()
        assert await slot is not None


async def test_a_wait_in_another_runner_counts_at_the_exit() -> None:
    """Two calls of two runners that wait for a reservation, one through the other: it is given up."""
    one, other = ConcurrentTaskRunner(), ConcurrentTaskRunner()
    with anyio.fail_after(100):
        async with other.start(), one.start():
            one.reserve("never")
            other.submit_nowait("second", one.wait, "never")
            one.submit_nowait("first", other.wait, "second")
    assert one.slots["never"].origin == "lost"


@pytest.mark.parametrize("max_workers", [None, 1])
@pytest.mark.parametrize("timed", [False, True])
async def test_a_wait_keeps_nothing(*, max_workers: int | None, timed: bool) -> None:
    """What was waited for is free without the garbage collector."""
    runner = ConcurrentTaskRunner(max_workers, retain=False)
    left: list[weakref.ref[Slot[Any]]] = []

    async def outer() -> None:
        slot = runner.submit_nowait("inner", give, 1)
        left.append(weakref.ref(slot))
        await slot.wait(1000 if timed else None)

    gc.collect()
    gc.disable()
    try:
        async with runner.start():
            await runner.submit_nowait("outer", outer)
            await runner.submit_nowait("next", give)
            assert left[0]() is None
    finally:
        gc.enable()


class TestInThreads:
    """The same, for calls that wait in their threads."""

    pytestmark = pytest.mark.usefixtures("real_time")

    async def test_a_wait_that_ends_before_it_has_begun_on_the_loop(self) -> None:
        """The message of its beginning comes late; the books are in order all the same."""
        runner = ConcurrentTaskRunner()
        inner_blocks = threading.Event()

        async def inner() -> int:
            await anyio.sleep(0.01)
            inner_blocks.set()
            threading.Event().wait(0.05)  # the loop stands still, while the thread begins to wait
            return 1

        def waits() -> int:
            inner_blocks.wait(10)
            return box[0].result()

        async def waits_for_never() -> Any:
            return await runner.wait("never")

        box: list[Slot[int]] = []
        with anyio.fail_after(10):
            async with runner.start():
                box.append(runner.submit_nowait("inner", inner))
                waiting = runner.submit_nowait("thread", waits)
                runner.reserve("never")
                runner.submit_nowait("w", waits_for_never)
        assert waiting.result() == 1
        assert runner.slots["never"].origin == "lost"

    async def test_a_slot_that_settles_at_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the end of the time and the look at the slot: it is done, and nobody is waited for."""
        runner = ConcurrentTaskRunner(2)
        time_is_up, settled = threading.Event(), threading.Event()
        withdraw = Slot.withdraw
        here = threading.current_thread()

        def slowly(slot: Slot[Any], wake: Any) -> None:
            withdraw(slot, wake)
            if threading.current_thread() is not here:
                time_is_up.set()
                settled.wait(10)

        monkeypatch.setattr(Slot, "withdraw", slowly)
        async with runner.start():
            inner = runner.submit_nowait("inner", time_is_up.wait, 10)
            waiting = runner.submit_nowait("thread", lambda: inner.result(0.01))
            await inner
            settled.set()
            assert await waiting is True

    async def test_the_calls_around_it_lend_as_well(self) -> None:
        """A runner inside a call, and a plain call of its that waits for the outer runner."""
        outer = ConcurrentTaskRunner(1)

        async def host() -> None:
            async with ConcurrentTaskRunner(1).start() as inner:
                slot = outer.submit_nowait("new", give, 1)
                inner.submit_nowait("thread", slot.result)

        with anyio.fail_after(10):
            async with outer.start():
                await outer.submit_nowait("host", host)

    async def test_around_it_a_call_without_a_place(self) -> None:
        """There is nothing to lend, and nothing to take back."""
        outer = ConcurrentTaskRunner()

        async def host() -> None:
            async with ConcurrentTaskRunner(1).start() as inner:
                slot = outer.submit_nowait("new", anyio.sleep, 0.05)
                inner.submit_nowait("thread", slot.result)

        with anyio.fail_after(10):
            async with outer.start():
                await outer.submit_nowait("host", host)

    async def test_a_circle_through_a_guest_in_a_thread(self) -> None:
        """The call that the guest is carried out in waits as well, and is found on the way."""
        one, other = ConcurrentTaskRunner(), SequentialTaskRunner()
        waits = threading.Event()

        def guest() -> Any:
            waits.set()
            return one.slots["second"].result()

        async def first() -> Any:
            return (await other.submit("guest", guest)).result()

        async def second() -> Any:
            await anyio.to_thread.run_sync(waits.wait)
            await anyio.sleep(0.05)
            return await one.result("first")

        with anyio.fail_after(10):
            async with one.start(), other.start():
                one.submit_nowait("first", first)
                slot = one.submit_nowait("second", second)
                with pytest.raises(RuntimeError, match="waits for itself through 'first'"):
                    await slot
                await one.wait("first")

    async def test_through_the_loop(self) -> None:
        """A thread that waits by `anyio.from_thread.run` lends its place, too."""
        runner = ConcurrentTaskRunner(1)

        async def wait_for_new() -> Any:
            return await runner.submit_nowait("new", give, 1)

        with anyio.fail_after(10):
            async with runner.start():
                slot = runner.submit_nowait("thread", anyio.from_thread.run, wait_for_new)
        assert slot.result() == 1

    async def test_a_task_that_a_thread_leaves_on_the_loop(self, anyio_backend_name: str) -> None:
        """It is of no call any more when that has ended."""
        if anyio_backend_name != "trio":
            pytest.skip("where tasks know their parents")
        runner = ConcurrentTaskRunner(1)
        got: list[Any] = []

        async def wait_later() -> None:
            await end.wait()
            got.append(await runner.result("last"))

        def leave_a_task() -> None:
            trio.from_thread.run_sync(trio.lowlevel.spawn_system_task, wait_later)

        end = trio.Event()
        async with runner.start():
            await runner.submit_nowait("thread", leave_a_task)
            gate = Gate()
            runner.submit_nowait("last", gate, 3)
            end.set()
            await settle_down()
            gate.open.set()
            await runner.wait("last")
            await settle_down()
        assert got == [3]

    async def test_a_thread_that_is_back_comes_before_new_calls(self) -> None:
        """Also where only threads are limited."""
        runner = ConcurrentTaskRunner()
        begun: list[int] = []
        may_end = [threading.Event() for _ in range(200)]
        all_begun, back, may_go = threading.Event(), threading.Event(), threading.Event()

        def waits() -> None:
            box[0].result()
            back.set()
            may_go.wait(10)

        def plain(n: int) -> None:
            begun.append(n)
            if len(begun) == 40:
                all_begun.set()
            may_end[n].wait(10)

        box: list[Slot[Any]] = []
        gate = Gate()
        async with runner.start():
            box.append(runner.submit_nowait("gate", gate))
            runner.submit_nowait("waits", waits)
            await settle_down()
            for n in range(200):
                runner.submit_nowait(n, plain, n)
            # The fortieth has the place of the one that waits, so that this one is lent by now.
            assert await anyio.to_thread.run_sync(all_begun.wait, 10)
            gate.open.set()
            await runner.wait("gate")
            await settle_down()
            assert (len(begun), back.is_set()) == (40, False)
            # One place comes free, and 160 calls have waited for it longer than the one that is back.
            may_end[begun[0]].set()
            assert await anyio.to_thread.run_sync(back.wait, 10)
            assert len(begun) == 40
            may_go.set()
            for event in may_end:
                event.set()
        assert len(begun) == 200

    async def test_a_plain_call_that_fails_is_no_ring(self) -> None:
        """Its slot is free without the garbage collector."""
        runner = ConcurrentTaskRunner(2, retain=False)

        def fail() -> None:
            raise ValueError

        async def submit() -> weakref.ref[Slot[Any]]:
            slot = runner.submit_nowait("k", fail)
            await runner.wait(slot)
            return weakref.ref(slot)

        gc.collect()
        gc.disable()
        try:
            async with runner.start():
                left = await submit()
                for n in range(2):
                    await runner.submit_nowait(n, int)
                assert left() is None
        finally:
            gc.enable()
