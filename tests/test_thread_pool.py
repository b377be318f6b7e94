"""Threads of a run that carry out plain calls: order, wake-ups, contexts, outcomes, from_thread."""

from __future__ import annotations

import contextvars
import gc
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Sized
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import sniffio
import trio

from creche._backends import detect
from pools import make_job, open_pool, serving, until, until_here

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

VAR: contextvars.ContextVar[Any] = contextvars.ContextVar("VAR", default="unset")


async def test_jobs_are_finished_in_the_order_of_ending() -> None:
    """One thread ends them as they were put; of two, whichever has ended first."""
    async with open_pool(1) as opened:
        jobs = [opened.put(divmod, n, 7) for n in range(100)]
        await until(lambda: len(opened.finished) == 100)
        assert opened.finished == jobs
        assert [job.value for job in jobs] == [divmod(n, 7) for n in range(100)]
    async with open_pool(2) as opened:
        go_on = threading.Event()
        slow = opened.put(go_on.wait, 30)
        quick = opened.put(go_on.set)
        await until(lambda: len(opened.finished) == 2)
        assert set(opened.finished) == {slow, quick}
        held = threading.Event()
        slow = opened.put(held.wait, 30)
        quick = opened.put(len, "ab")
        await until(lambda: quick in opened.finished)
        assert slow not in opened.finished
        held.set()
    assert opened.finished[-2:] == [quick, slow]
    assert serving() == 0


@pytest.mark.parametrize("limit", [1, 5])
async def test_many_jobs_that_end_while_the_loop_is_busy_wake_it_once(limit: int) -> None:
    """However many threads they ended in."""
    posted: list[Any] = []
    backend = detect()

    def poster() -> Callable[[Callable[[], object]], None]:
        post = backend.poster()

        def count(fn: Callable[[], object]) -> None:
            posted.append(fn)
            post(fn)

        return count

    async with open_pool(limit, backend=backend._replace(poster=poster)) as opened:
        pool = opened.pool
        barrier = threading.Barrier(limit + 1)
        for _ in range(limit):
            opened.put(barrier.wait)
        await anyio.to_thread.run_sync(barrier.wait)
        await until(lambda: len(opened.finished) == limit)
        del posted[:]
        for n in range(400):
            opened.put(abs, n)
        until_here(lambda: len(pool._outcomes) == 400)
        assert posted == [pool._drain]
        await until(lambda: len(opened.finished) == limit + 400)
        assert posted == [pool._drain]


async def test_a_drain_lets_others_have_a_turn() -> None:
    """What has ended is finished in pieces, if it is very much."""
    async with open_pool(1) as opened:
        await opened.result(len, "")
        for n in range(3000):
            opened.put(abs, n)
        until_here(lambda: len(opened.pool._outcomes) == 3000)
        seen: set[int] = set()
        while len(opened.finished) < 3001:
            await anyio.lowlevel.checkpoint()
            seen.add(len(opened.finished))
        assert len(seen) > 2  # two pieces may come between two turns of this task
        assert [job.value for job in opened.finished[1:]] == list(range(3000))


@pytest.mark.parametrize("number", [2, 3, 17, 40])
async def test_jobs_that_wait_for_one_another_all_run(number: int) -> None:
    """Up to the limit there is a thread for each; and again when they are idle."""
    async with open_pool(number) as opened:
        for n in range(5):
            opened.put(abs, n)
        for _ in range(3):
            barrier = threading.Barrier(number)
            jobs = [opened.put(barrier.wait, 30) for _ in range(number)]
            await opened.all_of(jobs)
            assert sorted(job.value for job in jobs) == list(range(number))
            assert opened.pool.threads == number


async def test_jobs_that_are_put_one_by_one_while_others_block_all_run() -> None:
    """Each finds a thread, or starts one."""
    async with open_pool(10) as opened:
        go_on = threading.Event()
        for _ in range(9):
            opened.put(go_on.wait, 30)
            assert await opened.result(len, "abc") == 3
        go_on.set()


async def test_there_are_never_more_threads_than_the_limit() -> None:
    """Nor more jobs at once."""
    inside, most, lock = 0, 0, threading.Lock()
    idents: set[int] = set()

    def work() -> None:
        nonlocal inside, most
        with lock:
            idents.add(threading.get_ident())
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.002)
        with lock:
            inside -= 1

    async with open_pool(3) as opened:
        for _ in range(60):
            opened.put(work)
            assert opened.pool.threads <= 3
        await until(lambda: len(opened.finished) == 60)
    assert most == len(idents) == 3


