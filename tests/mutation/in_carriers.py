"""Faults in who carries calls out, and in what is told of it.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

FAULTS = [
    # Carriers: what one call leaves to the next ---------------------------------------------------
    Fault(
        name="context-of-the-last-call",
        file="_backends/_trio",
        where="_go_on",
        old="is_same_context(now, context)",
        new="True",
        breaks="a call sees the context of its submitter, not that of the call before it",
        tests=("carriers", "concurrent", "prepare_context", "keys"),
    ),
    Fault(
        name="used-scope-serves-the-next-call",
        file="_carriers",
        where="Carriers._may_begin",
        old="""
        if carrier.kept is not None and not self._backend.is_intact(carrier.task, carrier.mark):
            carrier.leave_kept(None)
        """,
        breaks="what one call has left in its task does not hit the next",
        tests=(
            "carriers",
            "closing",
        ),
    ),
    Fault(
        name="cancelled-before-its-turn-and-run",
        file="_carriers",
        where="Carriers._may_begin",
        old="slot.done",
        new="False",
        breaks="a call that was cancelled on its way to a carrier does not start",
        tests=("concurrent", "carriers", "capture_edges", "stress"),
    ),
    Fault(
        name="starts-in-a-run-that-is-halted",
        file="_carriers",
        where="Carriers._may_begin",
        old="halting.halted is not None",
        new="False",
        breaks="once the run is being closed nothing more starts",
        tests=("closing", "grace", "carriers", "interrupts_open", "capture_edges"),
    ),
    Fault(
        name="does-not-look-whether-it-is-cut",
        file="_carriers",
        where="Carriers._may_begin",
        old="halting.note_cancelled()",
        breaks="a carrier whose enclosing scope is cancelled starts nothing more",
        tests=("closing", "carriers", "capture_rule", "grace"),
    ),
    Fault(
        name="never-lets-others-run",
        file="_carriers",
        where="Carriers._let_others_run",
        old="await self._backend.shielded_checkpoint()",
        breaks="calls that never block do not starve the loop",
        tests=("carriers", "concurrent", "growth"),
    ),
    Fault(
        name="limits-are-not-ended",
        file="_carriers",
        where="Carriers._carry",
        old="self._queue.end(slot, wishes.gates)",
        breaks="a call gives its limits back when it has ended",
        tests=("limits",),
    ),
    Fault(
        name="call-named-after-the-last-one",
        file="_slot",
        where="Slot.begin",
        old="self.work, carrying.slot = carrying, self",
        new="self.work = carrying",
        breaks="code of a call can ask which call it is",
        tests=("current_call", "carriers"),
    ),
    Fault(
        name="carrier-keeps-the-last-call",
        file="_carriers",
        where="Carriers._idle_until_handed",
        old="carrier.slot = None",
        breaks="an idle carrier keeps nothing of the call that it had",
        tests=("carriers_memory", "leftovers", "carriers"),
    ),
    Fault(
        name="idle-carriers-without-number",
        file="_dispatching",
        where="Dispatcher._keeps_idle",
        old="self._queue.places is not None or len(self._idle) < _KEPT",
        new="True",
        breaks="an unbounded runner keeps few idle carriers",
        tests=("carriers", "growth", "carriers_memory"),
    ),
    Fault(
        name="carrier-for-each-call",
        file="_dispatching",
        where="Dispatcher._dispatch",
        old="carrier.hand(work)\nreturn",
        new="carrier.hand(None)",
        breaks="a call goes to a carrier that is idle",
        tests=("carriers", "growth", "carriers_memory"),
    ),
    Fault(
        name="does-not-look-after-a-call",
        file="_carriers",
        where="Carriers._carry",
        old="carrier.request is None and is_intact(task, carrier.mark)",
        new="carrier.request is None",
        breaks="a call that has used its task is not followed in that by another",
        tests=("carriers", "capture_edges", "checkpoints_asyncio", "closing"),
    ),
    Fault(
        name="context-of-another-submitter",
        file="_intake",
        where="Intake.submit_plain",
        old="is_same_context(context, last)",
        new="True",
        breaks="a call sees the context of its own submitter",
        tests=("concurrent", "carriers", "carriers_memory", "prepare_context"),
    ),
    Fault(
        name="task-keeps-a-callers-name",
        file="_backends/_trio",
        where="_go_on",
        old="task.name = CARRIER_NAME",
        breaks="a task that a call has named is named anew for the next",
        tests=("carriers", "standing", "dump"),
    ),
    # Sequential runners, guests -------------------------------------------------------------------
    Fault(
        name="exit-does-not-wait-for-guests",
        file="_guests",
        where="Guests._until_gone",
        old="self._halting.guests",
        new="False",
        breaks="the exit waits for calls that other tasks carry out",
        tests=("guests",),
    ),
    Fault(
        name="halt-does-not-reach-guests",
        file="_halting",
        where="Halting.halt",
        old="guest.cancel(origin, reason)",
        breaks="a halt cancels calls that other tasks carry out",
        tests=("guests",),
    ),
    Fault(
        name="guest-that-comes-at-the-exit",
        file="_dispatching",
        where="Dispatcher.hold_open",
        old="self._guests.hold_open()",
        breaks="the exit waits for calls that are submitted while it waits",
        tests=("guests",),
    ),
    # Events ---------------------------------------------------------------------------------------
    Fault(
        name="broken-instrument-stays",
        file="_announce",
        where="Announcer.tell",
        old="self._take_off(instrument)",
        breaks="an instrument that raises is logged once and taken off",
        tests=("instruments", "telling"),
    ),
    Fault(
        name="broken-instrument-breaks-the-run",
        file="_announce",
        where="Announcer.tell",
        old="self._take_off(instrument)",
        new="raise",
        breaks="an instrument that raises harms nobody",
        tests=("instruments", "telling"),
    ),
    Fault(
        name="consequences-told-before-the-cause",
        file="_board",
        where="Board._write_and_tell",
        old="outermost, self.is_telling = not self.is_telling, True",
        new="outermost = not self.is_telling",
        breaks="the end of a call is told before what follows from it",
        tests=("telling", "after", "instruments"),
    ),
    Fault(
        name="halt-by-an-instrument-is-not-seen",
        file="_carriers",
        where="Carriers._carry",
        old="is_clear = not wild and is_intact(task, carrier.mark)",
        new="is_clear = not wild",
        breaks="after a halt no call begins, whoever has halted the run",
        tests=("instruments", "telling"),
    ),
    Fault(
        name="call-is-told-of-under-many-numbers",
        file="_telling",
        where="Teller._number_of",
        old="call = self._of_calls[slot] = next(self._fresh)",
        new="call = next(self._fresh)",
        breaks="all events of a call have one number",
        tests=("telling", "instruments", "standing"),
    ),
]
