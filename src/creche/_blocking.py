"""Waiting in a thread that runs no loop: for a slot, or for whatever happens once.

What it is for: the body of a sync flow, and a plain call in its worker thread, read slots by blocking. A
call that does so lends its place as it would on its loop, and its run must know at its exit that
nothing goes on there.

What it does not know: loops. What is for a run's loop is handed over by its home.

Invariant: nothing is polled; whoever settles the slot wakes the thread.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, final

from ._backend import Backend, Parkable
from ._carrier import Carrier, with_outer
from ._circles import check_circle
from ._ki import protected
from ._latch import Latch
from ._lending import park
from ._slot import Slot


class Happening(Parkable, Protocol):
    """What a thread may wait for: a slot, an errand."""

    @property
    def done(self) -> bool:
        """Whether it has happened."""
        ...


class CallersHome(Protocol):
    """The home of a call that waits in its thread."""

    def hand_over(self, fn: Callable[[], object]) -> bool:
        """From any thread: have a function called on the loop; False when that has ended."""
        ...


def block(
    place: Happening,
    timeout: float | None,
    caller: tuple[Slot[Any], list[Carrier]] | None,
    home: CallersHome,
    slot: Slot[Any] | None = None,
) -> bool:
    """Block this thread, which runs no loop, until something has happened.

    Args:
        place: what to wait for.
        timeout: seconds, checked already; `None` for no limit.
        caller: the call that this thread carries out, if it does, and who carries it.
        home: where that one lives.
        slot: whose call must end for it to happen, if `place` is not a slot itself.

    Returns:
        False when the time passed first.

    Raises:
        RuntimeError: the call would wait for itself, for ever.
    """
    seconds = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
    if caller is not None and caller[0].carrying is caller[1][0]:
        waiting = _Waiting(place, slot, caller, home, is_timed=timeout is not None)
        try:
            return waiting.block(seconds)
        finally:
            waiting.waker = None  # a ring, which would keep the slot
    happened = Latch()
    wake = happened.set
    if place.enroll(wake):
        try:
            happened.wait(seconds)
        finally:
            place.withdraw(wake)
    return place.done


class Lending:
    """A call in a thread waits for something, with its places lent on the loop that they are of.

    What touches places is handed over to that loop. A subclass is told when all of them are back.
    """

    def __init__(
        self,
        caller: tuple[Slot[Any], list[Carrier]],
        home: CallersHome,
        *,
        is_noted: bool,
    ) -> None:
        """Make it; nothing is lent yet.

        Args:
            caller: the call, and who carries it.
            home: where it lives.
            is_noted: whether its run is told that nothing of the call goes on meanwhile.
        """
        self._caller, self._carriers = caller
        self._home = home
        self._is_noted = is_noted
        self._waiter: object = self._carriers[0].task
        # On the loop only. A wait may be over before it has begun there: it is begun by a message.
        self._has_begun = False
        self._is_over = False
        self._returning: tuple[Carrier, Callable[[], object]] | None = None

    def _come_back(self) -> None:
        """The places are back, or will not be: the call goes on."""
        raise NotImplementedError  # pragma: no cover - a subclass says how

    def _hand_over(self, step: Callable[[], object]) -> bool:
        """Take a step on the loop of the call, as long as that goes on."""

        def take() -> None:
            if self._caller.carrying is self._carriers[0]:
                step()
            else:
                self._come_back()  # it was left to itself

        return self._home.hand_over(take)

    def _lend(self) -> None:
        if self._is_over:
            return
        self._has_begun = True
        if self._is_noted:
            self._note(math.inf)
        for carrier in self._carriers:
            carrier.begin_wait()

    def _take_back(self) -> None:
        if self._end_as(Carrier.end_wait):
            self._wait_for_place(0)

    def _give_up(self) -> None:
        self._end_as(Carrier.give_up_wait)

    def _end_as(self, how: Callable[[Carrier], object]) -> bool:
        """End the wait, unless it has ended, or never begun; whether it did."""
        ends = self._has_begun and not self._is_over
        self._is_over = True
        if ends:
            if self._is_noted:
                self._note(None)
            for carrier in self._carriers:
                how(carrier)
        else:
            self._come_back()
        return ends

    def _wait_for_place(self, number: int) -> None:
        """One place after the other; then the call goes on."""
        for n, carrier in enumerate(self._carriers[number:], number):
            wake = partial(self._wait_for_place, n)
            if carrier.when_back(wake):
                self._returning = (carrier, wake)
                return
        self._returning = None
        self._come_back()

    def _go_without(self) -> None:
        """The call does not wait for its place any more, and goes on without."""
        if self._returning is not None:
            carrier, wake = self._returning
            carrier.go_without(wake)

    def _note(self, deadline: float | None) -> None:
        self._carriers[0].lender.note_wait(self._waiter, deadline)


@protected
async def park_away(
    backend: Backend,
    place: Parkable,
    seconds: float | None,
    caller: tuple[Slot[Any], list[Carrier]],
    home: CallersHome,
    *,
    is_noted: bool,
) -> None:
    """Park a task of a call that is carried out on the loop of its thread, with the places lent.

    Args:
        backend: of the loop of the thread.
        place: what to wait for; whoever wakes may be in any thread.
        seconds: how long at most; `None` for no limit. It is not the limit of getting a place back.
        caller: the call, and who carries it.
        home: where it lives.
        is_noted: whether its run is told that nothing of the call goes on meanwhile.
    """
    lent = LentAway(place, caller, home, backend.poster(), is_noted=is_noted)
    try:
        # As part of a call of a runner here, too, it lends that one's place as well.
        await park(backend, lent, seconds)
        if lent.has_arrived:
            await backend.park(lent)
    finally:
        lent.end()


@final
class _Waiting(Lending):
    """One wait of a call, in its thread.

    Attributes:
        waker: what is called when it happens.
    """

    def __init__(
        self,
        place: Happening,
        slot: Slot[Any] | None,
        caller: tuple[Slot[Any], list[Carrier]],
        home: CallersHome,
        *,
        is_timed: bool,
    ) -> None:
        super().__init__(caller, home, is_noted=not is_timed)
        self._place = place
        slot = place if isinstance(place, Slot) else slot
        self._slots = () if slot is None else (slot,)
        self._is_timed = is_timed
        self._settled = Latch()
        self._back = Latch()
        self.waker: Callable[[], object] | None = self._arrive

    def block(self, seconds: float | None) -> bool:
        wake = self.waker
        assert wake is not None
        waiting = [] if self._is_timed else with_outer(self._carriers[0])
        # Before the look: of two threads that would close a circle, one at least sees it.
        for carrier in waiting:
            carrier.waits_for = self._slots
        try:
            if not self._is_timed and self._slots:
                check_circle(self._carriers, self._slots)
            if not self._place.enroll(wake):
                return True
            self._hand_over(self._lend)
            self._settled.wait(seconds)
            self._place.withdraw(wake)
        finally:
            for carrier in waiting:
                carrier.waits_for = ()
        if self._settled.is_set:
            self._back.wait()
        else:
            self._hand_over(self._give_up)
        return self._place.done

    def _come_back(self) -> None:
        self._back.set()

    def _arrive(self) -> None:
        self._settled.set()
        if not self._hand_over(self._take_back):
            self._back.set()


@final
class LentAway(Lending):
    """A thing to wait for, as a call waits for it on the loop of the thread that carries it out.

    It has happened when it has, and the places of the call are back.

    Attributes:
        has_arrived: whether it has, wherever the places are.
    """

    def __init__(
        self,
        place: Parkable,
        caller: tuple[Slot[Any], list[Carrier]],
        home: CallersHome,
        post: Callable[[Callable[[], object]], None],
        *,
        is_noted: bool,
    ) -> None:
        """Make it; nothing is lent yet.

        Args:
            place: what to wait for; whoever wakes may be in any thread.
            caller: the call, and who carries it.
            home: where it lives.
            post: has a function called on the loop of the thread.
            is_noted: whether its run is told that nothing of the call goes on meanwhile.
        """
        super().__init__(caller, home, is_noted=is_noted)
        self._waiter = self  # the task that waits for the thread has another one beside it
        self.has_arrived = False
        self._place: Parkable | None = place
        self._post = post
        self._wake: Callable[[], object] | None = None
        self._is_enrolled = self._is_back = False
        # One object: it is found again by its identity.
        self._waker: Callable[[], object] | None = self._arrive

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park; a second time, for the places alone."""
        self._wake = wake
        if self._is_enrolled:
            return not self._is_back
        assert self._place is not None
        assert self._waker is not None
        if not self._place.enroll(self._waker):
            self._is_back = True
            return False
        self._is_enrolled = True
        self._hand_over(self._lend)
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """It was cancelled, or its time has passed."""
        del wake
        self._wake = None
        if not self.has_arrived:
            assert self._place is not None
            self._place.withdraw(self._waker)  # type: ignore[arg-type]  # there is one as long as it waits

    def end(self) -> None:
        """The wait is over, in whatever way: the call goes on, with its places or without."""
        self._place = self._waker = None  # they are a ring
        if not self._is_back:
            self._hand_over(self._go_without if self.has_arrived else self._give_up)

    def _arrive(self) -> None:
        self.has_arrived = True
        if not self._hand_over(self._take_back):
            self._come_back()

    def _come_back(self) -> None:
        with suppress(RuntimeError):  # the loop of the thread has ended
            self._post(self._go_on)

    def _go_on(self) -> None:
        self._is_back = True
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()
