"""A queue of jobs that threads wait at, each for a while.

What it is for: a job that is put wakes an idle thread, and as many more are woken as are needed. Those
that were busy last are woken first, so that the others may leave. (`queue.SimpleQueue` does neither; and
up to Python 3.12 its timed `get` can wait for ever where several wait.)

What it does not know: what a job is, loops.

Invariant: while something is queued nobody sleeps, unless somebody is awake who will take it. An idle
thread enters itself among the idle first, and takes a last look round second; who puts something,
dismisses somebody or closes does so first, and looks for somebody idle second. If a job is the only one
there, one is woken for it; else somebody is awake who takes what was there before. Who takes something
and leaves something wakes the next. So as many wake as there are jobs that block.

**One at a time.** While somebody who was woken for a job has yet to come, nobody else is: to wake a
thread costs as much as many jobs, and one that is awake may well take all there is before the other one
comes. Whoever comes says so first, and looks for a job second, so that it finds the one for which nobody
was woken on its account; and it wakes the next if it leaves any.
"""

from __future__ import annotations

from collections import deque
from typing import final

from ._thread_job import Job, Server


@final
class JobQueue:
    """A queue, first in, first out. It needs no lock: each step is a single one of a deque or dict.

    Attributes:
        jobs: what is queued.
        idle: who sleeps; used as a stack.
        dismissed: one entry for each thread that is to leave and has not heard of it. Whoever gets one
            leaves.
        is_closed: whether threads leave that find nothing.
        is_calling: whether somebody who was woken has not come yet.
    """

    __slots__ = ("dismissed", "idle", "is_calling", "is_closed", "jobs")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.idle: dict[Server, None] = {}
        self.dismissed: deque[None] = deque()
        self.is_closed = False
        self.is_calling = False

    # On the loop ------------------------------------------------------------------------------------

    def put(self, job: Job) -> None:
        """Queue a job."""
        self.jobs.append(job)
        if self.idle and len(self.jobs) == 1 and not self.is_calling:
            self.call_one()

    def dismiss(self, number: int) -> None:
        """So many threads are to leave: idle ones now, or others before they take another job."""
        for _ in range(number):
            self.dismissed.append(None)
            self.ring()

    def close(self) -> None:
        """Threads leave when there is no job any more."""
        self.is_closed = True
        while self.ring():
            pass

    # Anywhere ---------------------------------------------------------------------------------------

    def take(self) -> Job | None:
        """The next job, if there is one; a thread then has one called if it leaves another."""
        try:
            return self.jobs.popleft()
        except IndexError:
            return None

    def take_dismissal(self) -> bool:
        """Whether a thread was to leave; now it is whoever was told so, or none if the loop was."""
        try:
            self.dismissed.pop()
        except IndexError:
            return False
        return True

    def ring(self) -> bool:
        """Wake somebody idle, if there is somebody."""
        try:
            server, _ = self.idle.popitem()
        except KeyError:
            return False
        server.bell.release()
        return True

    def call_one(self) -> None:
        """Wake somebody idle for a job; not while somebody else is being called."""
        while self.jobs and self.idle:
            self.is_calling = True
            if self.ring():
                return
            # Who has put something meanwhile has left it to us; and somebody may have fallen asleep.
            self.is_calling = False

    # In the threads ---------------------------------------------------------------------------------

    def wait(self, server: Server, seconds: float) -> Job | None:
        """Sleep until there is a job.

        Args:
            server: whose thread it is.
            seconds: how long at most.

        Returns:
            a job, or `None` if the thread is to leave: none has come for so long, or it is dismissed, or
            the queue is closed.
        """
        while True:
            self.idle[server] = None
            job = None
            is_dismissed = self.take_dismissal()
            if is_dismissed or (job := self.take()) is not None or self.is_closed:
                break
            if not server.bell.acquire(timeout=seconds):
                break
            self.is_calling = False
        try:
            del self.idle[server]
        except KeyError:
            server.bell.acquire()  # somebody has taken it for idle, and rings just now
            self.is_calling = False
        if is_dismissed:
            if self.jobs:  # it may have been woken for that
                self.call_one()
            return None
        return job or self.take()