async def test_a_thread_is_started_only_if_none_is_idle() -> None:
    """One thread does for jobs that come one after another; and two do not make it three."""
    async with open_pool() as opened:
        idents = {await opened.result(threading.get_ident) for _ in range(50)}
        assert len(idents) == opened.pool.threads == 1
        barrier = threading.Barrier(2)
        for _ in range(20):
            jobs = [opened.put(barrier.wait, 30) for _ in range(2)]
            await opened.all_of(jobs)
            assert opened.pool.threads == 2


def _has(things: Sized, number: int) -> bool:
    return len(things) == number


async def test_a_thread_whose_job_has_ended_counts_as_idle() -> None:
    """Though the loop has not heard of it."""
    async with open_pool() as opened:
        await opened.result(len, "")
        for n in range(20):
            opened.put(len, "")
            until_here(partial(_has, opened.pool._outcomes, n + 1))
            assert opened.pool.threads == 1


async def test_jobs_that_do_not_block_need_few_threads() -> None:
    """Put in one turn of the loop, which lets nothing else run, they do not start one each."""
    async with open_pool() as opened:
        for n in range(200):
            opened.put(abs, n)
            assert opened.pool.threads <= 2
        await until(lambda: len(opened.finished) == 200)


async def test_each_job_has_its_own_context() -> None:
    """What one sets the next does not see, nor the thread."""

    def look() -> Any:
        before = VAR.get()
        VAR.set("of a job")
        return before

    VAR.set("of the pool")
    async with open_pool(1) as opened:
        assert await opened.result(look) == "of the pool"
        VAR.set("of the submitter")
        assert await opened.result(look) == "of the submitter"
        assert await opened.result(look) == "of the submitter"
    assert VAR.get() == "of the submitter"


async def test_a_job_does_not_find_itself_on_a_loop() -> None:
    """Whatever its submitter's context says; and it can run a loop of its own."""
    mark = sniffio.current_async_library_cvar
    mark.set(sniffio.current_async_library())  # as anyio.run does

    async def answer() -> int:
        await anyio.lowlevel.checkpoint()
        return 42

    def look() -> int:
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()
        return anyio.run(answer) + anyio.run(answer, backend="trio")

    async with open_pool(1) as opened:
        assert await opened.result(look) == 84
    assert mark.get() is not None


async def test_a_thread_has_the_name_of_its_job() -> None:
    """And its own name back when it has none."""

    def name() -> str:
        return threading.current_thread().name

    async with open_pool(1) as opened:
        threads: list[threading.Thread] = []
        opened.put(lambda: threads.append(threading.current_thread()), name="creche 0")
        jobs = [opened.put(name, name=f"creche {n!r}") for n in "abc"]
        await until(lambda: len(opened.finished) == 4)
        assert [job.value for job in jobs] == ["creche 'a'", "creche 'b'", "creche 'c'"]
        await until(lambda: not threads[0].name.startswith("creche '"))
        idle = threads[0].name
        await opened.result(name)
        await until(lambda: threads[0].name == idle)


@pytest.mark.parametrize(
    "kind", [ValueError, StopIteration, KeyboardInterrupt, SystemExit, GeneratorExit, trio.Cancelled]
)
async def test_whatever_a_job_raises_is_its_outcome(kind: Any) -> None:
    """The object itself; and the thread goes on."""
    error: BaseException = kind._create(source="unknown") if kind is trio.Cancelled else kind("boo")

    def fail() -> None:
        raise error

    async with open_pool(1) as opened:
        ident = await opened.result(threading.get_ident)
        job = opened.put(fail)
        await until(lambda: job in opened.finished)
        assert job.error is error
        assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["fail"]
        job = opened.put(int, "x")
        await until(lambda: job in opened.finished)
        assert isinstance(job.error, ValueError)
        assert await opened.result(threading.get_ident) == ident


T = TypeVar("T")


class Thing:
    """What can be watched."""


