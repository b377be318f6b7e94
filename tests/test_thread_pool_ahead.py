"""Jobs that are put ahead of their turn: which thread takes one, and when; and all of it at random."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from creche import ConcurrentTaskRunner, Slot, State
from pools import Held, make_job, open_pool, until, until_here

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


async def test_what_was_put_comes_before_what_is_ahead() -> None:
    """Whenever that was."""
    order: list[str] = []
    async with open_pool(1) as opened:
        go_on = threading.Event()
        first = opened.put(go_on.wait, 30)
        opened.pool.put_ahead(make_job(order.append, "ahead"))
        opened.put(order.append, "put")
        last = make_job(order.append, "last")
        opened.pool.put_ahead(last)
        go_on.set()
        await until(lambda: last in opened.finished)
        assert opened.finished[0] is first
    assert order == ["put", "ahead", "last"]


async def test_no_thread_comes_for_what_is_ahead() -> None:
    """None is started, none that is idle takes it; it can be called back, and put."""
    async with open_pool(2) as opened:
        job = make_job(len, "abc")
        opened.pool.put_ahead(job)
        assert opened.pool.threads == 0
        go_on = threading.Event()
        opened.put(go_on.wait, 30)
        opened.put(go_on.wait, 30)
        await anyio.to_thread.run_sync(time.sleep, 0.01)
        assert job.is_queued
        assert opened.pool.call_back(job)
        assert not opened.pool.call_back(job)
        assert opened.pool.call_back_last() is None
        go_on.set()
        await until(lambda: len(opened.finished) == 2)
        opened.pool.put_ahead(job)
        await anyio.to_thread.run_sync(time.sleep, 0.01)
        assert opened.pool.call_back_last() is job
        opened.pool.put(job)
        await until(lambda: job in opened.finished)
        assert job.value == 3


async def test_a_thread_that_is_to_leave_takes_none() -> None:
    """What is ahead waits for another one."""
    async with open_pool(2) as opened:
        events = [threading.Event(), threading.Event()]
        for event in events:
            opened.put(event.wait, 30)
        await until(lambda: opened.pool.threads == 2)
        job = make_job(len, "abc")
        opened.pool.put_ahead(job)
        opened.pool.resize(1)
        events[0].set()
        await until(lambda: opened.pool.threads == 1)
        assert job.is_queued
        events[1].set()
        await until(lambda: job in opened.finished)


async def test_an_heir_is_told_of_with_the_one_before() -> None:
    """Its thread is not free, as long as the loop has not heard that it has ended."""
    async with open_pool(2) as opened:
        held, following = Held(), Held()
        first = opened.put(held)
        await until(held.begun.is_set)
        heir = make_job(following)
        opened.pool.put_ahead(heir)
        held.go_on.set()
        until_here(following.begun.is_set)
        assert first.heir is heir
        await until(lambda: first in opened.finished)
        assert await opened.result(len, "abc") == 3  # by another thread
        assert opened.pool.threads == 2
        following.go_on.set()
        await until(lambda: heir in opened.finished)


@pytest.mark.parametrize("seed", range(4))
async def test_at_random(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Short and long ones, failures, cancellations, and calls that wait for others: each ends once."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", 3)
    draw = random.Random(seed)
    lock = threading.Lock()
    at_work = most = 0
    ran: list[int] = []

    def work(n: int, seconds: float) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            ran.append(n)
        time.sleep(seconds)
        with lock:
            at_work -= 1
        if n % 7 == 0:
            raise ValueError(n)
        return n

    def waits(n: int) -> Any:
        ran.append(n)
        return runner.from_thread.wait(n - 1)

    ended: dict[object, int] = {}

    def note(slot: Slot[Any]) -> None:
        ended[slot.key] = ended.get(slot.key, 0) + 1

    runner = ConcurrentTaskRunner()
    with anyio.fail_after(60):
        async with runner.start():
            slots = []
            for n in range(300):
                if n % 11 == 10:
                    slots.append(runner.submit_nowait(n, waits, n))
                else:
                    slots.append(runner.submit_nowait(n, work, n, draw.choice([0, 0, 0, 0.001])))
                slots[-1].add_done_callback(note)
                if draw.random() < 0.2:
                    runner.cancel(draw.randrange(n + 1))
                if draw.random() < 0.1:
                    await anyio.sleep(draw.choice([0, 0.001]))
    assert most <= 3
    assert ended == dict.fromkeys(range(300), 1)
    assert len(ran) == len(set(ran))
    for n, slot in enumerate(slots):
        assert n in ran or slot.state is State.CANCELLED
    assert runner.statistics().running == 0
