"""Faults in what becomes of one call: the capture rule, slots, the board.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

RULE = ("capture_rule", "capture_edges")

FAULTS = [
    # The capture rule -----------------------------------------------------------------------------
    Fault(
        name="stray-cancel-travels-on",
        file="_capture",
        where="classify",
        old="cancellation if enclosing_cancelled else None",
        new="cancellation",
        breaks="a cancellation that belongs to nobody ends one call, and no sibling",
        tests=RULE,
    ),
    Fault(
        name="outer-cancel-is-swallowed",
        file="_capture",
        where="classify",
        old="cancellation if enclosing_cancelled else None",
        new="None",
        breaks="a cancellation of a scope around the runner travels on",
        tests=("sequential", "capture_rule", "capture_edges"),
    ),
    Fault(
        name="outer-and-stray-changed-over",
        file="_capture",
        where="classify",
        old='"outer" if enclosing_cancelled else "foreign"',
        new='"foreign" if enclosing_cancelled else "outer"',
        breaks="a cancelled call says where that came from",
        tests=RULE,
    ),
    Fault(
        name="one-exception-makes-a-crash-a-failure",
        file="_capture",
        where="classify",
        old="any(not isinstance(leaf, Exception) for leaf in leaves(rest))",
        new="all(not isinstance(leaf, Exception) for leaf in leaves(rest))",
        breaks="Ctrl-C in a group with a failure ends the run",
        tests=(
            "never_ends",
            "capture_rule",
        ),
    ),
    Fault(
        name="mixed-group-is-kept-whole",
        file="_far/_groups",
        where="split",
        old="return exc.split(kind)",
        new="return None, exc",
        breaks="of a mixed group the slot keeps what is no cancellation, and no live Cancelled",
        tests=RULE,
    ),
    Fault(
        name="group-is-judged-by-its-first",
        file="_far/_groups",
        where="leaves",
        old="stack += reversed(one.exceptions)",
        new="stack.append(one.exceptions[0])",
        breaks="a group is split, never judged by one of its exceptions",
        tests=RULE,
    ),
    Fault(
        name="own-error-copied-by-split",
        file="_far/_groups",
        where="split",
        old="""
        if not any(of_kind):
            return None, exc
        """,
        breaks="the slot keeps the original exception, of a user's own class",
        tests=RULE,
    ),
    Fault(
        name="one-ctrl-c-many-times",
        file="_capture",
        where="fatal_part",
        old="leaf is other or (type(leaf) is type(other) is KeyboardInterrupt)",
        new="leaf is other",
        breaks="Ctrl-C that hit several calls comes out once, and bare",
        tests=("capture_edges", "interrupts", "capture_rule", "interrupts_open"),
    ),
    Fault(
        name="late-cancel-beats-value",
        file="_performing",
        where="Performer.perform",
        old="raised is not None",
        new="raised is not None or carrier.request is not None",
        breaks="a call that returned is COMPLETED although it was being cancelled",
        tests=("capture_rule", "timeouts", "threads"),
    ),
    Fault(
        name="late-cancel-beats-value-when-light",
        file="_performing",
        where="Performer.end_lightly",
        old="value is not _NOT_RETURNED",
        new="value is not _NOT_RETURNED and carrier.request is None",
        breaks="a call that returned is COMPLETED although it was being cancelled",
        tests=RULE,
    ),
    Fault(
        name="own-cancel-counts-as-stray",
        file="_performing",
        where="Performer.end_lightly",
        old="raised = carrier.leave_kept(raised)",
        new="carrier.leave_kept(raised)",
        breaks="a call is classified after its own scope has closed",
        tests=RULE,
    ),
    Fault(
        name="kept-scope-takes-what-is-from-further-out",
        file="_backends/_kept_trio",
        where="Kept.leave",
        old="parent.effectively_cancelled",
        new="False",
        breaks="a cancellation from outside the run is not swallowed where a key was cancelled, too",
        tests=("kept", *RULE),
    ),
    Fault(
        name="kept-scope-takes-what-is-from-further-out-on-asyncio",
        file="_backends/_inside",
        where="Kept.leave",
        old="is_cancelled(parent)",
        new="False",
        breaks="a cancellation from outside the run is not swallowed where a key was cancelled, too",
        tests=("kept", *RULE),
    ),
    Fault(
        name="kept-scope-takes-a-native-cancel-for-its-own",
        file="_backends/_inside",
        where="Kept.leave",
        old="task.cancelling() - this._cancelling_at_enter != 1",
        new="False",
        breaks="asyncio's Task.cancel is not lost when it comes together with a cancel by key",
        tests=("kept",),
    ),
    Fault(
        name="crash-does-not-end-the-run",
        file="_performing",
        where="Performer.settle_failed",
        old="self.note_crash(error, what)",
        breaks="SystemExit and the like out of a call come out of the runner",
        tests=(
            "never_ends",
            "capture_rule",
        ),
    ),
    Fault(
        name="submitters-timeout-is-contained",
        file="_performing",
        where="Performer._settle_raised",
        old="not in_own_task and backend.native_cancels() > native",
        new="False",
        breaks="asyncio.timeout around a submit that runs its call reaches the submitter",
        tests=("sequential", "capture_edges", "capture_rule"),
    ),
    Fault(
        name="lost-worker-ends-the-run",
        file="_performing",
        where="Performer._settle_raised",
        old="self.settle_failed(slot, call, State.CRASHED, raised.error, is_lost=True)",
        new="self.settle_failed(slot, call, State.CRASHED, raised.error)",
        breaks="a call whose place has crashed costs nobody else",
        tests=("seats_endings", "seats"),
    ),
    # Slots ----------------------------------------------------------------------------------------
    Fault(
        name="second-waiter-takes-the-place-of-the-first",
        file="_slot",
        where="Slot.enroll",
        old="self._wakers = {wakers: None, wake: None}",
        new="self._wakers = {wake: None}",
        breaks="whoever waits for a slot is woken",
        tests=("wakers",),
    ),
    Fault(
        name="first-waiter-woken-alone",
        file="_slot",
        where="Slot._wake",
        old="""
        for wake in list(wakers):
            wake()
        """,
        new="next(iter(wakers))()",
        breaks="whoever waits for a slot is woken",
        tests=("wakers",),
    ),
    Fault(
        name="last-waiter-woken-twice",
        file="_slot",
        where="Slot._wake",
        old="""
        for wake in list(wakers):
            wake()
        """,
        new="""
        for wake in list(wakers):
            wake()
        wake()
        """,
        breaks="a waiter is woken once",
        tests=("wakers",),
    ),
    Fault(
        name="waiter-is-left-behind",
        file="_slot",
        where="Slot.withdraw",
        old="self._wakers = None",
        breaks="a waiter that is cancelled leaves no trace in the slot",
        tests=("wakers",),
    ),
    Fault(
        name="one-of-many-waiters-is-left-behind",
        file="_slot",
        where="Slot.withdraw",
        old="wakers.pop(wake, None)",
        breaks="a waiter that is cancelled leaves no trace in the slot",
        tests=("wakers",),
    ),
    Fault(
        name="waiter-takes-another-along",
        file="_slot",
        where="Slot.withdraw",
        old="wakers is wake",
        new="True",
        breaks="a waiter that withdraws withdraws itself only",
        tests=("wakers",),
    ),
    Fault(
        name="waiter-of-a-settled-slot-sleeps",
        file="_slot",
        where="Slot.enroll",
        old="""
        if self.done:
            self.withdraw(wake)
            return False
        """,
        breaks="whoever enrolls after the settling is told so at once",
        tests=("wakers",),
    ),
    Fault(
        name="waiter-of-a-settled-slot-is-kept",
        file="_slot",
        where="Slot.enroll",
        old="self.withdraw(wake)",
        breaks="a settled slot keeps nobody who has asked too late",
        tests=("wakers",),
    ),
    Fault(
        name="woken-before-the-state-is-written",
        file="_slot",
        where="Slot.end",
        old="""
        self.work = None
        self._state = state
        if self._callbacks is None:
            if (wakers := self._wakers) is None:
                return None
            if not isinstance(wakers, dict):
                self._wakers = None
                wakers()
                return None
        """,
        new="""
        self.work = None
        if self._callbacks is None and (wakers := self._wakers) is not None:
            if not isinstance(wakers, dict):
                self._wakers = None
                wakers()
        self._state = state
        """,
        breaks="whoever is woken finds the slot settled, in every thread",
        tests=("wakers",),
    ),
    Fault(
        name="settled-slot-keeps-its-call",
        file="_slot",
        where="Slot.end",
        old="self.work = None",
        breaks="a settled slot keeps neither function nor arguments",
        tests=("leftovers", "states", "concurrent"),
    ),
    Fault(
        name="traceback-grows-with-each-reader",
        file="_slot",
        where="Slot._error",
        old="return error.with_traceback(traceback)",
        new="return error",
        breaks="an error's traceback does not grow with each reader",
        tests=("concurrent", "leftovers", "states", "reading"),
    ),
    Fault(
        name="callback-lost-beside-another",
        file="_slot",
        where="Slot.add_done_callback",
        old="[*(self._callbacks or ()), fn]",
        new="[fn]",
        breaks="each done callback is called",
        tests=("wakers",),
    ),
    Fault(
        name="failure-that-was-read-is-logged",
        file="_slot",
        where="Slot._error",
        old="self.mark_read()",
        breaks="only failures that nobody has read are logged at the exit",
        tests=("leftovers", "closing", "concurrent"),
    ),
    Fault(
        name="running-count-not-given-back",
        file="_board",
        where="Board._write",
        old="self.running -= 1",
        breaks="statistics say how many calls run",
        tests=("standing", "concurrent", "stress"),
    ),
    Fault(
        name="second-call-under-a-taken-key",
        file="_board",
        where="Board.claim",
        old="raise KeyTaken(key, slot.state.name, joinable=call is not None)",
        new="slot = self.hang(Slot(key, self.home, call))",
        breaks="a key is on the board at most once",
        tests=("keys", "concurrent", "stress"),
    ),
    Fault(
        name="replaced-call-is-forgotten",
        file="_board",
        where="Board.set_aside",
        old="self.aside[slot] = None",
        breaks="an open call whose key another took stays with the run until it settles",
        tests=("replacing", "emptying", "keys"),
    ),
]
