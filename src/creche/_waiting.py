"""Waiting for slots: for one, and for whichever settles next.

What it is for: a run gives its slots one `LoopHome`, through which every wait goes: the check that a
call does not wait for itself, the time limit, and the rule for settled slots.

A wait for a settled slot is always a cancel point. It is a schedule point at the latest every 64th
time in a row: one schedule point on trio costs as much as all the rest of a call, and one in 64 lets
another ready task run just as surely. The same goes for `submit`.

What it does not know: runners, carriers, how a call is carried out.

Invariant: a waiter that is cancelled leaves no trace in the slot, and does not touch the call.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

from ._backend import Backend, Parkable
from ._backends import any_loop_here, detect
from ._blocking import Happening, block
from ._carrier import carriers_in
from ._circles import check_circle, waits_for_itself
from ._ki import protected
from ._lending import IN_THREAD, callers_here, park
from ._parking import Parking
from ._portal import Portal
from ._slot import Slot

T = TypeVar("T")

# PERFORMANCE: with a schedule point in every settled wait, submit + wait cost twice as much.
_YIELD_EVERY = 64


@final
class LoopHome:
    """Where the slots of one run live: its loop, while that runs.

    Attributes:
        portal: for errands from other threads.
    """

    __slots__ = ("_backend", "_credit", "_post", "_thread", "portal")

    def __init__(self, backend: Backend) -> None:
        self._post = backend.poster()
        self.portal: Portal = Portal(self._post)
        self._backend: Backend | None = backend
        self._thread = get_ident()
        self._credit = _YIELD_EVERY

    def leave(self) -> None:
        """The run is over: from now on its slots are read under any loop, or none."""
        self._backend = None
        self.portal.close()

    def block(self, place: Happening, timeout: float | None, /, slot: Slot[Any] | None = None) -> bool:
        """Block this thread, which runs no loop, until something has happened; see `_blocking.block`."""
        of_thread = IN_THREAD.get()
        home = self if of_thread is None else of_thread[0].home
        assert isinstance(home, LoopHome)
        return block(place, timeout, of_thread, home, slot)

    def hand_over(self, fn: Callable[[], object]) -> bool:
        """From any thread: have a function called on the loop soon; False when that has ended."""
        try:
            if self._thread == get_ident():
                fn()
            else:
                self._post(fn)
        except RuntimeError:
            return False
        return True

    def in_loop(self) -> bool:
        """Whether this thread is running any event loop; or is the run's, whose loop stands still."""
        return any_loop_here() or (self._backend is not None and not self.is_elsewhere)

    def may_pass_by(self) -> bool:
        """Whether a cancel point would do nothing here and now, nor is a schedule point due.

        True counts as one that was passed: a coroutine for each would cost a twentieth of a call.
        """
        backend = self._backend
        if (
            backend is None
            or self._thread != get_ident()
            or self._credit <= 1
            or backend.is_cancel_due()
        ):
            return False
        self._credit -= 1
        return True

    async def pass_by(self) -> None:
        """A cancel point, and every so often a schedule point."""
        backend = self.anywhere()
        self._credit -= 1
        if self._credit > 0:
            await backend.checkpoint_if_cancelled()
        else:
            self._credit = _YIELD_EVERY
            await backend.checkpoint()

    @protected
    async def wait(self, slot: Slot[Any], timeout: float | None, /) -> bool:
        """Wait until a slot is settled.

        Args:
            slot: one of this run's.
            timeout: seconds, checked already; `None` for no limit.

        Returns:
            False when the time passed first; never for a settled slot.

        Raises:
            RuntimeError: it is the call's own task that asks; it would wait for ever.
        """
        if slot.done:
            await self.pass_by()
            return True
        backend = self.anywhere()
        self._credit = _YIELD_EVERY
        callers = callers_here(backend)
        if not callers and not self.is_elsewhere:
            if timeout is None:  # the usual case, in few frames: each is woken, too
                await backend.park(slot)
            else:
                await park(backend, slot, timeout)
            return slot.done
        task = backend.current_task()
        if slot.carried_by(task):
            raise waits_for_itself(slot.key, [slot.key])
        carriers = carriers_in(task) if timeout is None else []
        if carriers:
            check_circle(carriers, slot)
        for carrier in carriers:
            carrier.waits_for = slot
        try:
            if self.is_elsewhere:
                with FromAfar(slot, backend.poster()) as place:
                    await self.park(backend, place, timeout)
            else:
                await self.park(backend, slot, timeout)
        finally:
            for carrier in carriers:
                carrier.waits_for = None
        return slot.done

    @protected
    async def park(self, backend: Backend, place: Parkable, seconds: float | None = None) -> None:
        """Park the running task, and have it known meanwhile that its call waits for another.

        Args:
            backend: this run's.
            place: what to wait for.
            seconds: how long at most; `None` for no limit.
        """
        task = backend.current_task()
        lenders = {carrier.lender for carrier in carriers_in(task)}
        if not lenders:
            await park(backend, place, seconds)
            return
        deadline = backend.current_effective_deadline()
        if seconds is not None:
            deadline = min(deadline, backend.current_time() + seconds)
        for lender in lenders:
            lender.note_wait(task, deadline)
        try:
            await park(backend, place, seconds)
        finally:
            for lender in lenders:
                lender.note_wait(task, None)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the run is going on, on another thread's loop."""
        return self._backend is not None and self._thread != get_ident()

    def anywhere(self) -> Backend:
        """The backend to wait with, here and now: also on another thread's loop.

        Raises:
            RuntimeError: that loop is run by a plain call in its thread, whose place could not be lent.
        """
        if not self.is_elsewhere:
            return self._backend or detect()
        of_thread = IN_THREAD.get()
        if of_thread is not None and of_thread[0].carrying is of_thread[1][0]:
            msg = (
                f"call {of_thread[0].key!r} runs an event loop in its thread, and this runner lives on "
                f"another thread's event loop; let the thread wait itself, by slot.result()"
            )
            raise RuntimeError(msg)
        return detect()

    def here(self) -> Backend:
        """The backend to wait with, here and now.

        Raises:
            RuntimeError: the run is going on, and this is another thread's loop.
        """
        if self.is_elsewhere:
            msg = (
                "this runner lives on another thread's event loop; wait there until it is idle or "
                "drained, or wait here for the slots that you need"
            )
            raise RuntimeError(msg)
        return self._backend or detect()


