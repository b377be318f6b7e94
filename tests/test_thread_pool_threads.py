"""Threads of a run come and go: limits, idle ones, a loop that has ended, none to be had."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from creche._backends import detect
from pools import Held, open_pool, serving, until, until_here

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


async def test_lowering_the_limit() -> None:
    """Idle threads leave, and busy ones when their jobs have ended; no further job begins in those."""
    async with open_pool(6) as opened:
        pool = opened.pool
        barrier = threading.Barrier(6)
        for _ in range(6):
            opened.put(barrier.wait, 30)
        await until(lambda: len(opened.finished) == 6)
        helds = [Held() for _ in range(4)]
        for held in helds:
            opened.put(held)
        await until(lambda: all(held.begun.is_set() for held in helds))
        pool.resize(2)
        await until(lambda: pool.threads == 4)
        inside, most, lock = 0, 0, threading.Lock()

        def work() -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= 1

        for _ in range(10):
            opened.put(work)
        for held in helds:
            held.go_on.set()
        await until(lambda: len(opened.finished) == 20)
        assert most == pool.threads == 2


async def test_raising_the_limit() -> None:
    """Jobs that wait have threads at once; those that were to leave stay."""
    helds = [Held() for _ in range(6)]
    async with open_pool(1) as opened:
        pool = opened.pool
        for held in helds:
            opened.put(held)
        await until(helds[0].begun.is_set)
        assert pool.threads == 1
        pool.resize(3)
        await until(lambda: sum(held.begun.is_set() for held in helds) == 3)
        pool.resize(1)
        pool.resize(6)
        assert not pool._jobs.dismissed
        await until(lambda: all(held.begun.is_set() for held in helds))
        assert pool.threads == 6
        pool.resize(2)
        for held in helds:
            held.go_on.set()
        await until(lambda: pool.threads == 2)
        barrier = threading.Barrier(2)
        for _ in range(2):
            opened.put(barrier.wait, 30)
        await until(lambda: len(opened.finished) == 8)


async def test_a_thread_that_is_leaving_when_the_limit_is_raised() -> None:
    """It is counted as long as it is there; another takes its place when it has gone."""
    held = Held()
    async with open_pool(2) as opened:
        pool = opened.pool
        barrier = threading.Barrier(2)
        for _ in range(2):
            opened.put(barrier.wait, 30)
        await until(lambda: len(opened.finished) == 2)
        opened.put(held)
        await until(held.begun.is_set)
        pool.resize(1)
        until_here(lambda: not pool._jobs.dismissed)  # it has heard, but this loop does not know
        pool.resize(2)
        opened.put(held.go_on.set)
        assert pool.threads == 2
        await until(lambda: len(opened.finished) == 4)


async def test_a_thread_that_leaves_while_the_limit_is_raised() -> None:
    """The loop has seen that one is to leave, and now that one has heard it: there is no room yet."""

    class Vanishing(deque[None]):
        def pop(self) -> None:  # type: ignore  # it breaks on purpose
            self.clear()
            raise IndexError

    held = Held()
    async with open_pool(2) as opened:
        pool = opened.pool
        for _ in range(2):
            opened.put(held)
        await until(lambda: pool.threads == 2 and not pool._coming)
        pool._jobs.dismissed = Vanishing([None])
        opened.put(held)
        pool.resize(2)
        assert pool.threads == 2
        pool._jobs.dismissed = deque()
        held.go_on.set()
        await until(lambda: len(opened.finished) == 3)


async def test_idle_threads_leave_after_a_while() -> None:
    """All of them; the next job has a new one."""
    async with open_pool(4, idle_seconds=0.01) as opened:
        for _ in range(2):
            barrier = threading.Barrier(4)
            for _ in range(4):
                opened.put(barrier.wait, 30)
            await until(lambda: opened.pool.threads == 0)
            assert serving() == 0
    assert len(opened.finished) == 8


async def test_a_loop_that_has_ended() -> None:
    """A thread that finds out ends, whether it has just come or has done a job."""
    backend = detect()
    refusals = 0

    def poster() -> Callable[[Callable[[], object]], None]:
        post = backend.poster()

        def post_or_raise(fn: Callable[[], object]) -> None:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise RuntimeError("the loop has ended")
            post(fn)

        return post_or_raise

    cut_off = backend._replace(poster=poster)
    async with open_pool(1, backend=cut_off) as opened:
        refusals = 1
        # This loop goes on, so that another thread takes the place of the one that has ended.
        assert await opened.result(len, "abc") == 3
        assert refusals == 0
        held = Held()
        opened.put(held)
        await until(held.begun.is_set)
        refusals = 1
        held.go_on.set()
        await until(lambda: len(opened.finished) == 2)
        assert (refusals, opened.pool.threads) == (0, 0)


async def test_a_thread_that_cannot_be_started() -> None:
    """A job has the error for its outcome, as if it had been started for this one."""
    backend = detect()
    error = RuntimeError("can't start new thread")
    starts = 0

    async def run_in_thread(*args: Any) -> Any:
        nonlocal starts
        starts += 1
        if starts != 4:
            raise error
        return await backend.run_in_thread(*args)

    async with open_pool(2, backend=backend._replace(run_in_thread=run_in_thread)) as opened:
        jobs = [opened.put(abs, n) for n in range(3)]
        await until(lambda: len(opened.finished) == 3)
        assert opened.finished == jobs
        assert [job.error for job in jobs] == [error] * 3
        assert await opened.result(len, "abc") == 3
        assert opened.pool.threads == 1


@pytest.mark.parametrize("is_closing", [False, True])
async def test_a_thread_that_cannot_be_started_when_its_job_is_gone(*, is_closing: bool) -> None:
    """Nothing has the error, and other threads end as they should."""
    held = Held()
    backend = detect()
    fails = False

    async def run_in_thread(*args: Any) -> Any:
        if fails:
            assert opened.pool.withdraw(job)
            raise RuntimeError("can't start new thread")
        return await backend.run_in_thread(*args)

    async with open_pool(2, backend=backend._replace(run_in_thread=run_in_thread)) as opened:
        opened.put(held)
        await until(held.begun.is_set)
        fails = True
        job = opened.put(len, "abc")
        if is_closing:
            opened.pool.close()
        assert opened.pool.threads == 2
        await until(lambda: opened.pool.threads == 1)
        held.go_on.set()
    assert [job.value for job in opened.finished] == ["held"]


async def test_a_thread_that_cannot_be_replaced(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that it has handed on is not lost."""
    if anyio_backend_name != "trio":
        pytest.skip("threads are alike on asyncio")
    backend = detect()
    starts = 0

    async def run_in_thread(*args: Any) -> Any:
        nonlocal starts
        starts += 1
        if starts == 2:
            raise RuntimeError("can't start new thread")
        return await backend.run_in_thread(*args)

    monkeypatch.delitem(sys.modules, "anyio")
    async with open_pool(1, backend=backend._replace(run_in_thread=run_in_thread)) as opened:
        first = opened.put(len, "")
        while not opened.finished:  # noqa: ASYNC110 - no events of the loop
            await trio.sleep(0.001)
        monkeypatch.setitem(sys.modules, "anyio", anyio)
        jobs = [opened.put(len, "abc") for _ in range(2)]
        await until(lambda: len(opened.finished) == 3)
        assert opened.finished[0] is first
        assert sorted(str(job.error) for job in jobs) == ["None", "can't start new thread"]


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_an_abandoned_job_and_the_end_of_the_interpreter(loop: str) -> None:
    """Nobody waits for it: the threads are daemon threads on asyncio, too, where anyio's own are not."""
    code = f"""
import anyio, threading
from pools import open_pool, until

begun = threading.Event()

def work():
    begun.set()
    threading.Event().wait(60)
    print(", job", end="")

async def main():
    async with open_pool(1) as opened:
        job = opened.put(work)
        await until(begun.is_set)
        assert opened.pool.abandon(job)

anyio.run(main, backend={loop!r})
print("main", end="", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        cwd=Path(__file__).parent,
    )
    assert (done.stdout, done.stderr) == ("main", "")
