"""Waiting for another call, from inside one: the place is lent meanwhile.

What it is for: without it, calls that wait for calls would hold all the places, and nothing would go on.
Every task that a call has started counts, and every runner whose call this is part of: a call of one
runner that waits for another runner's lends as well.

What it does not know: what is waited for; any `Parkable` will do.

Invariant: whoever has begun to wait has ended it, one way or another, when `park` returns or raises.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from typing import Any, final

from ._backend import Backend, Parkable
from ._carrier import CARRIED, Carrier
from ._ki import protected
from ._places import Places
from ._slot import Slot

IN_THREAD: ContextVar[tuple[Slot[Any], list[Carrier]] | None] = ContextVar(
    "creche call in thread", default=None
)
"""The call that the present worker thread carries out, and whoever carries it, and what is around it."""

SUBMITTER: ContextVar[tuple[tuple[int, Hashable] | None, object]] = ContextVar(
    "creche submitter", default=(None, None)
)
"""In what is submitted from another thread: the run and the key of the call whose code it is, and the
task that submits it here for that thread, if it is one."""

MAIN_TASK: ContextVar[object] = ContextVar("creche main task of a thread", default=None)
"""The task that is the body of an async call, on the loop of the thread that carries it out."""


def callers_here(backend: Backend) -> list[Carrier]:
    """Who carries out the calls that the running task is part of, the innermost first.

    Args:
        backend: the loop's.

    Returns:
        nobody, if it is part of none.
    """
    of_thread = IN_THREAD.get()
    if not CARRIED and of_thread is None:
        return []
    found: list[Carrier] = []
    for task in backend.lineage():
        carrier = CARRIED.get(task)
        while carrier is not None:
            found.append(carrier)
            carrier = carrier.outer
    if not found and of_thread is not None:
        # A task that a thread has started on the loop, and waits for; not one of a loop in the thread.
        caller, callers = of_thread
        if caller.carrying is callers[0] and not caller.home.is_elsewhere:
            return callers
    return found


def caller_away() -> tuple[Slot[Any], list[Carrier]] | None:
    """The call of another thread's loop that this thread, which runs a loop of its own, carries out.

    Returns:
        the call, and who carries it; `None` if there is none.
    """
    of_thread = IN_THREAD.get()
    if of_thread is None or of_thread[0].carrying is not of_thread[1][0]:
        return None
    return of_thread if of_thread[0].home.is_elsewhere else None


def submitter_here(backend: Backend) -> tuple[int, Hashable] | None:
    """The run and the key of the call whose code submits something now, if it was told of.

    Args:
        backend: the loop's.

    Returns:
        `None` if it is no call's.
    """
    away, task = SUBMITTER.get()
    # Not by the lineage of that task: the run may have been opened inside of another call.
    if task is not None and task is backend.current_task() and task not in CARRIED:
        return away
    carriers = callers_here(backend)
    return carriers[0].told if carriers else away


@protected
async def park(backend: Backend, place: Parkable, seconds: float | None) -> None:
    """Park the running task; if it is part of a call, with the call's place lent.

    Args:
        backend: the loop's.
        place: what to wait for.
        seconds: how long at most; `None` for no limit. It is not the limit of getting the place back.
    """
    # Also those who have no place: it may be given to them, by a limit that is set while they wait.
    callers = callers_here(backend)
    if not callers:
        await _park(backend, place, seconds)
        return
    lent = _Lent(place, callers)
    try:
        await _park(backend, lent, seconds)
    finally:
        lent.end()
    for caller in callers:
        # At once, unless somebody else has the place still.
        while caller.is_returning:
            await backend.park(_Back(caller))


async def pause(backend: Backend, seconds: float) -> None:
    """Wait for nothing but the time. A checkpoint.

    Args:
        backend: the loop's.
        seconds: how long.
    """
    await _park(backend, _Nothing(), seconds)


async def take_back(backend: Backend, callers: Sequence[Carrier]) -> None:
    """Have calls go on with their places, which they have lent; a checkpoint only if one is missing.

    Args:
        backend: the loop's.
        callers: who carries them out.
    """
    for caller in callers:
        caller.end_wait()
    for caller in callers:
        while caller.is_returning:
            await backend.park(_Back(caller))


async def _park(backend: Backend, place: Parkable, seconds: float | None) -> None:
    if seconds is None:
        await backend.park(place)
        return
    with backend.open_scope(deadline=backend.current_time() + seconds):
        await backend.park(place)


async def enter(backend: Backend, places: Places) -> None:
    """Take a place, in the order of asking; a checkpoint only if there is none.

    Args:
        backend: the loop's.
        places: of which one is needed.
    """
    entrance = _Entrance()
    if places.ask(entrance):
        return
    entrance.task = backend.current_task()
    try:
        await backend.park(entrance)
    except BaseException:
        if entrance.is_granted:
            places.free()
        else:
            places.withdraw(entrance)
        raise


@final
class _Lent:
    """A thing to wait for, as those wait for it who lend their places."""

    def __init__(self, place: Parkable, callers: Sequence[Carrier]) -> None:
        self._place: Parkable | None = place
        self._callers = callers
        self._wake: Callable[[], object] | None = None
        self._waits = self._is_parked = False
        # One object: it is found again by its identity.
        self._waker: Callable[[], object] | None = self._arrive

    def enroll(self, wake: Callable[[], object]) -> bool:
        self._wake = wake
        assert self._place is not None
        assert self._waker is not None
        if not self._place.enroll(self._waker):
            return False
        self._waits = True
        for caller in self._callers:
            caller.begin_wait()
        self._is_parked = self._waits
        if not self._waits:  # the places that were lent have brought it about
            self._end_waits()
        return self._is_parked

    def withdraw(self, wake: Callable[[], object]) -> None:
        del wake
        assert self._place is not None
        assert self._waker is not None
        self._place.withdraw(self._waker)

    def end(self) -> None:
        """If nothing has arrived, the wait was cancelled. Nothing is held from here on."""
        self._place = self._waker = self._wake = None  # they are a ring
        if self._waits:
            self._waits = False
            for caller in self._callers:
                caller.give_up_wait()

    def _arrive(self) -> None:
        self._waits = False
        if self._is_parked:
            self._end_waits()
            assert self._wake is not None
            self._wake()

    def _end_waits(self) -> None:
        for caller in self._callers:
            caller.end_wait()


@final
class _Nothing:
    """Is waited for in vain, until the time has passed."""

    def enroll(self, wake: Callable[[], object]) -> bool:
        del wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        pass


@final
class _Entrance:
    """Waits for a first place."""

    def __init__(self) -> None:
        self.is_granted = False
        self.task: object = None
        self._wake: Callable[[], object] | None = None

    def grant(self) -> None:
        self.is_granted = True
        if self._wake is not None:  # else it was cancelled, and has not seen that yet
            self._wake()

    def enroll(self, wake: Callable[[], object]) -> bool:
        self._wake = wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """It must not be woken twice; it sees to the place itself."""
        del wake
        self._wake = None


@final
class _Back:
    """Waits for the place of a call to come back."""

    def __init__(self, caller: Carrier) -> None:
        self._caller = caller

    def enroll(self, wake: Callable[[], object]) -> bool:
        return self._caller.when_back(wake)

    def withdraw(self, wake: Callable[[], object]) -> None:
        self._caller.go_without(wake)
