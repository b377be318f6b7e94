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
from functools import partial
from typing import Any, Protocol, final

from ._backend import Parkable
from ._carrier import Carrier, with_outer
from ._circles import check_circle
from ._latch import Latch
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
        waiting = _Waiting(place, slot, *caller, home, is_timed=timeout is not None)
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


@final
class _Waiting:
    """One wait of a call, in its thread.

    Attributes:
        waker: what is called when it happens.
    """

    def __init__(
        self,
        place: Happening,
        slot: Slot[Any] | None,
        caller: Slot[Any],
        carriers: list[Carrier],
        home: CallersHome,
        *,
        is_timed: bool,
    ) -> None:
        self._place = place
        self._slot = place if isinstance(place, Slot) else slot
        self._caller = caller
        self._carriers = carriers
        self._home = home
        self._is_timed = is_timed
        self._settled = Latch()
        self._back = Latch()
        self.waker: Callable[[], object] | None = self._arrive
        # On the loop only. A wait may be over before it has begun there: it is begun by a message.
        self._has_begun = False
        self._is_over = False

    def block(self, seconds: float | None) -> bool:
        wake = self.waker
        assert wake is not None
        waiting = [] if self._is_timed else with_outer(self._carriers[0])
        # Before the look: of two threads that would close a circle, one at least sees it.
        for carrier in waiting:
            carrier.waits_for = self._slot
        try:
            if not self._is_timed and self._slot is not None:
                check_circle(self._carriers, self._slot)
            if not self._place.enroll(wake):
                return True
            self._hand_over(self._begin)
            self._settled.wait(seconds)
            self._place.withdraw(wake)
        finally:
            for carrier in waiting:
                carrier.waits_for = None
        if self._settled.is_set:
            self._back.wait()
        else:
            self._hand_over(self._give_up)
        return self._place.done

    def _hand_over(self, step: Callable[[], object]) -> bool:
        """Take a step on the loop of the call, as long as that goes on."""

        def take() -> None:
            if self._caller.carrying is self._carriers[0]:
                step()
            else:
                self._back.set()  # it was left to itself

        return self._home.hand_over(take)

    def _arrive(self) -> None:
        self._settled.set()
        if not self._hand_over(self._end):
            self._back.set()

    def _begin(self) -> None:
        if self._is_over:
            return
        self._has_begun = True
        if not self._is_timed:
            self._note(math.inf)
        for carrier in self._carriers:
            carrier.begin_wait()

    def _end(self) -> None:
        if self._end_as(Carrier.end_wait):
            self._wait_for_place(0)

    def _give_up(self) -> None:
        self._end_as(Carrier.give_up_wait)

    def _end_as(self, how: Callable[[Carrier], object]) -> bool:
        """End the wait, unless it has ended, or never begun; whether it did."""
        ends = self._has_begun and not self._is_over
        self._is_over = True
        if ends:
            if not self._is_timed:
                self._note(None)
            for carrier in self._carriers:
                how(carrier)
        else:
            self._back.set()
        return ends

    def _wait_for_place(self, number: int) -> None:
        """One place after the other; then the thread goes on."""
        for n, carrier in enumerate(self._carriers[number:], number):
            if carrier.when_back(partial(self._wait_for_place, n)):
                return
        self._back.set()

    def _note(self, deadline: float | None) -> None:
        self._carriers[0].lender.note_wait(self._carriers[0].task, deadline)
