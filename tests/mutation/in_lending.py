"""Faults in what calls need of each other: places that are lent, dependencies.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

FAULTS = [
    # Places, and lending them ---------------------------------------------------------------------
    Fault(
        name="what-was-put-ahead-goes-before-a-return",
        file="_places",
        where="Places.lend",
        old="self.when_lent()",
        breaks="a call that has lent its place has it back before any new one begins",
        tests=("thread_ahead_lending",),
    ),
    Fault(
        name="next-one-after-a-failure",
        file="_thread_pool",
        where="ThreadPool._serve",
        old="job.error is None",
        new="True",
        breaks="after a failure that ends the run few calls begin",
        tests=("thread_ahead_lending",),
    ),
    Fault(
        name="heir-is-not-booked",
        file="_thread_calls",
        where="ThreadCalls._adopt",
        old="self._places.withdraw(job)",
        breaks="never more threads than places, and each place is given back once",
        tests=("thread_ahead", "dump"),
    ),
    Fault(
        name="ahead-of-those-that-have-a-place",
        file="_thread_pool",
        where="ThreadPool._serve",
        old="not (leaves or jobs)",
        new="not leaves",
        breaks="whoever has a place comes before whoever has none yet",
        tests=("thread_pool_ahead",),
    ),
    Fault(
        name="place-freed-beside-being-passed-on",
        file="_places",
        where="Places.free",
        old="self._pass_on()",
        new="""
        self._pass_on()
        self.taken -= 1
        """,
        breaks="no more calls run than max_workers says",
        tests=("lending", "lending_edges", "stress", "threads"),
    ),
    Fault(
        name="lowered-limit-is-not-kept",
        file="_places",
        where="Places.free",
        old="self.taken <= self._limit and (self._returning or self._asking)",
        new="self._returning or self._asking",
        breaks="above a lowered limit nothing starts until enough calls have ended",
        tests=(
            "places_back",
            "resizing",
        ),
    ),
    Fault(
        name="raised-limit-wakes-nobody",
        file="_places",
        where="Places.resize",
        old="self._pass_on()",
        new="self.taken -= 1\nbreak",
        breaks="a raised limit serves whoever waits",
        tests=(
            "places_back",
            "resizing",
        ),
    ),
    Fault(
        name="place-is-not-lent",
        file="_carrier",
        where="Carrier.begin_wait",
        old="self.places.lend()",
        breaks="a call that waits for another lends its place",
        tests=("lending",),
    ),
    Fault(
        name="nobody-hears-of-the-lent-place",
        file="_carrier",
        where="Carrier.begin_wait",
        old="self.lender.fetch()",
        breaks="a place that is lent serves a call that waits",
        tests=("lending", "lending_edges"),
    ),
    Fault(
        name="place-back-before-the-last-task",
        file="_carrier",
        where="Carrier.end_wait",
        old="self.waiting == 0 and not self.has_place and self.places is not None",
        new="not self.has_place and self.places is not None",
        breaks="a call lends its place until none of its tasks waits",
        tests=("lending", "lending_edges", "lending_late"),
    ),
    Fault(
        name="cancelled-wait-leaves-its-mark",
        file="_carrier",
        where="Carrier.give_up_wait",
        old="self.waiting -= 1",
        breaks="a call whose wait was cancelled lends again when it waits again",
        tests=(
            "places_back",
            "lending",
        ),
    ),
    Fault(
        name="dead-call-is-given-its-place-back",
        file="_carrier",
        where="Carrier.vacate",
        old="places.withdraw(self)",
        breaks="a call that has ended takes no place",
        tests=("places_back",),
    ),
    Fault(
        name="cancelled-return-takes-the-place",
        file="_carrier",
        where="Carrier.go_without",
        old="self.places.withdraw(self)",
        breaks="a call that does not wait for its place any more leaves it to others",
        tests=("places_back", "lending_edges"),
    ),
    Fault(
        name="granted-and-cancelled-place-is-lost",
        file="_lending",
        where="enter",
        old="""
        if entrance.is_granted:
            places.free()
        else:
            places.withdraw(entrance)
        """,
        new="places.withdraw(entrance)",
        breaks="a thread that came free for a call that was cancelled serves another",
        tests=("places_back",),
    ),
    Fault(
        name="who-comes-back-is-passed-by",
        file="_places",
        where="Places.ask",
        old="self.is_calm = False",
        breaks="who has lent a place has it back before any new call begins",
        tests=("lending", "lending_edges", "lending_late"),
    ),
    Fault(
        name="follows-without-a-place",
        file="_carriers",
        where="Carriers._follow",
        old="carrier.has_place and not carrier.waiting and places.is_calm",
        new="not carrier.waiting and places.is_calm",
        breaks="after a call that went on without its place nothing starts in that",
        tests=("places_back",),
    ),
    Fault(
        name="goes-on-before-its-place-is-back",
        file="_lending",
        where="park",
        old="await backend.park(_Back(caller))",
        new="break",
        breaks="a call that has waited has its place back before it goes on",
        tests=("lending", "lending_edges"),
    ),
    Fault(
        name="lent-places-have-brought-it-about",
        file="_lending",
        where="_Lent.enroll",
        old="self._end_waits()",
        breaks="a wait that ends because its place was lent has the place back",
        tests=(
            "places_back",
            "lending_edges",
        ),
    ),
    Fault(
        name="limit-set-late-counts-nobody",
        file="_carrier",
        where="Carrier.join",
        old="places.join()",
        breaks="a limit that is set while calls run counts those",
        tests=("resizing",),
    ),
    # Dependencies ---------------------------------------------------------------------------------
    Fault(
        name="runs-after-the-first-of-several",
        file="_dependencies",
        where="Dependencies._heed_one",
        old="not held.missing",
        new="True",
        breaks="a call runs after all that it is to run after",
        tests=("after", "flow_dependencies"),
    ),
    Fault(
        name="runs-after-a-failure",
        file="_dependencies",
        where="Dependencies._is_bad",
        old="upstream.state is not State.COMPLETED",
        new="upstream.state is State.CANCELLED",
        breaks="a call whose upstream has failed is cancelled",
        tests=("after", "flow_dependencies"),
    ),
    Fault(
        name="any-end-is-a-bad-end",
        file="_dependencies",
        where="Dependencies._is_bad",
        old="upstream not in held.any_end",
        new="True",
        breaks="with after_any_end a call runs however the others ended",
        tests=("after", "flow_dependencies", "replacing"),
    ),
    Fault(
        name="held-call-left-in-its-upstream",
        file="_dependencies",
        where="Dependencies._release",
        old="upstream.withdraw(wake)",
        breaks="a call that is held no longer leaves nothing in what it was held for",
        tests=("after", "leftovers", "replacing", "submit_elsewhere"),
    ),
    Fault(
        name="foreign-upstream-is-not-waited-for",
        file="_dependencies",
        where="Dependencies.hold",
        old="self._house.hold_open(held)",
        breaks="the exit waits for calls that are held by calls of other runners",
        tests=("after", "guests", "submit_elsewhere"),
    ),
    Fault(
        name="circle-is-not-seen",
        file="_dependencies",
        where="find_circle",
        old="one is slot",
        new="one is slot and came_from[one] is None",
        breaks="a call that would run after itself, through others, is refused",
        tests=("after", "keys"),
    ),
    Fault(
        name="waits-for-itself-through-others",
        file="_waiting",
        where="LoopHome.wait_with_care",
        old="check_circle(carriers, slots)",
        breaks="calls that wait for each other in a circle are told so",
        tests=(
            "lending_edges",
            "lending_late",
        ),
    ),
]
