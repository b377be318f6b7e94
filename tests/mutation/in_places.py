"""Faults in other places: processes, Dask, and places of anybody's.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

PARTS = ("dask_place_parts", "dask_place_edges")

FAULTS = [
    # Other places ---------------------------------------------------------------------------------
    Fault(
        name="inline-turn-is-kept",
        file="_seats",
        where="Seat.run",
        old="self._turns.free()",
        breaks="a sequential runner hands a place as much at once as that takes",
        tests=(
            "never_ends",
            "seats_ways",
        ),
    ),
    Fault(
        name="place-ends-the-run",
        file="_seats",
        where="Seat.run",
        old="self.is_inside or isinstance(came.error, Exception)",
        new="True",
        breaks="what ends a process elsewhere does not end this one",
        tests=("seats_endings", "seats", "seats_ways"),
    ),
    # Calls without a task -------------------------------------------------------------------------
    Fault(
        name="sent-into-a-cut-run",
        file="_sent_calls",
        where="SentCalls.may_send",
        old="not self._backend.is_cut_from(self._nursery)",
        new="True",
        breaks="once a scope around the run is cancelled no call is sent to a place",
        tests=("sent_calls",),
    ),
    Fault(
        name="sent-calls-hear-of-no-scope",
        file="_sent_calls",
        where="SentCalls._watch",
        old="self._halting.note_cancelled()",
        breaks="a scope around the run cancels calls that have no task, whatever its body does",
        # Others wait for ever, for what is never cancelled.
        tests=("process_place_sent::test_a_scope_that_the_body_does_not_see",),
    ),
    Fault(
        name="none-follows-a-sent-call-that-was-dropped",
        file="_sent_calls",
        where="SentCalls.cancel_one",
        old="self._look_round()",
        breaks="when a call that has not begun in its place is cancelled another one starts",
        tests=("sent_calls::test_a_cancelled_one",),
    ),
    # Worker processes -----------------------------------------------------------------------------
    Fault(
        name="kill-hits-the-neighbour",
        file="places/_pool",
        where="Pool.drop",
        old="worker is None or worker.take_one_back(ticket)",
        new="worker is None",
        breaks="cancelling a call that has not begun leaves the call that its worker carries out alone",
        tests=(
            "process_place_cancel::test_a_call_that_has_not_begun_is_taken_back",
            "process_place_batches",
        ),
    ),
    Fault(
        name="requeued-in-reverse",
        file="places/_pool",
        where="Pool._requeue",
        old="reversed(tickets)",
        new="tickets",
        breaks="calls that are sent again keep their order",
        tests=("process_place_order::test_those_behind_a_call_that_is_killed_keep_their_turns",),
    ),
    Fault(
        name="sent-as-they-come",
        file="places/_pool",
        where="Pool._line_up",
        old="at -= 1",
        new="break",
        breaks="calls reach worker processes in the order in which they started",
        tests=("process_place_order",),
    ),
    Fault(
        name="dropped-call-is-sent",
        file="places/_pool",
        where="Pool.drop",
        old="ticket.is_dropped = True",
        breaks="a call that was cancelled before it began does not run in a worker process",
        tests=("process_place_cancel::test_a_call_that_waits_for_a_worker_is_passed_over",),
    ),
    Fault(
        name="lost-with-a-worker-that-had-not-begun",
        file="places/_crew",
        where="Crew._bury",
        old="back = worker.take_back()",
        new="back: list[Ticket] = []",
        breaks="a call that a dead worker had not begun is carried out by another",
        tests=("process_place_deaths::test_killed_before_the_call",),
    ),
    Fault(
        name="last-words-are-not-heard",
        file="places/_crew",
        where="Crew._bury",
        old="""
        while self._was_heard(worker):
            pass
        """,
        breaks="what a worker has answered before its end counts",
        tests=("process_place_deaths::test_what_was_said_before_a_death_counts",),
    ),
    Fault(
        name="stop-reaches-the-next-call",
        file="_far/_worker",
        where="Worker.serve",
        old="self.stop.clear()",
        breaks="a call that is asked to stop leaves the next one in its worker alone",
        tests=("process_place_cancel::test_who_comes_after_a_call_that_was_asked_to_stop",),
    ),
    Fault(
        name="batches-of-long-calls",
        file="places/_depth",
        where="Depth.learn",
        old="deepest <= before",
        new="False",
        breaks="no call is sent ahead to a worker whose calls are long",
        tests=("process_place_batches",),
    ),
    # What comes out of a call ---------------------------------------------------------------------
    Fault(
        name="stray-elsewhere-is-a-crash",
        file="_far/_body",
        where="_without_cancellation",
        old="split(exc, tuple(kind for kind in found if kind is not None))[1]",
        new="exc",
        breaks="a cancellation that nobody made ends a call elsewhere as it does on the loop",
        tests=("far_strays::test_what_is_answered",),
    ),
    Fault(
        name="stray-elsewhere-beats-our-cancel",
        file="_performing",
        where="Performer.settle_cancelled",
        old="request is not None",
        new="request is not None and is_cut",
        breaks="a call without a task that was cancelled says where that came from",
        tests=("far_strays::test_without_a_task",),
    ),
    Fault(
        name="awaitable-elsewhere-is-a-result",
        file="_far/_body",
        where="_call",
        old="context.run(await_given, loop, stop, result)",
        new="result",
        breaks="an awaitable that a plain call gives is awaited also elsewhere",
        tests=("far_awaitables::test_what_is_answered",),
    ),
    # Dask -----------------------------------------------------------------------------------------
    Fault(
        name="dask-call-lands-twice",
        file="places/_dask_flight",
        where="Flight.land",
        old="""
        if self.landed is not None:
            return
        """,
        breaks="what has come of a call on a cluster first stands",
        tests=PARTS,
    ),
    Fault(
        name="dask-sends-what-was-dropped",
        file="places/_dask_traffic",
        where="Traffic._send_all",
        old="[flight for flight in batch if not flight.dropped]",
        new="list(batch)",
        breaks="a call that was cancelled before it was sent does not run on a cluster",
        tests=PARTS,
    ),
    Fault(
        name="dask-retries-without-end",
        file="places/_dask_flight",
        where="Flight.again",
        old="self._attempts >= most",
        new="False",
        breaks="a call whose workers die again and again is lost at last",
        # Others of that file go on and on.
        tests=("dask_place_parts::test_sending_again_has_an_end",),
    ),
    Fault(
        name="dask-sends-again-what-is-to-stop",
        file="places/_dask_traffic",
        where="Traffic._send_again",
        old="flight.stopping",
        new="False",
        breaks="a call that is being cancelled is not sent to another worker",
        tests=PARTS,
    ),
    Fault(
        name="dask-scheduler-lost-unnoticed",
        file="places/_dask_traffic",
        where="Traffic._lose",
        old="list(self._aloft.values())",
        new="[]",
        breaks="calls on a cluster whose scheduler is lost are told so",
        tests=PARTS,
    ),
]
