"""Threads of one run that carry out one plain call after another.

What it is for: a trip through the loop's own worker threads costs a wake-up of the loop and some fifty
microseconds for each call. Here threads take jobs from a queue, put what came of them into another, and
wake the loop once for however many there are by the time it looks. Each thread is one long call of the
loop's own `run_in_thread`, made by a task of the run's nursery: code in a job finds itself in a genuine
worker thread of trio's or anyio's, and their `from_thread` works. (Threads of our own making cost the
same for each job and less to start, but `from_thread` does not know them.)

What it does not know: slots, keys, which loop it is, what a job is good for, how many calls have places.

Invariant: there is a thread for each job that has been put and has not ended, as far as the limit
allows, so that jobs which wait for one another all run. Or one is on its way, or about to leave, and
more follow as soon as it has come, or gone. A job that was put is carried out once and handed to
`finish` once, on the loop, in the order of ending; or it was given up, and is not.

**Ahead.** A job may be put ahead of its turn: no thread is started or woken for it, and none that is
idle takes it, only one that has just ended another job and finds nothing else to do. It is the heir of
that one, whose outcome says so: until that has been finished, the loop does not know that it was begun.

**Growing.** A thread costs as much to start as a hundred jobs that do not block, and each that runs
Python takes its share of the GIL from the loop. So not all are started at once: while some are on their
way, no more than there are already. Jobs that block have all their threads after a few such steps, which
takes no longer, since threads start one by one anyway; jobs that do not block are gone before that.

**The wake-up cannot be lost.** A thread puts what has ended into the queue first, and looks at
`_is_woken` second; the drain clears `_is_woken` first, and looks into the queue second. So a thread that
finds the flag set has put its job where a drain that has yet to begin finds it: whoever has set the flag
posts a drain, and no drain clears it before it looks. Two threads may both find it clear: then a
second drain finds nothing, which is no harm. This needs no lock under the GIL, where all that happens
has one order. Without a GIL it is the queue's own lock that orders the two: the drain's last look, which
finds the queue empty, comes before the thread's entry, and so does the clearing of the flag.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, final

from ._backend import Backend, Nursery
from ._ki import protected
from ._thread_job import FN, Job, Server, carry_out
from ._thread_queue import JobQueue

IDLE_SECONDS = 10.0
"""How long a thread without a job stays, in seconds; what trio and anyio have theirs do."""

# How many jobs one drain hands over before others on the loop have a turn. Arbitrary.
_AT_ONCE = 512

# How many threads are on their way at the same time while there are no more than that. Arbitrary: one is
# enough for jobs that do not block, and two that wait for each other are no rare thing.
_AT_FIRST = 2

_NAME = "creche thread"


@final
class ThreadPool:
    """The threads of one run.

    Its methods are called on the loop, in tasks or callbacks; none of them waits. Jobs are begun in the
    order in which they were put.

    Attributes:
        threads: how many there are, those on their way and those about to leave included, those that
            were abandoned not.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        limit: int,
        finish: Callable[[Any], object],
        *,
        when_drained: Callable[[], object] = lambda: None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Make a pool without a thread, on the loop that it is for.

        Args:
            backend: the loop.
            nursery: in which a task for each thread is started; its exit waits for them, so that `close`
                comes first.
            limit: how many threads at most, 1 or more.
            finish: called with each job that has ended, protected from Ctrl-C; it does not raise, and
                may put, withdraw and abandon.
            when_drained: called when several of them, or one, have been finished; it does not raise,
                either.
            idle_seconds: how long a thread without a job stays.
        """
        self.threads = 0
        self._coming = 0
        self._backend = backend
        self._nursery = nursery
        self._limit = limit
        self._finish = finish
        self._when_drained = when_drained
        self._idle_seconds = idle_seconds
        self._context = copy_context()  # not that of whoever puts the job that a thread is started for
        self._post = backend.poster()
        self._jobs = JobQueue()
        self._ahead: deque[Job] = deque()
        self._outcomes: deque[Job] = deque()
        self._is_woken = False
        # Put and neither finished nor given up. Up to `_enough` no thread need be started.
        self._outstanding = 0
        self._enough = 0

    def put(self, job: Job) -> None:
        """Have a job carried out, by a thread that is idle or by a new one, or when one comes free.

        Args:
            job: not put before.
        """
        assert not self._jobs.is_closed, job
        self._outstanding += 1
        self._jobs.put(job)
        if self._outstanding > self._enough:
            self._grow()

    def put_ahead(self, job: Job) -> None:
        """Let a thread go on with a job when it has ended another, and find nothing else to do.

        Args:
            job: not put before; it may be put when it was called back.
        """
        self._ahead.append(job)

    def call_back(self, job: Job) -> bool:
        """Take a job back that was put ahead, unless a thread has taken it already.

        Args:
            job: one that was put ahead.

        Returns:
            False when a thread has: then it is as one that was put, from now on.
        """
        try:
            self._ahead.remove(job)
        except ValueError:
            return False
        return True

    def call_back_last(self) -> Job | None:
        """The same for the last of all that were put ahead and are there still; `None` if none is."""
        try:
            return self._ahead.pop()
        except IndexError:
            return None

    def withdraw(self, job: Job) -> bool:
        """Take a job back that no thread has begun with. Its shell stays queued, without contents.

        Args:
            job: one that was put.

        Returns:
            True if it will never run, and not be finished; False if it runs, has ended, or was given up
            before: nothing has changed then.
        """
        if not job.withdraw():
            return False
        self._outstanding -= 1
        return True

    def abandon(self, job: Job) -> bool:
        """Wait for a job no longer: withdraw it, or leave the thread that carries it out to itself.

        That thread ends after this job, whose outcome is dropped; another may take its place now. Nobody
        waits for it, the end of the nursery included; an end of the interpreter does if the loop's own
        worker threads are waited for then, which anyio's are on asyncio, and trio's are not. In the job
        `from_thread` finds itself cancelled, as far as the loop tells.

        Args:
            job: one that was put.

        Returns:
            True if it will not be finished; False if it has ended, and is finished if it was not yet, or
            if it was given up before.
        """
        if self.withdraw(job):
            return True
        if not job.abandon():
            return False
        self._outstanding -= 1
        server = job.server
        assert server is not None, "it has begun"
        assert server.guard is not None, server
        server.is_alone = True
        self.threads -= 1
        server.guard.shield = False
        server.guard.cancel()  # the end of its task sees to a successor
        return True

    def resize(self, limit: int) -> None:
        """Have so many threads at most from now on; those too many leave when their job has ended.

        Args:
            limit: 1 or more.
        """
        self._limit = limit
        self._jobs.dismiss(self._count_staying() - limit)
        self._grow()

    def close(self) -> None:
        """Nothing more is put: threads end when all that was put has begun and their own job has ended.

        Idempotent. The nursery can be left after it, and waits for them.
        """
        self._jobs.close()

    # Threads come and go ----------------------------------------------------------------------------

    def _count_needed(self) -> int:
        # What has ended needs no thread any more. One that is about to say so counts as busy.
        return self._outstanding - len(self._outcomes)

    def _count_staying(self) -> int:
        # One that has heard that it is to leave counts until its task has ended.
        return self.threads - len(self._jobs.dismissed)

    def _grow(self) -> None:
        """See to it that there is a thread for each job, as far as the limit allows."""
        wanted = min(self._count_needed(), self._limit)
        is_called_again = False
        for _ in range(wanted - self._count_staying()):
            if self._jobs.take_dismissal():
                continue  # that one may stay after all
            # If there is no room, one is leaving just now; at its end it comes here. If enough are on
            # their way, so does the first of them.
            most = max(_AT_FIRST, self.threads - self._coming)
            if self.threads >= self._limit or self._coming >= most:
                is_called_again = True
                break
            self._start()
        staying = self._count_staying()
        self._enough = sys.maxsize if is_called_again or staying >= self._limit else staying

    def _start(self) -> None:
        self.threads += 1
        self._coming += 1
        self._backend.start_soon(self._nursery, self._context, self._host, Server(), _NAME)

    def _arrive(self, server: Server) -> None:
        if server.is_coming:
            server.is_coming = False
            self._coming -= 1
            self._grow()

    @protected
    async def _host(self, server: Server) -> None:
        """The task of one thread: parked as long as that goes on."""
        backend = self._backend
        serve = partial(self._serve, server)
        # Others may have done the job meanwhile; a thread that is not needed costs as much as any other.
        needed = self._count_staying() <= self._count_needed()
        try:
            # The guard shields. What cancels is a scope around the nursery, after an `abandon`, or
            # asyncio's own `Task.cancel`, which is to end nothing but this task.
            with suppress(backend.cancelled):
                while needed:
                    server.guard = backend.open_scope(shield=True)
                    needed = await backend.run_in_thread(serve, _NAME, server.guard)
        except Exception as exc:  # noqa: BLE001 - there is no thread to be had: the outcome of a job
            self._fail_one(exc)
        finally:
            self._take_back(server)
            if not server.is_alone:
                self.threads -= 1
            self._arrive(server)
            # What this thread has done is finished before its task ends, whoever was to wake the loop.
            self._drain()
            self._grow()

    def _take_back(self, server: Server) -> None:
        """What a thread has handed to its successor, if that has not come."""
        job, server.handed = server.handed, None
        if job is not None:
            self._jobs.put(job)

    def _fail_one(self, error: Exception) -> None:
        """A thread cannot be started: neither can what it was started for."""
        while (job := self._jobs.take()) is not None:
            if self.withdraw(job):
                job.error = error
                self._finish(job)
                self._when_drained()
                return

    # What has ended ---------------------------------------------------------------------------------

    @protected
    def _drain(self) -> None:
        """On the loop: finish what has ended."""
        self._is_woken = False
        take, finish = self._outcomes.popleft, self._finish
        is_empty = has_heirs = False
        try:
            for _ in range(_AT_ONCE):
                try:
                    job = take()
                except IndexError:
                    is_empty = True
                    return
                if job.heir is None:
                    self._outstanding -= 1
                else:  # its thread has gone on with that one, and is not free for others
                    has_heirs = True
                finish(job)
        finally:
            if has_heirs:
                self._grow()
            if not is_empty:  # others have a turn; or a second Ctrl-C on asyncio has come
                self._is_woken = True
                self._post(self._drain)
            self._when_drained()

    # In the threads ---------------------------------------------------------------------------------

    def _serve(self, server: Server) -> bool:  # noqa: C901, PLR0912 - one frame
        """What one thread does, from its first job to its last.

        Returns:
            True if it is to be called again, in a thread that is begun anew, for `server.handed`.
        """
        job, server.handed = server.handed, None
        fn: Any = None
        queue, ended, ahead = self._jobs, self._outcomes.append, self._ahead
        jobs, idle, dismissed = queue.jobs, queue.idle, queue.dismissed
        leave_loop, kind = self._backend.leave_loop, self._backend.thread_kind
        mine = kind()
        thread = threading.current_thread()
        name = thread.name
        try:
            if not self._tell(partial(self._arrive, server)):
                return False
            while True:
                if job is None:
                    try:
                        job = jobs.popleft()
                    except IndexError:
                        thread.name = name
                        if (job := queue.wait(server, self._idle_seconds)) is None:
                            return False
                    if jobs and idle and not queue.is_calling:
                        queue.call_one()
                if kind() != mine:
                    server.handed = job
                    return True
                # First who, then the claim: whoever finds the job claimed finds out by whom.
                job.server = server
                try:
                    fn = job.tokens.pop(FN)
                except IndexError:  # it was withdrawn
                    job = None
                    continue
                thread.name = job.name
                carry_out(job, fn, leave_loop)
                fn = None
                try:
                    job.tokens.pop()
                except IndexError:  # it was abandoned, and this thread with it
                    return False
                job.server = None
                leaves = bool(dismissed) and queue.take_dismissal()
                if ahead and not (leaves or jobs) and job.error is None:  # a failure may end the run
                    with suppress(IndexError):  # another thread has got it
                        job.heir = ahead.popleft()
                # First who comes next, then that this one has ended: see above.
                heir = job.heir
                ended(job)
                job, heir = heir, None
                if not self._is_woken:
                    self._is_woken = True
                    if not self._tell(self._drain):
                        return False
                if leaves:
                    return False
        finally:
            thread.name = name
            # What a job has raised leads back to this frame, by way of those that called it.
            del self, server, job, fn, queue, jobs, idle, ended, ahead

    def _tell(self, fn: Callable[[], object]) -> bool:
        """Have the loop call a function; False if the loop has ended."""
        try:
            self._post(fn)
        except RuntimeError:
            return False
        return True
