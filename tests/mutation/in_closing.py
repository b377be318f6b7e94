"""Faults in the end of a run: closing, draining, grace.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

ENDS = ("closing", "emptying", "grace")

FAULTS = [
    # Closing --------------------------------------------------------------------------------------
    Fault(
        name="last-halt-stands",
        file="_halting",
        where="Halting.halt",
        old="self.halted is None",
        new="self.halted is None or not cancel",
        breaks="the first reason of an end stands",
        tests=ENDS,
    ),
    Fault(
        name="pending-calls-are-not-dropped",
        file="_halting",
        where="Halting.halt",
        old="self.drop_pending(self.why_dropped())",
        breaks="what has not begun when a run is halted is cancelled as closed",
        tests=(*ENDS, "capture_rule"),
    ),
    Fault(
        name="held-calls-are-not-dropped",
        file="_halting",
        where="Halting.drop_pending",
        old="(*self._queue.drop_all(), *self._dependencies.drop_all())",
        new="(*self._queue.drop_all(),)",
        breaks="what is held by others when a run is halted is cancelled as closed",
        tests=("after", "closing", "emptying"),
    ),
    Fault(
        name="reservations-outlive-a-halt",
        file="_halting",
        where="Halting.drop_pending",
        old="self._board.lose_reservations(why)",
        breaks="whoever waits for a reserved key in a run that is halted is told at once",
        tests=("lending_threads",),
    ),
    Fault(
        name="running-calls-are-not-cancelled",
        file="_halting",
        where="Halting.halt",
        old="self._nursery.cancel_scope.cancel()",
        breaks="a body that raises cancels what runs",
        tests=(
            "never_ends",
            "closing",
        ),
    ),
    Fault(
        name="intake-open-while-halted",
        file="_intake",
        where="Intake.check_open",
        old="self._halting.halted is not None or not self.is_open",
        new="not self.is_open",
        breaks="a runner that is closing takes no more calls",
        tests=("closing",),
    ),
    Fault(
        name="intake-open-while-drained",
        file="_draining",
        where="drain",
        old="run.intake.close()",
        breaks="a runner that is drained takes no more calls",
        tests=("emptying",),
    ),
    Fault(
        name="drain-forgets-whom-it-cut",
        file="_draining",
        where="drain",
        old="cut.update(late)",
        breaks="a drain says which calls it had to cut",
        tests=("emptying",),
    ),
    Fault(
        name="drain-does-not-wait-for-those-it-cut",
        file="_draining",
        where="drain",
        old="""
        await until_idle(run)
        return [slot.key for slot in order if slot in cut]
        """,
        new="return [slot.key for slot in order if slot in cut]",
        breaks="when a drain returns nothing runs",
        tests=("emptying",),
    ),
    Fault(
        name="nothing-is-swept",
        file="_hosting",
        where="Run._sweep",
        old='self.board.cancel(slot, "lost", "it did not get to run, and the run has ended")',
        breaks="when a run has ended every slot is final",
        tests=("capture_edges",),
    ),
    Fault(
        name="stall-is-not-seen",
        file="_dispatching",
        where="Dispatcher._look_for_stall",
        old="self._when_stalled()",
        breaks="a call that waits at the exit for a key that will not come is told so",
        tests=(
            "lending_edges",
            "keys",
            "lending_late",
        ),
    ),
    Fault(
        name="stall-although-one-goes-on",
        file="_dispatching",
        where="Dispatcher._look_for_stall",
        old="self._busy == 0",
        new="True",
        breaks="a reservation stays as long as a call that runs may fill it",
        tests=("keys", "lending_late", "closing", "standing"),
    ),
    Fault(
        name="crash-hides-behind-the-body",
        file="_exit",
        where="raise_what_is_due",
        old="performer.crashes or escaped is not None",
        new="not crashes",
        breaks="what a call crashed with comes out of the runner",
        tests=("closing", "capture_rule", "interrupts"),
    ),
    Fault(
        name="failures-hide-the-body",
        file="_exit",
        where="_failures",
        old="errors.append(own)",
        breaks="with fail-fast the body's own error comes out beside the failures",
        tests=("closing",),
    ),
    Fault(
        name="cancelled-runner-returns",
        file="_hosting",
        where="Run.close",
        old="await self.backend.checkpoint_if_cancelled()",
        breaks="a cancellation around the runner travels on, though no running call has seen it",
        tests=("closing", "capture_rule", "capture_edges", "grace"),
    ),
    Fault(
        name="plain-calls-start-in-a-cut-run",
        file="_dispatching",
        where="Dispatcher._follow_sent",
        old="halting.note_cancelled()",
        breaks="once a scope around the run is cancelled no plain call starts",
        tests=("thread_calls", "threads", "closing", "map_pulling"),
    ),
    # Grace ----------------------------------------------------------------------------------------
    Fault(
        name="no-shield-no-grace",
        file="_grace",
        where="Grace.cover",
        old="scope.shield = not self.is_over",
        breaks="running calls have their grace when the run is cancelled",
        tests=("grace",),
    ),
    Fault(
        name="grace-without-end",
        file="_grace",
        where="Grace._give",
        old="self._backend.open_scope(shield=True, deadline=self._deadline)",
        new="self._backend.open_scope(shield=True)",
        breaks="grace ends after its seconds",
        tests=(
            "never_ends",
            "grace",
        ),
    ),
    Fault(
        name="second-ctrl-c-waits-too",
        file="_halting",
        where="Halting.interrupt",
        old="is_further",
        new="False",
        breaks="a second Ctrl-C ends the grace",
        tests=("grace_interrupts", "interrupts", "grace", "threads"),
    ),
    Fault(
        name="failure-gives-grace",
        file="_halting",
        where="Halting.halt",
        old="self.when_cut()",
        breaks="a run that ends by itself gives no grace",
        tests=("grace", "closing"),
    ),
]
