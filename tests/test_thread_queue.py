"""The queue that threads wait at: who is woken, and what happens between a look and a sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from creche._thread_job import Job, Server
from creche._thread_queue import JobQueue
from pools import make_job, until_here


class Bell:
    """Does something at the moment when the thread would fall asleep; then it is rung, or time is up."""

    def __init__(self, *steps: Callable[[], object], is_rung: bool) -> None:
        self.steps = list(steps)
        self.is_rung = is_rung
        self.rings = self.heard = 0

    def acquire(self, timeout: float = -1) -> bool:
        """Take the next step."""
        if timeout < 0:
            self.heard += 1
            return True
        self.steps.pop(0)()
        return self.is_rung

    def release(self) -> None:
        """Count."""
        self.rings += 1


def waiting(queue: JobQueue, *steps: Callable[[], object], is_rung: bool) -> tuple[Any, Bell]:
    """What a thread gets that waits, with a bell that takes these steps."""
    server: Any = Server()
    bell = server.bell = Bell(*steps, is_rung=is_rung)
    job = queue.wait(server, 5)
    assert not queue.idle
    return job, bell


def put(queue: JobQueue) -> Job:
    """Put a job."""
    job = make_job(len, "")
    queue.put(job)
    return job


def test_a_job_that_comes_just_before_the_sleep() -> None:
    """The last look finds it; nobody is rung for, as nobody was idle."""
    queue = JobQueue()
    job = put(queue)
    assert waiting(queue, is_rung=False)[0] is job


def test_a_job_wakes_the_thread() -> None:
    """It is no longer idle then."""
    queue = JobQueue()
    jobs: list[Job] = []
    job, bell = waiting(queue, lambda: jobs.append(put(queue)), is_rung=True)
    assert [job] == jobs
    assert bell.rings == 1


def test_a_job_that_somebody_else_has_taken() -> None:
    """The thread that was woken for it sleeps again, and is woken for the next."""
    queue = JobQueue()
    jobs: list[Job] = []

    def put_and_take() -> None:
        put(queue)
        assert queue.take() is not None

    job, bell = waiting(queue, put_and_take, lambda: jobs.append(put(queue)), is_rung=True)
    assert [job] == jobs
    assert bell.rings == 2


def test_a_thread_whose_time_is_up() -> None:
    """It goes with nothing."""
    queue = JobQueue()
    assert waiting(queue, lambda: None, is_rung=False)[0] is None


def test_a_job_that_comes_when_the_time_is_up() -> None:
    """It was rung for, and does not leave without looking."""
    queue = JobQueue()
    jobs: list[Job] = []
    job, bell = waiting(queue, lambda: jobs.append(put(queue)), is_rung=False)
    assert [job] == jobs
    assert (bell.rings, bell.heard) == (1, 1)


def test_a_ring_between_the_entry_and_the_last_look() -> None:
    """The look finds the job, and the ring is heard, so that it does not ring at the next sleep."""
    queue = JobQueue()

    class Late(dict[Server, None]):
        def __setitem__(self, server: Server, value: None) -> None:
            super().__setitem__(server, value)
            put(queue)

    queue.idle = Late()
    job, bell = waiting(queue, is_rung=False)
    assert job is not None
    assert (bell.rings, bell.heard) == (1, 1)


def test_one_is_woken_for_the_first_of_many() -> None:
    """The one that was busy last; who takes the first job wakes the next."""
    queue = JobQueue()
    servers: list[Any] = [Server() for _ in range(3)]
    for server in servers:
        server.bell = Bell(is_rung=True)
        queue.idle[server] = None
    for _ in range(5):
        put(queue)
    assert [server.bell.rings for server in servers] == [0, 0, 1]
    queue.ring()
    assert [server.bell.rings for server in servers] == [0, 1, 1]
    queue.ring()
    queue.ring()
    assert [server.bell.rings for server in servers] == [1, 1, 1]


def test_one_is_called_at_a_time() -> None:
    """A woken thread that has yet to come is enough; it wakes the next one if it leaves something."""
    queue = JobQueue()
    other: Any = Server()
    other.bell = Bell(is_rung=True)
    jobs: list[Job] = []

    def put_two() -> None:
        queue.idle[other] = None
        jobs.append(put(queue))  # for which the other is called
        assert queue.take() is jobs.pop()  # and somebody awake is quicker
        jobs.append(put(queue))
        assert other.bell.rings == 1
        queue.ring()
        assert queue.is_calling

    job, _ = waiting(queue, put_two, is_rung=True)
    assert [job] == jobs
    assert not queue.is_calling


def test_a_thread_that_falls_asleep_while_nobody_was_there_to_be_called() -> None:
    """What was put meanwhile was left to whoever calls, who looks again."""
    queue = JobQueue()
    server: Any = Server()
    server.bell = Bell(is_rung=True)

    class Woken(dict[Server, None]):
        """Somebody else is quicker at first."""

        is_empty = True

        def popitem(self) -> tuple[Server, None]:
            if self.is_empty:
                self.is_empty = False
                raise KeyError
            return super().popitem()

    queue.idle = Woken()
    queue.idle[server] = None
    put(queue)
    assert server.bell.rings == 1
    assert queue.is_calling


def test_a_thread_that_is_dismissed() -> None:
    """At once if it sleeps, or before it falls asleep; once."""
    queue = JobQueue()
    job, bell = waiting(queue, lambda: queue.dismiss(1), is_rung=True)
    assert job is None
    assert bell.rings == 1
    queue.dismiss(1)
    assert waiting(queue, is_rung=True)[0] is None
    assert not queue.take_dismissal()


def test_a_thread_that_is_dismissed_instead_of_taking_a_job() -> None:
    """It leaves the job, and wakes another, as it may have been woken for that."""
    queue = JobQueue()
    other: Any = Server()
    other.bell = Bell(is_rung=True)
    jobs: list[Job] = []

    def put_and_dismiss() -> None:
        jobs.append(put(queue))
        queue.idle[other] = None
        queue.dismissed.append(None)

    server: Any = Server()
    server.bell = Bell(put_and_dismiss, is_rung=True)
    assert queue.wait(server, 5) is None
    assert other.bell.rings == 1
    assert list(queue.jobs) == jobs


def test_a_closed_queue() -> None:
    """Whoever sleeps is woken, and nobody falls asleep; what is there is taken all the same."""
    queue = JobQueue()
    job, bell = waiting(queue, queue.close, is_rung=True)
    assert job is None
    assert bell.rings == 1
    assert waiting(queue, is_rung=True)[0] is None
    queued = put(queue)
    assert waiting(queue, is_rung=True)[0] is queued
    queue.close()


def test_threads_that_sleep_for_moments() -> None:
    """However often they fall asleep while jobs come, none is overlooked and each is taken once."""
    queue = JobQueue()
    taken: list[Job] = []
    has_ended = False

    def serve() -> None:
        server = Server()
        while not has_ended:
            job = queue.wait(server, 0.0002)
            if queue.jobs and queue.idle:
                queue.ring()
            if job is not None:
                taken.append(job)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    jobs: list[Job] = []
    pause = threading.Event()
    for n in range(3000):
        jobs.append(put(queue))
        if n % 7 == 0:
            pause.wait(0.0001)
    until_here(lambda: len(taken) == len(jobs))
    has_ended = True
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert set(taken) == set(jobs)


def test_all_that_sleep_hear_of_the_end() -> None:
    """A queue that is closed wakes each of them: nobody sleeps on until its time is up."""
    queue = JobQueue()
    servers = [Server() for _ in range(3)]
    for server in servers:
        queue.idle[server] = None
    queue.close()
    assert all(server.bell.acquire(blocking=False) for server in servers)
    assert not queue.idle
