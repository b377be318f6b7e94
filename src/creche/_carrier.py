"""A carrier, as the call that it carries out and the one who cancels it see it.

What it is for: one small record that a running slot holds: which task, which scope, why cancelled; and
the place that the call has, lends while it waits for another call, and takes back.

What it does not know: how calls are carried out, where the next one comes from, how to wait.

Invariant: the scope is that of the present call and of no other; only the carrier cancels it. A call
lends its place while at least one of its tasks waits, and has it back before that task goes on;
unless the wait was cancelled: then it goes on without.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from time import monotonic
from typing import Any, Protocol, final

from ._backend import KeptScope
from ._call import Call
from ._places import Places
from ._slot import Slot
from ._states import Origin

CARRIED: dict[object, Carrier] = {}
"""Who carries out a call in a task now, of whatever run; by the task. The innermost, if several do."""


def carriers_in(task: object) -> list[Carrier]:
    """Everybody who carries out a call in a task, the innermost first.

    Args:
        task: any task.

    Returns:
        nobody, if it is none that carries out calls.
    """
    return with_outer(CARRIED.get(task))


def with_outer(carrier: Carrier | None) -> list[Carrier]:
    """A carrier, and those whose calls its own is carried out in, in the same task.

    Args:
        carrier: the innermost.

    Returns:
        them, the innermost first.
    """
    found: list[Carrier] = []
    while carrier is not None:
        found.append(carrier)
        carrier = carrier.outer
    return found


class Cancellable(Protocol):
    """What cancels the body of a call: a scope, or what stands for one where a call has no task."""

    def cancel(self) -> object:
        """Cancel it."""
        ...


class Lender(Protocol):
    """Whose places a call may lend: the carriers of its run."""

    def fetch(self) -> object:
        """A place has come free."""
        ...

    def note_wait(self, task: object, deadline: float | None) -> object:
        """The call of a task waits until then at most, or (`None`) does not wait any more."""
        ...


@final
class Carrier:
    """Who carries out a call: a task, and the scope that its present call runs in.

    Attributes:
        task: the task, only ever compared.
        place: where the body of the present call runs.
        places: of which the call has, or has lent, one.
        has_place: whether it has it now. `has_lent`: whether it will want it back.
        waiting: how many of its tasks wait for other calls.
        request: why the present call was cancelled, if it was.
        handed: the call that an idle carrier is woken for; `None` when it is to end.
        outer: who carries out the call that the present one is carried out in, in the same task.
        lender: told of places that are lent, and of waits.
        waits_for: what the present call waits for now, all of it, without a time limit.
        kept: a scope that has been entered, and is kept for the next call if this one does not use it.
        mark: what the task was like when that was entered, for the loop to compare with.
        is_busy: whether it has a call.
        since: the pass in which that began.
        has_moved: whether it goes on in another context after its next step.
        is_returning: whether a wait has ended, and the place is not back yet.
        is_cut: whether something around its call is cancelled, that the call does not see, in a thread.
        slot: of the present call; of the last one, until the next begins, or nothing is to be done.
        told: the run and the key of the present call, if somebody listens: those of what it submits.
        began: when the present call did, by the clock of the loop, if somebody listens.
        due: when its time has passed, in the seconds of `time.monotonic`; `None` for no limit.
    """

    __slots__ = (
        "_returners",
        "_scope",
        "_wake",
        "began",
        "due",
        "handed",
        "has_lent",
        "has_moved",
        "has_place",
        "is_busy",
        "is_cut",
        "is_returning",
        "kept",
        "lender",
        "mark",
        "outer",
        "place",
        "places",
        "request",
        "since",
        "slot",
        "task",
        "told",
        "waiting",
        "waits_for",
    )

    def __init__(self, task: object, lender: Lender) -> None:
        self.task = task
        self.place: str = "loop"
        self.request: tuple[Origin, str] | None = None
        self.handed: tuple[Slot[Any], Call] | None = None
        self.waits_for: Sequence[Slot[Any]] = ()
        self.is_returning = False
        self.is_cut = False
        self.due: float | None = None
        self.slot: Slot[Any] | None = None
        self.told: tuple[int, Hashable] | None = None
        self.began: float | None = None
        self.outer: Carrier | None = None
        self.lender = lender
        self.kept: KeptScope | None = None
        self.mark: object = None
        self.is_busy = False
        self.since = 0
        self.has_moved = False
        self._wake: Callable[[], object] | None = None
        self._scope: Cancellable | None = None
        self.places: Places | None = None
        self.has_place = self.has_lent = False
        self.waiting = 0
        self._returners: list[Callable[[], object]] | None = None

    def take(self, scope: Cancellable, place: str) -> None:
        """Begin with a call, whose body runs inside a scope."""
        self._scope = scope
        self.request = None
        self.place = place

    def narrow(self, scope: Cancellable) -> None:
        """The scope that cancelling the call cancels is another one, inside the first, or that again."""
        self._scope = scope

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """Cancel the body of the call; the first reason stands."""
        if self.request is None and self._scope is not None:
            self.request = (origin, reason)
            self._scope.cancel()

    def is_to_end(self) -> bool:
        """Whether the present call, which is in a thread, is cancelled or late; from any thread."""
        return self.request is not None or self.is_cut or self.is_late

    @property
    def is_late(self) -> bool:
        """Whether the time of the present call, which is in a thread, has passed; from any thread."""
        due = self.due
        return due is not None and monotonic() >= due

    def cut(self) -> None:
        """Something around the present call is cancelled, which is in a thread and does not see it."""
        self.is_cut = True

    def stop_late(self) -> None:
        """The time of the call has passed, as it has seen by itself."""
        assert self._scope is not None, "a call is in a thread"
        self._scope.cancel()

    def dismiss(self) -> None:
        """It has no more to carry out; its task need not be kept, which knows it."""
        self.task = self._scope = self.slot = None

    def keep(self, scope: KeptScope, mark: object) -> None:
        """Begin with calls that all run inside one scope, until one of them has used it.

        Args:
            scope: entered just now.
            mark: what the task is like in it.
        """
        self.take(scope, "loop")
        self.kept = scope
        self.mark = mark

    def leave_kept(self, raised: BaseException | None) -> BaseException | None:
        """Leave the scope that was kept: it has been used, or the task ends.

        Args:
            raised: what is on its way out.

        Returns:
            what still is, outside.
        """
        scope, self.kept = self.kept, None
        self.mark = None
        assert scope is not None, self
        return scope.leave(raised)

    # Idle -------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether it is parked, and can be handed a call; one that is being cancelled cannot."""
        return self._wake is not None

    def hand(self, work: tuple[Slot[Any], Call] | None) -> None:
        """Wake the idle carrier with a call, or with `None` to let it end."""
        wake, self._wake = self._wake, None
        assert wake is not None, "it is not idle"
        self.handed = work
        wake()

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park idle; part of the protocol between a loop and what is waited for."""
        self._wake = wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Cancelled while idle: nothing can be handed to it any more."""
        del wake
        self._wake = None

    # The place --------------------------------------------------------------------------------------

    @property
    def lacks_place(self) -> bool:
        """Whether it has begun with a call, and neither has a place for it nor has lent one."""
        return self.is_busy and self.places is None and not self.has_moved

    @property
    def is_bounded(self) -> bool:
        """Whether the call has a place, and there are only so many."""
        return self.places is not None and self.places.is_bounded

    def occupy(self, places: Places) -> None:
        """A place, taken already, is this call's until `vacate`; another that it had is given back."""
        if self.places is not None:
            self.vacate()
        self.places = places
        self.has_place = True
        self.waiting = 0

    def join(self, places: Places) -> None:
        """The same while the call runs, whether there is one or not; unless it waits."""
        if self.places is not None:
            self.vacate()
        self.places, self.has_place = places, self.waiting == 0
        if self.has_place:
            places.join()

    def vacate(self) -> None:
        """The call, which lends, has ended, and gives its place back if it has it."""
        places, self.places = self.places, None
        assert places is not None, self
        if self.is_returning:  # a task outlives its call; it goes on without
            places.withdraw(self)
            self._come_back()
        self._want_no_more(places)
        if self.has_place:
            self.has_place = False
            places.free()

    def _want_no_more(self, places: Places) -> None:
        """If it has lent its place: that is back, or asked for, or the call goes on without."""
        if self.has_lent:
            self.has_lent = False
            places.lent -= 1

    def pass_on(self) -> None:
        """The call that was to follow is carried out elsewhere, and has the place."""
        self.places = None
        self.has_place = self.is_busy = False

    def begin_wait(self) -> None:
        """A task of the call begins to wait for another call: the first one lends the place."""
        self.waiting += 1
        if self.places is None:
            return
        if self.is_returning:  # for another task, which goes on without
            self.places.withdraw(self)
            self._come_back()
        elif self.waiting == 1 and self.has_place:
            self.has_place, self.has_lent = False, True
            self.places.lend()
            self.lender.fetch()

    def end_wait(self) -> None:
        """What a task of the call waited for has settled: the last one asks for the place.

        Called by whoever settles: asked for when the task wakes, the place would be gone by then.
        """
        self.waiting -= 1
        if self.waiting == 0 and not self.has_place and self.places is not None:
            self._want_no_more(self.places)
            self.has_place = self.places.ask(self, returning=True)
            self.is_returning = not self.has_place

    def give_up_wait(self) -> None:
        """The wait was cancelled, or its time has passed: the call goes on without its place."""
        self.waiting -= 1
        if self.waiting == 0 and self.places is not None:
            self._want_no_more(self.places)

    def receive(self, places: Places | None) -> None:
        """A wait has ended, and a place of these, if they are counted, has been taken for the call."""
        self.waiting -= 1
        if places is None:
            return
        if self.places is places and not self.waiting and not self.has_place:
            self._want_no_more(places)
            self.has_place = True
        else:
            places.free()

    def grant(self) -> None:
        """The place is back."""
        self.has_place = True
        self._come_back()

    def _come_back(self) -> None:
        self.is_returning = False
        returners, self._returners = self._returners, None
        for wake in returners or ():
            wake()

    def when_back(self, wake: Callable[[], object]) -> bool:
        """Have a task or thread woken when the place is back; False when it is back already."""
        if self.is_returning:
            self._returners = [*(self._returners or ()), wake]
        return self.is_returning

    def go_without(self, wake: Callable[[], object]) -> None:
        """A task of the call was cancelled while it waited for the place to come back."""
        self._returners = [other for other in self._returners or () if other is not wake]
        if self.is_returning and not self._returners and self.places is not None:
            self.is_returning = False
            self.places.withdraw(self)


@final
class _Nobody:
    """Has no places to lend."""

    def fetch(self) -> None:
        """Nothing is lent."""

    def note_wait(self, task: object, deadline: float | None) -> None:
        """Nothing waits."""


NOBODY = _Nobody()
"""The lender of a call that runs where it was submitted, and has no place."""


def begin_inline(task: object) -> Carrier:
    """A plain call is carried out in the frame of a task that is somebody else's, until `end_inline`.

    Args:
        task: the running one.

    Returns:
        who carries it out.
    """
    carrier = Carrier(task, NOBODY)
    carrier.outer = CARRIED.get(task)
    CARRIED[task] = carrier
    return carrier


def end_inline(carrier: Carrier) -> None:
    """It has ended."""
    if carrier.outer is None:
        del CARRIED[carrier.task]
    else:
        CARRIED[carrier.task] = carrier.outer
    carrier.dismiss()
