"""Faults in how long and how often: time limits, attempts; and in waiting for calls.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

FAULTS = [
    # Time limits and retries ----------------------------------------------------------------------
    Fault(
        name="time-limit-is-a-cancellation",
        file="_performing",
        where="Performer.perform",
        old="self.settle_failed(slot, call, State.FAILED, timed_out(slot.key, timeout))",
        new='board.cancel(slot, "cancel", "its time has passed")',
        breaks="a call whose time limit has passed is FAILED with a TimeoutError",
        tests=("timeouts",),
    ),
    Fault(
        name="first-reason-does-not-stand",
        file="_carrier",
        where="Carrier.cancel",
        old="self.request is None and self._scope is not None",
        new="self._scope is not None",
        breaks="the first reason for a cancellation stands",
        tests=("keys", "concurrent"),
    ),
    Fault(
        name="late-attempt-ends-the-call",
        file="_retrying",
        where="Retrier._try",
        old="carrier.narrow(inner)",
        breaks="an attempt in a thread that has seen itself that it is late is tried again",
        tests=("check_cancelled", "retrying"),
    ),
    Fault(
        name="cancel-reaches-no-wait",
        file="_retrying",
        where="Retrier._try",
        old="carrier.narrow(scope)",
        breaks="a call that waits between attempts can be cancelled by its key",
        tests=("retrying_waits", "retrying_ends", "retrying"),
    ),
    Fault(
        name="cancelled-attempt-is-tried-again",
        file="_retrying",
        where="Retrier.run",
        old="carrier.request is not None",
        new="False",
        breaks="an attempt that was cancelled is the last one",
        tests=(
            "never_ends",
            "retrying_ends",
        ),
    ),
    Fault(
        name="tried-again-while-closing",
        file="_retrying",
        where="Retrier._judge",
        old="self._halting.halted is None",
        new="True",
        breaks="nothing is tried again once the run is being closed",
        tests=("retrying_ends", "retrying_waits", "retrying", "grace"),
    ),
    Fault(
        name="one-retry-too-many",
        file="_retry",
        where="Retry.delay_after",
        old="attempt > self.retries",
        new="attempt > self.retries + 1",
        breaks="a call is tried again as often as it says",
        tests=("retry", "retrying"),
    ),
    Fault(
        name="delay-beyond-the-deadline",
        file="_retry",
        where="Retry.delay_after",
        old="elapsed + delay > self.deadline",
        new="elapsed > self.deadline",
        breaks="no attempt begins after the deadline of a policy",
        tests=("retry", "retrying"),
    ),
    Fault(
        name="delay-grows-beyond-its-cap",
        file="_retry",
        where="Retry.delay_after",
        old="min(self.cap, self.delay * float(self.factor) ** (attempt - 1))",
        new="self.delay * float(self.factor) ** (attempt - 1)",
        breaks="a delay is never longer than the cap",
        tests=("retry", "retrying"),
    ),
    Fault(
        name="limits-kept-between-attempts",
        file="_returning",
        where="Returns.rest",
        old="queue.end(slot, gates)",
        breaks="between two attempts a call gives back its limits",
        tests=("retrying_waits", "retrying"),
    ),
    Fault(
        name="cancelled-return-stands-in-the-queue",
        file="_returning",
        where="Returns._stand",
        old="self._void(draft)",
        breaks="a call that is cancelled while it waits to go on leaves the queue",
        tests=("retrying_waits", "retrying_ends"),
    ),
    Fault(
        name="cancelled-between-thread-and-loop",
        file="_performing",
        where="Performer.perform",
        old="carrier.cancel(*request)",
        breaks="a plain call whose awaitable is about to be awaited can be cancelled",
        tests=("thread_calls", "threads"),
    ),
    Fault(
        name="tried-again-under-a-cancelled-scope",
        file="_retrying",
        where="Retrier.run",
        old="backend.is_cut()",
        new="False",
        breaks="an attempt that ended under a cancelled scope is the last one",
        tests=("retrying_ends", "retrying", "grace"),
    ),
    Fault(
        name="grace-while-nothing-runs",
        file="_retrying",
        where="Retrier._wait",
        old="scope.shield = False",
        breaks="a call that waits between attempts has no grace",
        tests=("retrying_ends", "grace", "retrying_waits"),
    ),
    Fault(
        name="no-grace-after-a-wait",
        file="_retrying",
        where="Retrier._wait",
        old="scope.shield = not grace.is_over",
        breaks="a call that is tried again has its grace",
        tests=("retrying_ends", "grace", "retrying_waits"),
    ),
    # Waiting --------------------------------------------------------------------------------------
    Fault(
        name="settled-wait-is-no-cancel-point",
        file="_waiting",
        where="LoopHome.wait",
        old="""
        if slot.done:
            await self.pass_by()
            return True
        """,
        new="""
        if slot.done:
            return True
        """,
        breaks="a wait is always a cancel point",
        tests=("concurrent", "cancellation_points", "checkpoints_asyncio", "timeouts"),
    ),
    Fault(
        name="settled-waits-starve-the-loop",
        file="_slot",
        where="Slot.glance",
        old="home.credit -= 1",
        breaks="every so often a settled wait lets others run",
        tests=("concurrent", "checkpoints_asyncio", "as_completed", "cancellation_points"),
    ),
    Fault(
        name="reader-forgotten-at-the-last-slot",
        file="_waiting",
        where="AsCompleted._arrive",
        old="self._wake_all()",
        new="self._parked.popitem()[0]() if self._parked else None",
        breaks="every reader of as_completed is told that no slot follows",
        tests=(
            "never_ends",
            "as_completed",
        ),
    ),
    Fault(
        name="as-completed-left-in-its-slots",
        file="_waiting",
        where="AsCompleted.__aexit__",
        old="slot.withdraw(arrive)",
        breaks="as_completed that is left early leaves nothing behind",
        tests=("as_completed", "leftovers"),
    ),
    Fault(
        name="all-means-the-last",
        file="_together",
        where="AllOf.__call__",
        old="wake is not None and not self._listen()",
        new="wake is not None",
        breaks="a wait for all ends when all have settled",
        tests=("wait_all", "wait_all_races", "groups"),
    ),
    Fault(
        name="wait-for-all-left-in-a-slot",
        file="_together",
        where="AllOf.withdraw",
        old="self._listens_to.withdraw(self)",
        breaks="a wait for all that was cancelled leaves no trace in a slot",
        tests=("wait_all", "wait_all_races"),
    ),
    Fault(
        name="group-forgets-a-late-call",
        file="_group",
        where="Group._add",
        old="""
        if self._ended is not None:
            self._run.cancel(slot, "cancel", self._ended)
        """,
        breaks="a call that was submitted while its group was stopped is cancelled",
        tests=(
            "never_ends",
            "groups",
        ),
    ),
    Fault(
        name="group-left-before-its-calls",
        file="_group",
        where="Group.__aexit__",
        old="""
        with self._run.backend.open_scope(shield=True):
            await self._settle()
        """,
        breaks="leaving a group waits for its calls, also when that is cancelled",
        tests=("groups", "cancellation_points"),
    ),
    Fault(
        name="map-goes-on-after-a-failure",
        file="_pulling",
        where="Pulling._arrive",
        old="self.failure is None",
        new="False",
        breaks="a map ends at the first failure, and raises it",
        tests=(
            "never_ends",
            "map",
        ),
    ),
    Fault(
        name="map-cut-short-leaves-calls",
        file="_pulling",
        where="Pulling._cut_short",
        old='run.cancel(slot, "cancel", why)',
        breaks="when a map raises, its calls have been cancelled and have ended",
        tests=(
            "never_ends",
            "map",
        ),
    ),
    Fault(
        name="map-without-a-window",
        file="_pulling",
        where="Pulling._has_more",
        old="not self._run.is_wide(len(self._open))",
        new="True",
        breaks="a map has no more calls open than there is room for",
        tests=("map", "map_pulling"),
    ),
]