async def test_an_idle_thread_keeps_nothing_of_its_last_job() -> None:
    """Neither the job, its function, arguments, value or exception, nor what its context holds."""
    refs: list[weakref.ref[Any]] = []

    def watched(thing: T) -> T:
        refs.append(weakref.ref(thing))
        return thing

    def give(thing: Any) -> Thing:
        local = watched(Thing())
        return watched(Thing()) if thing else local

    def fail(thing: Any) -> None:
        local = watched(Thing())
        raise ValueError(thing, local)

    class Callme(Thing):
        def __call__(self) -> None:
            """Do nothing."""

    async with open_pool(1) as opened:
        finished = opened.finished
        gc.collect()
        gc.disable()
        try:
            for fn in (give, fail, Callme()):
                token = VAR.set(watched(Thing()))
                args = () if isinstance(fn, Callme) else (watched(Thing()),)
                watched(opened.put(watched(fn) if not args else fn, *args))
                VAR.reset(token)
                fn = token = args = None  # type: ignore  # noqa: PLW2901 - let go of, on purpose
                await until(finished.__len__)
                finished.clear()
            # The thread may be in the last lines before it waits.
            await until(lambda: not any(ref() for ref in refs))
            assert len(refs) == 12
        finally:
            gc.enable()
        assert opened.pool.threads == 1


async def test_a_job_that_has_ended_keeps_only_what_came_of_it() -> None:
    """Whoever keeps it for its value keeps nothing else."""
    thing = Thing()
    ref = weakref.ref(thing)
    async with open_pool(1) as opened:
        token = VAR.set(thing)
        job = opened.put(id, thing)
        VAR.reset(token)
        value = id(thing)
        del thing, token
        await until(lambda: job in opened.finished and ref() is None)
        assert (job.value, job.error, job.server, job.tokens) == (value, None, None, [])


async def test_an_exception_that_is_kept_keeps_no_other_job() -> None:
    """Its traceback leads to frames of the thread, which goes on with others."""

    def fail() -> None:
        raise ValueError

    async with open_pool(1) as opened:
        failed = opened.put(fail)
        await until(lambda: failed in opened.finished)
        other = weakref.ref(opened.put(len, "abc"))
        await until(lambda: len(opened.finished) == 2)
        assert failed.error is not None
        opened.finished.clear()
        await until(lambda: other() is None)
        pool = weakref.ref(opened.pool)
    opened.pool = None  # type: ignore  # let go of, on purpose
    await until(lambda: pool() is None)


async def test_from_thread_of_anyio() -> None:
    """In any job of a thread, also the tenth."""

    async def give(value: Any) -> tuple[Any, Any]:
        await anyio.lowlevel.checkpoint()
        return value, VAR.get()

    def both(n: int) -> tuple[Any, Any, int]:
        anyio.from_thread.check_cancelled()
        VAR.set(n)
        ident = anyio.from_thread.run_sync(threading.get_ident)
        return (*anyio.from_thread.run(give, n), ident)

    async with open_pool(1) as opened:
        for n in range(10):
            assert await opened.result(both, n) == (n, n, threading.get_ident())


async def test_from_thread_of_trio(anyio_backend_name: str) -> None:
    """On trio."""
    if anyio_backend_name != "trio":
        pytest.skip("trio's own")

    async def give(value: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return value

    def both(n: int) -> tuple[Any, int]:
        trio.from_thread.check_cancelled()
        return trio.from_thread.run(give, n), trio.from_thread.run_sync(threading.get_ident)

    async with open_pool(1) as opened:
        for n in range(10):
            assert await opened.result(both, n) == (n, threading.get_ident())


async def test_anyio_that_is_imported_later(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On trio a thread that began before is replaced, so that its jobs can use `anyio.from_thread`."""
    if anyio_backend_name != "trio":
        pytest.skip("on asyncio it is there from the start")
    monkeypatch.delitem(sys.modules, "anyio")
    async with open_pool(1) as opened:
        pool, finished = opened.pool, opened.finished
        job = make_job(anyio.from_thread.run_sync, threading.get_ident)
        pool.put(job)
        while job not in finished:  # noqa: ASYNC110 - no events of the loop
            await trio.sleep(0.001)
        assert isinstance(job.error, anyio.NoEventLoopError)
        monkeypatch.setitem(sys.modules, "anyio", anyio)
        jobs = [opened.put(anyio.from_thread.run_sync, abs, n) for n in range(20)]
        await until(lambda: len(finished) == 21)
        assert finished[1:] == jobs
        assert [job.value for job in jobs] == list(range(20))
        assert pool.threads == 1
