"""A queue of jobs that threads wait at, each for a while.

What it is for: a job that is put wakes an idle thread, and as many more are woken as are needed. Those
that were busy last are woken first, so that the others may leave. (`queue.SimpleQueue` does neither; and
up to Python 3.12 its timed `get` can wait for ever where several wait.)

What it does not know: what a job is, loops.

Invariant: while something is queued nobody sleeps, unless somebody is awake who will take it. An idle
thread enters itself among the idle first, and takes a last look at the queue second; who puts something
does so first, and looks for somebody idle second. If it was the only thing there, one is woken; else
somebody is awake who takes what was there before. Who takes something and leaves something wakes the
next. So as many wake as there are jobs that block, and a few for many that do not.
"""

from __future__ import annotations

from collections import deque
from typing import final

from ._thread_job import Job, Server


@final
class JobQueue:
    """A queue, first in, first out; no method of it needs a lock.

    Attributes:
        jobs: what is queued.
        idle: who sleeps; used as a stack.
    """

    __slots__ = ("idle", "jobs")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.idle: dict[Server, None] = {}

    def put(self, job: Job) -> None:
        """Queue a job; on the loop."""
        self.jobs.append(job)
        if self.idle and len(self.jobs) == 1:
            self.ring()

    def take(self) -> Job | None:
        """The next job, if there is one; a thread then calls `ring` if it leaves another."""
        try:
            return self.jobs.popleft()
        except IndexError:
            return None

    def ring(self) -> None:
        """Wake somebody idle, if there is somebody."""
        try:
            server, _ = self.idle.popitem()
        except KeyError:
            return
        server.bell.release()

    def wait(self, server: Server, seconds: float) -> Job | None:
        """In a thread: sleep until there is a job.

        Args:
            server: whose thread it is.
            seconds: how long at most.

        Returns:
            a job, or `None` if none has come for so long.
        """
        while True:
            self.idle[server] = None
            job = self.take()
            if job is None and server.bell.acquire(timeout=seconds):
                if (job := self.take()) is None:
                    continue  # somebody was quicker
                return job
            try:
                del self.idle[server]
            except KeyError:
                server.bell.acquire()  # somebody has taken it for idle, and rings just now
            return job or self.take()
