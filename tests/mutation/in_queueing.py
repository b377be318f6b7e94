"""Faults in who comes next: the queue, priorities, limits, rates, `max_pending`.

What it does not know: how they are planted, and found.

Invariant: each breaks a promise that a user can see.
"""

from __future__ import annotations

from planting import Fault

LIMITS = ("limits", "admission", "rates")
ROOM = ("max_pending", "max_pending_keys", "max_pending_together")

FAULTS = [
    # The queue, priorities, ageing ----------------------------------------------------------------
    Fault(
        name="low-priority-first",
        file="_queue",
        where="Queue.push",
        old="-priority",
        new="priority",
        breaks="a call with a higher priority gets a place first",
        tests=("priorities", "admission"),
    ),
    Fault(
        name="waiting-does-not-age",
        file="_queue",
        where="Queue.push",
        old="now - priority * self._ageing",
        new="-priority * self._ageing",
        breaks="with ageing, a call that has waited for long comes before a younger one with a priority",
        tests=("priorities", "admission"),
    ),
    Fault(
        name="equal-ones-in-no-order",
        file="_queue",
        where="Queue._make_lanes",
        old="next(self._numbers)",
        new="-next(self._numbers)",
        breaks="of equal calls the one that was submitted first starts first",
        tests=("priorities", "admission"),
    ),
    Fault(
        name="withdrawn-call-keeps-a-place",
        file="_queue",
        where="Queue.next",
        old="places.free()",
        breaks="a place that nobody wanted is free again",
        tests=(
            "priorities",
            "concurrent",
        ),
    ),
    Fault(
        name="lanes-keep-a-place",
        file="_queue",
        where="Queue._next_of_many",
        old="""
        if slot is None:
            if places is not None:
                places.free()
            return None
        """,
        new="""
        if slot is None:
            return None
        """,
        breaks="a place that nobody could use is free again",
        tests=(
            "limits",
            "priorities",
            "admission",
        ),
    ),
    Fault(
        name="withdrawn-calls-are-never-swept",
        file="_queue",
        where="Queue.tidy",
        old="self.waiting = deque(slot for slot in self.waiting if slot.state is State.PENDING)",
        breaks="calls that were cancelled while they waited never outnumber those that wait",
        tests=("priorities",),
    ),
    Fault(
        name="sweep-loses-who-waits",
        file="_queue",
        where="Queue.tidy",
        old="slot.state is State.PENDING",
        new="slot.state is not State.PENDING",
        breaks="a call that waits is started",
        tests=("priorities",),
    ),
    Fault(
        name="settled-call-counts-until-its-callbacks-are-through",
        file="_opening",
        where="OpenRun.cancel",
        old="""
        if call is not None:
            self.queue.withdraw(call)
        self.board.cancel(slot, origin, reason)
        """,
        new="""
        self.board.cancel(slot, origin, reason)
        if call is not None:
            self.queue.withdraw(call)
        """,
        breaks="whoever hears that a waiting call was cancelled may submit and cancel others",
        tests=("priorities",),
    ),
    Fault(
        name="sweep-leaves-a-heap-that-is-none",
        file="_lanes",
        where="Lane.tidy",
        old="heapify(self._entries)",
        new="self._entries.sort(reverse=True)",
        breaks="a call with a higher priority gets a place first, also after many were cancelled",
        tests=("priorities", "admission"),
    ),
    Fault(
        name="limit-not-kept-for-who-comes-first",
        file="_lanes",
        where="Lane.lacks",
        old="gate.closers[self] = None",
        breaks="a call that needs several limits never starves",
        tests=LIMITS,
    ),
    Fault(
        name="cancelled-call-keeps-a-limit-closed",
        file="_queue",
        where="Queue.tidy",
        old="""
        if lane.has_moved:
            self._changed(lane)
        """,
        breaks="what was kept for a call that was cancelled is free for others at once",
        tests=LIMITS,
    ),
    # Limits and rates -----------------------------------------------------------------------------
    Fault(
        name="limit-given-back-never",
        file="_limits",
        where="Gate.give_back",
        old="self.holders.pop(holder, None)",
        new="self.holders.get(holder)",
        breaks="a call gives its limits back when it has ended",
        tests=LIMITS,
    ),
    Fault(
        name="token-given-back-never",
        file="_limits",
        where="Gate.give_back",
        old="self.limiter.release_on_behalf_of(borrower)",
        breaks="a token of a limiter object is given back when the call has ended",
        tests=LIMITS,
    ),
    Fault(
        name="one-more-than-the-limit",
        file="_limits",
        where="Gate.due",
        old="len(self.holders) >= self._size",
        new="len(self.holders) > self._size",
        breaks="no more calls than a limit says run at once",
        tests=LIMITS,
    ),
    Fault(
        name="some-of-the-limits-borrowed",
        file="_lanes",
        where="Lane.borrow",
        old="""
        for other in self.gates:
            other.give_back(slot)
        """,
        breaks="a call takes all its limits at once, or waits without any",
        tests=("limits",),
    ),
    Fault(
        name="who-waits-is-not-told-of-a-limit",
        file="_queue",
        where="Queue.end",
        old="self.look_at(gate)",
        breaks="a call that waits for a limit starts when that is given back",
        tests=LIMITS,
    ),
    Fault(
        name="start-is-not-counted",
        file="_limits",
        where="Gate.hold",
        old="self._bucket.take(now)",
        breaks="no more calls start in a time than a rate says",
        tests=("rates", "limits"),
    ),
    Fault(
        name="clock-is-not-set",
        file="_queue",
        where="Queue._next_of_many",
        old="self.wakes_at = self._bucket.due()",
        breaks="a call that waits for its rate starts when its time has come",
        tests=("rates", "limits"),
    ),
    Fault(
        name="limit-lost-on-the-way-back",
        file="_returning",
        where="Returns.admit",
        old="gate.pass_on(draft, returner.slot)",
        breaks="a call that is tried again gives back the limits that it has then",
        tests=(
            "never_ends",
            "retrying_waits",
        ),
    ),
    Fault(
        name="limit-lost-at-the-admission",
        file="_queue",
        where="Queue.swap",
        old="gate.pass_on(slot, other)",
        breaks="a call that fills a reserved key when it starts gives its limits back",
        tests=("max_pending_keys", "max_pending_together", "max_pending"),
    ),
    # max_pending ----------------------------------------------------------------------------------
    Fault(
        name="one-more-than-there-is-room-for",
        file="_waiting_room",
        where="WaitingRoom.has_room",
        old="len(self._queue) < self.max_pending",
        new="len(self._queue) <= self.max_pending",
        breaks="no more calls wait than max_pending says",
        tests=ROOM,
    ),
    Fault(
        name="room-is-given-to-one-too-many",
        file="_waiting_room",
        where="WaitingRoom.look",
        old="len(self._queue) - len(self) < self.max_pending",
        new="len(self._queue) - len(self) <= self.max_pending",
        breaks="no more calls wait than max_pending says",
        tests=ROOM,
    ),
    Fault(
        name="room-is-lost",
        file="_dispatching",
        where="Dispatcher.fetch",
        old="""
        if (work := self._next()) is not None:
            self._dispatch(work)
        self._room.look()
        return
        """,
        new="""
        if (work := self._next()) is not None:
            self._dispatch(work)
        return
        """,
        breaks="who waits for room is admitted as soon as there is some",
        tests=ROOM,
    ),
    Fault(
        name="cancelled-submit-is-let-in",
        file="_waiting_room",
        where="Applicant.withdraw",
        old="self._room.leave(self)",
        breaks="a submit that was cancelled on trio has submitted nothing, though there is room at once",
        tests=("max_pending",),
    ),
    Fault(
        name="who-waits-for-room-waits-for-ever",
        file="_waiting_room",
        where="WaitingRoom.turn_away",
        old="applicant.reply(why(applicant.key))",
        breaks="at the closing whoever waits for room is told so",
        tests=("max_pending", "emptying", "closing", "max_pending_keys"),
    ),
    Fault(
        name="key-claimed-twice-for-want-of-room",
        file="_waiting_room",
        where="WaitingRoom._hang",
        old="""
        if there is None:
            return board.hang(draft)
        """,
        new="""
        if there is None or not there.done:
            return board.hang(draft)
        """,
        breaks="a key that was taken while its submit waited for room is refused",
        tests=("max_pending_keys", "max_pending_together", "max_pending"),
    ),
    Fault(
        name="admission-is-not-told",
        file="_waiting_room",
        where="WaitingRoom.judge",
        old="self._untold.append(hung)",
        breaks="an instrument is told of a call that had to wait for room",
        tests=("max_pending_together", "max_pending", "telling"),
    ),
    Fault(
        name="stopped-group-waits-for-room",
        file="_group",
        where="Group.cancel",
        old="scope.cancel()",
        breaks="a group that is cancelled waits for room no longer",
        tests=("max_pending", "groups", "max_pending_together"),
    ),
]