def _post(post: Callable[[Callable[[], object]], None], fn: Callable[[], object]) -> None:
    """Have a function called on another thread's loop; nobody misses it when that has ended."""
    with contextlib.suppress(RuntimeError):
        post(fn)


@final
class FromAfar:
    """A thing to wait for on another thread's loop than the one that it happens on.

    Whoever wakes us does so in his thread: from there the news is posted to ours. Once the wait is over,
    here, news that is still under way wakes nobody.
    """

    def __init__(self, place: Parkable, post: Callable[[Callable[[], object]], None]) -> None:
        self._place = place
        self._wake: Callable[[], object] | None = None
        # One object: it is found again by its identity.
        self._waker: Callable[[], object] | None = partial(_post, post, self._arrive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waker = None  # a ring

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park; part of the protocol between a loop and what is waited for."""
        assert self._waker is not None
        self._wake = wake
        return self._place.enroll(self._waker)

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Let go."""
        del wake
        assert self._waker is not None
        self._wake = None
        self._place.withdraw(self._waker)

    def _arrive(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()


async def until_all_done(home: LoopHome, open_slots: Callable[[], Iterable[Slot[Any]]]) -> None:
    """Wait until nothing is open any more, whatever comes meanwhile; one wake-up for many slots.

    Args:
        home: of the slots.
        open_slots: what is open now; asked again when all of that has settled.
    """
    while slots := list(open_slots()):
        async with AsCompleted(home, slots) as arrivals:
            async for _ in arrivals:
                pass


@final
class AsCompleted(Parking, Generic[T]):
    """Slots in the order in which they settle; see `ConcurrentTaskRunner.as_completed`.

    Use it as ``async with ... as slots``, and ``async for slot in slots`` inside: leaving the block
    early leaves nothing behind, and the calls go on.
    """

    def __init__(self, home: LoopHome, slots: Iterable[Slot[T]]) -> None:
        super().__init__()
        self._home = home
        # A slot that is named twice comes once.
        self._slots = list(dict.fromkeys(slots))
        self._backend: Backend | None = None
        self._ready: deque[Slot[T]] = deque()
        self._enrolled: dict[Slot[T], Callable[[], object]] = {}

    @protected
    async def __aenter__(self) -> Self:
        """Begin to listen. Not a checkpoint.

        Raises:
            RuntimeError: it was entered before, or one of the slots is of the very call that asks.
        """
        if self._backend is not None:
            msg = "this as_completed() was entered before; call as_completed() again for another"
            raise RuntimeError(msg)
        self._backend = self._home.anywhere()
        task = self._backend.current_task()
        for slot in self._slots:
            if slot.carried_by(task):
                self._backend = None
                msg = f"call {slot.key!r} waits for itself, which would never end; leave its key out"
                raise RuntimeError(msg)
        for slot in self._slots:
            self.add(slot)
        self._slots.clear()
        return self

    @protected
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening. Not a checkpoint."""
        for slot, arrive in self._enrolled.items():
            slot.withdraw(arrive)
        self._enrolled.clear()
        self._wake_all()

    def __aiter__(self) -> Self:
        if self._backend is None:
            msg = "write 'async with runner.as_completed(...) as slots', then 'async for' over slots"
            raise RuntimeError(msg)
        return self

    async def __anext__(self) -> Slot[T]:
        """The next slot that has settled. A checkpoint."""
        while not self._ready:
            if not self._enrolled or self._backend is None:
                await self._home.pass_by()
                raise StopAsyncIteration
            await self._home.park(self._backend, self)
            if self._ready:
                return self._ready.popleft()
        await self._home.pass_by()
        # While it let others run, another reader of the same slots may have been quicker.
        return self._ready.popleft() if self._ready else await self.__anext__()

    @protected
    def add(self, slot: Slot[T]) -> None:
        """Listen for one more slot; it comes in its turn.

        Args:
            slot: one that was not added yet.
        """
        arrive: Callable[[], object] = partial(self._arrive, slot)
        home = slot.home
        if self._backend is not None and isinstance(home, LoopHome) and home.is_elsewhere:
            arrive = partial(_post, self._backend.poster(), arrive)
        # First the entry: a slot that settles in another thread may arrive at once.
        self._enrolled[slot] = arrive
        if not slot.enroll(arrive):
            del self._enrolled[slot]
            self._ready.append(slot)

    @property
    def open(self) -> Iterable[Slot[T]]:
        """The slots that have not settled yet, in the order in which they were added."""
        return tuple(self._enrolled)

    def __len__(self) -> int:
        return len(self._enrolled)

    def next_nowait(self) -> Slot[T] | None:
        """The next slot that has settled, if one has that was not read yet. Not a checkpoint."""
        return self._ready.popleft() if self._ready else None

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park a reader; part of the protocol between a loop and what is waited for."""
        if self._ready or not self._enrolled:
            return False  # the last reservations were given up because this reader was about to park
        return super().enroll(wake)

    def _arrive(self, slot: Slot[T]) -> None:
        """A slot has settled; called by whoever settles it, but always on the loop of the reader."""
        if self._enrolled.pop(slot, None) is None:
            return  # the block was left while the news was under way from another thread
        self._ready.append(slot)
        # Everybody, not one: the last slot must also tell the other readers that none will follow.
        self._wake_all()
