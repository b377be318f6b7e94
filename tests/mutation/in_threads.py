"""Faults in threads: errands from them, the pool of them, other loops in them.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

THREADS = ("thread_pool", "thread_pool_edges", "thread_queue", "thread_pool_threads")

FAULTS = [
    # Errands from other threads -------------------------------------------------------------------
    Fault(
        name="errand-is-run-though-taken-back",
        file="_portal",
        where="Errand.take_back",
        old="del self._under_way[self]",
        new="pass",
        breaks="what a thread asked for and took back is not run",
        tests=("portal", "from_thread_interrupts", "submit_elsewhere_endings"),
    ),
    Fault(
        name="errand-is-not-begun-alone",
        file="_portal",
        where="Errand.begin",
        old="begins, self.is_open = self.is_open, False",
        new="begins = self.is_open",
        breaks="an errand that is being run is not taken back",
        tests=("portal",),
    ),
    Fault(
        name="threads-wait-for-a-loop-that-has-ended",
        file="_portal",
        where="Portal.close",
        old="errand.reply(Error(RunnerClosed(_OVER)))",
        breaks="a thread that waits for an errand is told when the run ends",
        tests=("portal", "from_thread", "submit_elsewhere_endings"),
    ),
    Fault(
        name="errand-in-nobodys-context",
        file="_portal",
        where="Portal.call",
        old="partial(copy_context().run, fn)",
        new="fn",
        breaks="what a thread submits sees the thread's context variables",
        tests=("portal", "from_thread", "submit_elsewhere"),
    ),
    Fault(
        name="news-in-the-wrong-thread",
        file="_waiting",
        where="AsCompleted.add",
        old="arrive = partial(post_to, self._backend.poster(), arrive)",
        breaks="a slot of another thread's loop wakes its readers on their own loop",
        # The others may hang before that one has its turn.
        tests=("other_loops::test_arrivals_are_noted_on_the_loop_of_the_reader",),
    ),
    Fault(
        name="upstream-heard-in-its-own-thread",
        file="_waiting",
        where="LoopHome.hand_over",
        old="self._post(fn)",
        new="fn()",
        breaks="what touches a run is done on its loop",
        tests=("after", "submit_elsewhere", "other_loops", "from_thread", "lending_away"),
    ),
    Fault(
        name="thread-blocks-with-its-place",
        file="_blocking",
        where="_Waiting.block",
        old="self._hand_over(self._lend)",
        breaks="a call in a thread that waits for another lends its place",
        tests=(
            "lending_threads",
            "from_thread",
        ),
    ),
    Fault(
        name="thread-goes-on-without-its-place",
        file="_blocking",
        where="_Waiting.block",
        old="self._back.wait()",
        breaks="a call in a thread that has waited has its place back before it goes on",
        tests=("lending_threads",),
    ),
    Fault(
        name="late-wait-keeps-the-place-lent",
        file="_blocking",
        where="_Waiting.block",
        old="self._hand_over(self._give_up)",
        breaks="a wait in a thread whose time has passed is over for its run, too",
        tests=("lending_threads",),
    ),
    Fault(
        name="late-wait-left-in-its-slot",
        file="_blocking",
        where="_Waiting.block",
        old="self._place.withdraw(wake)",
        breaks="a wait in a thread whose time has passed leaves nothing in the slot",
        tests=("lending_threads",),
    ),
    # Threads --------------------------------------------------------------------------------------
    Fault(
        name="job-waits-though-a-thread-is-idle",
        file="_thread_queue",
        where="JobQueue.put",
        old="self.call_one()",
        breaks="a job wakes an idle thread",
        tests=("thread_queue", "thread_pool"),
    ),
    Fault(
        name="woken-thread-says-nothing",
        file="_thread_queue",
        where="JobQueue.wait",
        old="""
        if not server.bell.acquire(timeout=seconds):
            break
        self.is_calling = False
        """,
        new="""
        if not server.bell.acquire(timeout=seconds):
            break
        """,
        breaks="while something is queued nobody sleeps",
        tests=("thread_queue", "thread_pool"),
    ),
    Fault(
        name="ring-that-crossed-is-kept",
        file="_thread_queue",
        where="JobQueue.wait",
        old="server.bell.acquire()",
        breaks="a thread hears each ring once",
        tests=("thread_queue", "thread_pool_threads"),
    ),
    Fault(
        name="dismissed-thread-forgets-the-job",
        file="_thread_queue",
        where="JobQueue.wait",
        old="self.call_one()",
        breaks="a thread that is to leave has another one woken for what is queued",
        tests=("thread_queue", "thread_pool_threads"),
    ),
    Fault(
        name="last-jobs-of-a-closed-pool",
        file="_thread_queue",
        where="JobQueue.close",
        old="""
        while self.ring():
            pass
        """,
        new="self.ring()",
        breaks="when a pool is closed all its threads end",
        tests=("thread_queue",),
    ),
    Fault(
        name="no-thread-and-no-error",
        file="_thread_pool",
        where="ThreadPool._host",
        old="self._fail_one(exc)",
        breaks="a call for which no thread could be started fails",
        tests=("thread_pool_edges", "thread_pool_threads", "thread_pool", "thread_calls"),
    ),
    Fault(
        name="cancelled-in-the-queue-and-run",
        file="_thread_calls",
        where="ThreadCalls.cancel_one",
        old="self._places.withdraw(job)",
        breaks="a plain call that was cancelled before there was a thread for it does not run",
        tests=("thread_calls", "threads", "thread_runner"),
    ),
    Fault(
        name="thread-place-kept-by-what-is-awaited",
        file="_thread_calls",
        where="ThreadCalls._finish",
        old="job.carrier.vacate()",
        breaks="a plain call whose awaitable is awaited on the loop holds no thread",
        tests=(
            "never_ends",
            "thread_calls",
        ),
    ),
    Fault(
        name="threads-left-are-not-named",
        file="_thread_calls",
        where="ThreadCalls._abandon",
        old="self._performer.guards.left.append((job.slot.key, job))",
        breaks="at the exit threads are named that were left to themselves",
        tests=("thread_runner",),
    ),
]
