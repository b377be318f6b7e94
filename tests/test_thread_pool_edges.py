"""Jobs of a thread that are given up, the end of the pool, and what comes from outside."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from creche._backends import by_name, detect
from creche._thread_job import Job
from loops import both
from pools import Held, open_pool, serving, until, until_here

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


class Thing:
    """What can be watched."""


async def test_a_queued_job_can_be_withdrawn() -> None:
    """It never runs and is not finished; what it held is free, though its shell is queued still."""
    held = Held()
    ran: list[Any] = []
    async with open_pool(1) as opened:
        pool = opened.pool
        first = opened.put(held)
        await until(held.begun.is_set)
        thing = Thing()
        ref = weakref.ref(thing)
        jobs = [opened.put(ran.append, n) for n in range(4)]
        jobs.append(opened.put(ran.append, thing))
        del thing
        assert [job.is_queued for job in (first, *jobs)] == [False, True, True, True, True, True]
        gc.disable()
        try:
            assert [pool.withdraw(job) for job in (jobs[0], jobs[2], jobs[4])] == [True] * 3
            assert ref() is None
        finally:
            gc.enable()
        assert not pool.withdraw(jobs[0])
        assert not pool.abandon(jobs[0])
        assert not pool.withdraw(first)
        assert [job.is_queued for job in jobs] == [False, True, False, True, False]
        held.go_on.set()
        await until(lambda: len(opened.finished) == 3)
        assert not pool.withdraw(first)
        assert not pool.abandon(first)
    assert ran == [1, 3]
    assert opened.finished == [first, jobs[1], jobs[3]]


async def test_a_withdrawn_job_needs_no_thread() -> None:
    """One that has not started yet does not start for it."""
    backend = detect()
    starts = 0

    async def run_in_thread(*args: Any) -> Any:
        nonlocal starts
        starts += 1
        return await backend.run_in_thread(*args)

    async with open_pool(backend=backend._replace(run_in_thread=run_in_thread)) as opened:
        assert opened.pool.abandon(opened.put(len, "abc"))
        await until(lambda: opened.pool.threads == 0)
        assert starts == 0
        assert await opened.result(len, "abc") == 3
        assert starts == 1


async def test_an_abandoned_job_is_left_to_its_thread() -> None:
    """Another thread takes its place at once; the pool closes without it, and it ends after the job."""
    held = Held()
    async with open_pool(1) as opened:
        pool = opened.pool
        job = opened.put(held)
        waiting = opened.put(threading.get_ident)
        await until(held.begun.is_set)
        assert pool.abandon(job)
        assert not pool.abandon(job)
        await until(lambda: waiting in opened.finished)
        assert pool.threads == 1
    assert serving() == 1
    held.go_on.set()
    await until(lambda: serving() == 0)
    assert held.ended.is_set()
    assert opened.finished == [waiting]


async def test_a_job_that_has_ended_is_not_abandoned() -> None:
    """It is finished, though the loop has not heard of it yet."""
    async with open_pool(1) as opened:
        await opened.result(len, "")
        job = opened.put(len, "abc")
        until_here(lambda: opened.pool._outcomes)
        assert not opened.pool.abandon(job)
        await until(lambda: job in opened.finished)
    assert job.value == 3


async def test_abandoning_one_of_many() -> None:
    """The others go on, and only what came of that one is dropped."""
    helds = [Held() for _ in range(5)]
    async with open_pool(5) as opened:
        jobs = [opened.put(held) for held in helds]
        await until(lambda: all(held.begun.is_set() for held in helds))
        assert opened.pool.abandon(jobs[2])
        for held in helds:
            held.go_on.set()
        await until(lambda: len(opened.finished) == 4)
    assert set(opened.finished) == set(jobs) - {jobs[2]}
    await until(lambda: serving() == 0)


async def test_from_thread_in_an_abandoned_job() -> None:
    """It is cancelled there."""
    held = Held()
    came: list[Any] = []

    def work() -> None:
        held()
        try:
            anyio.from_thread.check_cancelled()
        except BaseException as exc:
            came.append(exc)
        came.append("ended")

    async with open_pool(1) as opened:
        job = opened.put(work)
        await until(held.begun.is_set)
        assert opened.pool.abandon(job)
        held.go_on.set()
        await until(lambda: len(came) == 2)
    assert isinstance(came[0], opened.backend.cancelled)


@both
def test_the_loop_ends_without_an_abandoned_job(run: Callable[[Any], None]) -> None:
    """Its thread ends by itself, when nobody is there any more."""
    held = Held()

    async def main() -> None:
        async with open_pool(3) as opened:
            job = opened.put(held)
            await until(held.begun.is_set)
            assert opened.pool.abandon(job)

    run(main)
    assert serving() == 1
    held.go_on.set()
    until_here(lambda: serving() == 0)


async def test_closing() -> None:
    """What was put is carried out; idle threads go at once, the others when their jobs have ended."""
    held = Held()
    async with open_pool(3) as opened:
        pool = opened.pool
        barrier = threading.Barrier(3)
        for _ in range(3):
            opened.put(barrier.wait, 30)
        await until(lambda: len(opened.finished) == 3)
        opened.put(held)
        await until(held.begun.is_set)
        job = opened.put(len, "abc")
        pool.close()
        pool.close()
        await until(lambda: pool.threads == 1)
        assert job in opened.finished
        assert serving() == 1
        held.go_on.set()
    assert len(opened.finished) == 5
    assert serving() == 0
    async with open_pool(1) as opened:
        for n in range(50):
            opened.put(abs, n)
    assert len(opened.finished) == 50


async def test_a_job_after_the_close() -> None:
    """It is a mistake."""
    async with open_pool(1) as opened:
        opened.pool.close()
        with pytest.raises(AssertionError):
            opened.put(len, "")


async def test_abandoning_after_the_close() -> None:
    """Who takes its place ends as well."""
    held = Held()
    async with open_pool(1) as opened:
        job = opened.put(held)
        await until(held.begun.is_set)
        behind = [opened.put(abs, n) for n in range(3)]
        opened.pool.close()
        assert opened.pool.abandon(job)
    assert opened.finished == behind
    held.go_on.set()
    await until(lambda: serving() == 0)


async def test_a_cancelled_scope_around_the_nursery() -> None:
    """Threads go on with jobs until the pool is closed; one that was abandoned is not waited for."""
    helds = [Held(), Held()]
    with anyio.CancelScope() as scope:
        async with open_pool(2) as opened:
            scope.cancel()
            jobs = [opened.put(held) for held in helds]
            with anyio.CancelScope(shield=True):
                await until(lambda: all(held.begun.is_set() for held in helds))
                assert opened.pool.abandon(jobs[0])
                helds[1].go_on.set()
                await until(lambda: opened.finished)
                more = opened.put(len, "abc")
            opened.pool.close()
    assert opened.finished == [jobs[1], more]
    helds[0].go_on.set()
    await until(lambda: serving() == 0)


def test_asyncios_own_cancel_of_the_task_of_a_thread() -> None:
    """The thread is waited for, and goes on; before it has begun another is started instead."""
    held = Held()

    async def main() -> None:
        async with open_pool(1, backend=by_name("asyncio")) as opened:
            before = asyncio.all_tasks()
            job = opened.put(len, "abc")
            (task,) = asyncio.all_tasks() - before
            await asyncio.sleep(0)
            task.cancel()
            await until(lambda: job in opened.finished)
            assert task.done()
            job = opened.put(held)
            await until(held.begun.is_set)
            for task in asyncio.all_tasks() - before:
                task.cancel()
            await asyncio.sleep(0.01)
            assert opened.pool.threads == 1
            held.go_on.set()
            await until(lambda: job in opened.finished)
            assert await opened.result(len, "abcd") == 4
            held.begun.clear()
            held.go_on.clear()
            job = opened.put(held)
            await until(held.begun.is_set)
            assert opened.pool.abandon(job)
            assert await opened.result(len, "abcde") == 5
            ends.append("of the body")  # nothing has cancelled it
        held.go_on.set()

    ends: list[str] = []
    asyncio.run(main())
    assert ends
    until_here(lambda: serving() == 0)


async def test_a_drain_that_is_torn_is_taken_up_again() -> None:
    """A second Ctrl-C on asyncio may come anywhere."""
    finished: list[Job] = []

    def finish(job: Job) -> None:
        finished.append(job)
        if len(finished) == 2:
            raise KeyboardInterrupt

    async with open_pool(1) as opened:
        opened.pool._finish = finish
        first = opened.put(len, "")
        await until(lambda: finished == [first])
        jobs = [opened.put(abs, n) for n in range(5)]
        until_here(lambda: len(opened.pool._outcomes) == 5)
        with pytest.raises(KeyboardInterrupt):
            opened.pool._drain()
        await until(lambda: finished == [first, *jobs])


async def test_finishing_may_put_withdraw_and_abandon() -> None:
    """From inside, also from the end of a thread's task."""
    held = Held()
    async with open_pool(2) as opened:
        pool = opened.pool
        finished: list[Any] = []

        def finish(job: Job) -> None:
            finished.append(job.value)
            if len(finished) < 50:
                opened.put(abs, len(finished))
            elif len(finished) == 50:
                assert pool.abandon(stuck)
                assert pool.withdraw(opened.put(abs, 1))

        pool._finish = finish
        stuck = opened.put(held)
        await until(held.begun.is_set)
        opened.put(abs, 0)
        await until(lambda: len(finished) == 50)
        await anyio.sleep(0.01)
        assert finished == list(range(50))
    held.go_on.set()
    await until(lambda: serving() == 0)


