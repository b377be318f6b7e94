"""Plain calls that are put ahead, and places that are lent: threads come back first."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.from_thread
import pytest

from calls import Gate, settle_down
from creche import ConcurrentTaskRunner, Slot, State
from holding_threads import Work, abandon, begin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


@pytest.mark.usefixtures("one_thread")
async def test_one_that_lends_its_thread() -> None:
    """A call that a thread has gone on with waits for another one, which has its place meanwhile."""
    runner = ConcurrentTaskRunner()
    first = Work()

    def waits() -> int:
        begun.set()
        runner.from_thread.submit("inner", len, "abc")
        return runner.from_thread.result("inner") + 1  # type: ignore[no-any-return]  # a key says nothing of it

    begun = threading.Event()
    async with runner.start():
        await begin(runner, first)
        outer = runner.submit_nowait("outer", waits)
        after = runner.submit_nowait("after", len, "ab")
        first.go_on.set()
        assert begun.wait(10)
        with anyio.fail_after(10):
            assert (await outer, await after) == (4, 2)


@pytest.mark.usefixtures("one_thread")
async def test_a_thread_that_was_lent_comes_back_first() -> None:
    """Before what was put ahead while it was away."""
    runner = ConcurrentTaskRunner()
    order: list[str] = []
    gate, hold = Gate(), Work()

    def waits() -> None:
        runner.from_thread.result("gate")
        order.append("back")

    async with runner.start():
        slots = [runner.submit_nowait("gate", gate), runner.submit_nowait("waits", waits)]
        slots.append(runner.submit_nowait("hold", hold))
        slots += [runner.submit_nowait(None, order.append, n) for n in "abc"]
        await hold.until_begun()
        await settle_down()
        gate.open.set()
        await slots[0]
        await settle_down()
        hold.go_on.set()
        await runner.wait_all(slots)
    assert order == ["back", "a", "b", "c"]


@pytest.mark.parametrize("threads", [1, 2])
async def test_a_call_that_waits_for_a_plain_one_goes_on_first(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Whatever was submitted behind that one: it may wait for the first to go on."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", threads)
    runner = ConcurrentTaskRunner()
    begun, go_on, is_back = anyio.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def inner() -> int:
        assert go_on.wait(10)
        return 1

    def behind() -> bool:
        order.append("behind")
        return is_back.wait(10)

    def outer() -> None:
        runner.from_thread.submit("inner", inner)
        for _ in range(threads):
            runner.from_thread.submit(None, behind)
        anyio.from_thread.run_sync(begun.set)
        assert runner.from_thread.result("inner") == 1
        order.append("back")
        is_back.set()

    async with runner.start():
        runner.submit_nowait("outer", outer)
        for _ in range(threads - 1):
            runner.submit_nowait(None, is_back.wait, 10)
        await begun.wait()
        await settle_down()
        go_on.set()
        outcomes = await runner.wait_all()
    assert order == ["back", *["behind"] * threads]
    assert all(outcome.unwrap() is not False for outcome in outcomes)


@pytest.mark.parametrize("threads", [1, 3])
async def test_few_begin_when_one_has_failed(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """With `on_error="cancel"`: its thread takes no other before the loop has heard of it."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", threads)
    hold = Work()
    ran: list[int] = []

    def fail() -> None:
        hold()
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with ConcurrentTaskRunner(on_error="cancel").start() as runner:
            slots: list[Slot[Any]] = [runner.submit_nowait("fails", fail)]
            works = [Work(n) for n in range(threads - 1)]
            slots += [runner.submit_nowait(("holds", n), work) for n, work in enumerate(works)]
            for n in range(20):
                slots.append(runner.submit_nowait(n, ran.append, n))
            await hold.until_begun()
            await settle_down()
            hold.go_on.set()
            await slots[0].wait(10)
            for work in works:
                work.go_on.set()
    assert ran == []
    assert slots[-1].state is State.CANCELLED


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_limit_that_is_set_while_one_is_ahead(*, goes_on: bool) -> None:
    """It has a place of that limit from then on, and needs a thread besides; it gives back both."""
    runner = ConcurrentTaskRunner()
    first, last = Work(0), Work(1)
    async with runner.start():
        slots = await begin(runner, first, last)
        runner.set_max_workers(1)
        if goes_on:
            first.go_on.set()
            assert last.begun.wait(10)
        else:
            abandon(runner)
            runner.cancel(0)
            await last.until_begun()
            first.go_on.set()
        last.go_on.set()
        assert await slots[1] == 1
        runner.set_max_workers(3)
        again = [runner.submit_nowait(None, len, "abc") for _ in range(5)]
        timed = runner.submit_nowait("timed", len, "abc", timeout=10)
        assert [await slot for slot in (*again, timed)] == [3] * 6


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("number", [5, None])
async def test_a_thread_is_lent_where_a_limit_was_set_while_the_call_waited(number: int | None) -> None:
    """One that waits for a thread has a place besides, and one of them would not be lent."""
    runner = ConcurrentTaskRunner(None if number else 2)
    first = Work()

    def waits() -> Any:
        return runner.from_thread.result("last")

    async with runner.start():
        if number is None:
            runner.set_max_workers(None)
        slots = [runner.submit_nowait("first", first), runner.submit_nowait("waits", waits)]
        slots.append(runner.submit_nowait("last", len, "abc"))
        await first.until_begun()
        await settle_down()
        if number is not None:
            runner.set_max_workers(number)
        first.go_on.set()
        with anyio.fail_after(10):
            assert (await slots[1], await slots[2]) == (3, 3)
