"""Plain calls that are put ahead: a thread goes on with the next one before the loop has heard of it.

What it is for: the loop stands still in most of these tests, so that what happens then is certain.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Awaitable
from itertools import pairwise
from typing import Any

import pytest

from calls import give, settle_down
from creche import ConcurrentTaskRunner, State
from creche._thread_calls import AHEAD
from holding_threads import Work, abandon, begin, helpers

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


@pytest.mark.usefixtures("one_thread")
async def test_a_thread_goes_on_by_itself() -> None:
    """While the loop stands still; each has one outcome, and there is one thread all the time."""
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(4)]
    async with runner.start():
        slots = await begin(runner, *works)
        for work, following in pairwise(works):
            work.go_on.set()
            assert following.begun.wait(10)
            assert len(helpers()) == 1
        assert [slot.state for slot in slots] == [State.RUNNING] * 4
        works[3].go_on.set()
        assert [await slot for slot in slots] == [0, 1, 2, 3]
        assert runner.statistics().running == 0
        assert await runner.submit_nowait("next", len, "abc") == 3
    assert runner.statistics().completed == 5


@pytest.mark.usefixtures("one_thread")
async def test_one_that_no_thread_has_begun_is_cancelled_at_once() -> None:
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(3)]
    async with runner.start():
        slots = await begin(runner, *works)
        runner.cancel(1)
        assert slots[1].state is State.CANCELLED
        works[0].go_on.set()
        assert works[2].begun.wait(10)
        works[2].go_on.set()
        assert (await slots[0], await slots[2]) == (0, 2)
    assert not works[1].begun.is_set()


@pytest.mark.usefixtures("one_thread")
async def test_one_that_a_thread_has_begun_is_waited_for() -> None:
    """The loop has not heard of it when it is cancelled."""
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(3)]
    async with runner.start():
        slots = await begin(runner, *works)
        works[0].go_on.set()
        assert works[1].begun.wait(10)
        runner.cancel(1)
        await settle_down()
        assert [slot.state for slot in slots] == [State.COMPLETED, State.RUNNING, State.RUNNING]
        assert not works[2].begun.is_set()
        works[1].go_on.set()
        works[2].go_on.set()
        assert [await slot for slot in slots] == [0, 1, 2]
        again = [runner.submit_nowait(None, len, "abc") for _ in range(5)]
        assert [await slot for slot in again] == [3] * 5


@pytest.mark.usefixtures("one_thread")
async def test_one_that_a_thread_has_begun_is_left_to_itself() -> None:
    """Another thread carries out what comes next."""
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(3)]
    async with runner.start():
        slots = await begin(runner, *works)
        abandon(runner)
        works[0].go_on.set()
        assert works[1].begun.wait(10)
        runner.cancel(1)
        assert slots[1].state is State.CANCELLED
        works[2].go_on.set()
        assert (await slots[0], await slots[2]) == (0, 2)
        works[1].go_on.set()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("raises", [True, False])
async def test_those_that_wait_when_the_run_is_halted(*, raises: bool) -> None:
    """They never begin; but for the one that a thread has gone on with by then."""
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(4)]
    works[1].go_on.set()
    with pytest.raises(LookupError):
        async with runner.start():
            slots = await begin(runner, *works)
            if raises:
                works[2].go_on.set()
                works[0].go_on.set()
                assert works[3].begun.wait(10)
                works[3].go_on.set()
                raise LookupError
            threading.Timer(0.02, works[0].go_on.set).start()
            raise LookupError
    if raises:
        assert [slot.state for slot in slots] == [State.COMPLETED] * 4
    else:
        assert [slot.state for slot in slots] == [State.COMPLETED, *[State.CANCELLED] * 3]
        assert not any(work.begun.is_set() for work in works[1:])


@pytest.mark.usefixtures("one_thread")
async def test_one_of_another_kind_is_not_overtaken() -> None:
    """A call with a time limit has a task, which waits for a thread in its turn."""
    runner = ConcurrentTaskRunner()
    order: list[str] = []
    first = Work()
    async with runner.start():
        await begin(runner, first)
        runner.submit_nowait("ahead", order.append, "ahead")
        runner.submit_nowait("timed", order.append, "timed", timeout=10)
        await settle_down()
        for n in range(3):
            runner.submit_nowait(None, order.append, f"behind {n}")
        first.go_on.set()
        await runner.wait_all()
    assert order == ["ahead", "timed", "behind 0", "behind 1", "behind 2"]


async def test_one_that_gets_a_place_when_a_thread_has_begun_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives that place back: it has the one of the call before."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", 2)
    runner = ConcurrentTaskRunner()
    works = [Work(n) for n in range(5)]
    async with runner.start():
        slots = await begin(runner, *works)
        abandon(runner)
        await works[1].until_begun()
        await settle_down()
        works[0].go_on.set()
        assert works[2].begun.wait(10)
        runner.cancel(1)  # its thread is left to itself, and its place goes to the next in turn
        await works[3].until_begun()
        await settle_down()
        assert not works[4].begun.is_set()
        for work in works:
            work.go_on.set()
        assert [await slots[n] for n in (0, 2, 3, 4)] == [0, 2, 3, 4]
    assert slots[1].state is State.CANCELLED


async def test_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both come back, to whoever waits, also when one has gone on by itself."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", 2)
    runner = ConcurrentTaskRunner()
    left, right, third, fourth, fifth = (Work(n) for n in range(5))
    async with runner.start():
        slots = [runner.submit_nowait(n, one) for n, one in enumerate((left, right))]
        await left.until_begun()
        await right.until_begun()
        await settle_down()
        slots.append(runner.submit_nowait(2, third))
        left.go_on.set()
        assert third.begun.wait(10)  # by the thread of the first, which the loop has not heard of
        right.go_on.set()
        await slots[1]
        await settle_down()
        slots += [runner.submit_nowait(n, one) for n, one in ((3, fourth), (4, fifth))]
        await fourth.until_begun()
        await settle_down()
        assert not fifth.begun.is_set()  # there are two threads, and both are at work
        for work in (third, fourth, fifth):
            work.go_on.set()
        assert [await slot for slot in slots] == [0, 1, 2, 3, 4]


async def test_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are put ahead at once: in order, one thread at a time for each place."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", 1)
    order: list[int] = []
    number = 3 * AHEAD
    async with ConcurrentTaskRunner().start() as runner:
        for n in range(number):
            runner.submit_nowait(n, order.append, n)
    assert order == list(range(number))


async def test_what_gives_an_awaitable() -> None:
    """It is awaited on the loop, and its thread goes on."""

    def make(n: int) -> Awaitable[Any]:
        return give(n)

    async with ConcurrentTaskRunner().start() as runner:
        slots = [runner.submit_nowait(n, make, n) for n in range(200)]
        assert [await slot for slot in slots] == list(range(200))


@pytest.mark.usefixtures("one_thread")
async def test_what_was_put_ahead_is_let_go() -> None:
    """The value of a call that has ended hangs on nothing but its slot."""

    class Value:
        pass

    gc.collect()
    gc.disable()
    try:
        async with ConcurrentTaskRunner().start() as runner:
            slots = [runner.submit_nowait(n, Value) for n in range(20)]
            await runner.wait_all()
            values = [weakref.ref(slot.result()) for slot in slots]
            for n in range(20):
                runner.forget(n)
            del slots
            assert [ref() for ref in values] == [None] * 20
    finally:
        gc.enable()


@pytest.mark.usefixtures("one_thread")
async def test_those_that_wait_for_a_thread_of_another_kind() -> None:
    """Where a call with a task has the only thread, there is nobody who could go on with them."""
    runner = ConcurrentTaskRunner()
    first, last = Work(0), Work(1)
    async with runner.start():
        slots = [runner.submit_nowait("timed", first, timeout=10)]
        await first.until_begun()
        slots.append(runner.submit_nowait(1, last))
        await settle_down()
        runner.cancel(1)
        slots.append(runner.submit_nowait(2, len, "abc"))
        first.go_on.set()
        assert (await slots[0], await slots[2]) == (0, 3)
    assert slots[1].state is State.CANCELLED
    assert not last.begun.is_set()