async def test_everything_at_once() -> None:
    """Put, withdrawn, abandoned, the pool resized: each job is finished once, or was given up."""
    rng = random.Random(7)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    ran: list[int] = []
    pause = threading.Event()

    def work(n: int, seconds: float) -> int:
        ran.append(n)
        if seconds:
            pause.wait(seconds)
        return n

    try:
        async with open_pool(4, idle_seconds=0.002) as opened:
            pool = opened.pool
            jobs: list[Job] = []
            withdrawn: set[Job] = set()
            abandoned: set[Job] = set()
            for n in range(6000):
                jobs.append(opened.put(work, n, rng.choice([0, 0, 0, 0, 0, 0, 1e-4])))
                job = rng.choice(jobs[-20:])
                match rng.randrange(12):
                    case 0 if pool.withdraw(job):
                        withdrawn.add(job)
                    case 1 if job not in withdrawn and pool.abandon(job):
                        abandoned.add(job)
                    case 2:
                        pool.resize(rng.randrange(1, 9))
                    case 3 | 4:
                        await anyio.lowlevel.checkpoint()
                    case 5 if n % 50 == 0:
                        await anyio.sleep(0.004)
                    case _:
                        pass
            await until(lambda: len(opened.finished) == len(jobs) - len(withdrawn) - len(abandoned))
        assert len(set(opened.finished)) == len(opened.finished)
        assert set(opened.finished) == set(jobs) - withdrawn - abandoned
        assert [job.value for job in opened.finished] == [jobs.index(job) for job in opened.finished]
        assert len(set(ran)) == len(ran)
        assert not {jobs.index(job) for job in withdrawn} & set(ran)
    finally:
        sys.setswitchinterval(interval)
    await until(lambda: serving() == 0)
