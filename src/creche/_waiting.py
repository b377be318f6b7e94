"""Waiting for slots: for one, and for whichever settles next; for all of many, see `_together`.

What it is for: a run gives its slots one `LoopHome`, through which every wait goes: the check that a
call does not wait for itself, the time limit, and the rule for settled slots.

A wait for a settled slot is always a cancel point. It is a schedule point at the latest every 64th time
in a row: one schedule point on trio costs as much as all the rest of a call, and one in 64 lets another
ready task run just as surely. The same goes for `submit`.

What it does not know: runners, carriers, how a call is carried out.

Invariant: a waiter that is cancelled leaves no trace in the slot, and does not touch the call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

from ._backend import Backend, Parkable, perhaps
from ._backends import any_loop_here, detect
from ._blocking import Happening, block, park_away
from ._carrier import CARRIED, carriers_in, with_outer
from ._circles import check_circle, refuse_own
from ._ki import protected
from ._lending import IN_THREAD, MAIN_TASK, caller_away, park
from ._news import FromAfar, post_to
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
        credit, is_cancel_due, runner_name, flow_name, tries: see `Home`.
        thread: the number of the loop's.
    """

    __slots__ = (
        *("_backend", "_post"),
        *("credit", "flow_name", "is_cancel_due", "portal", "runner_name", "thread", "tries"),
    )

    def __init__(self, backend: Backend) -> None:
        self.runner_name = self.flow_name = ""
        self.tries: Any = None
        self._post = backend.poster()
        self.portal: Portal = Portal(self._post)
        self._backend: Backend | None = backend
        self.is_cancel_due: Callable[[], bool] = perhaps  # until the run is open, and when it is over
        self.thread: int = get_ident()
        self.credit: int = _YIELD_EVERY

    def settle_in(self, backend: Backend) -> None:
        """The run is open, and the task that runs now will ask most."""
        self.is_cancel_due = backend.watcher()

    def leave(self) -> None:
        """The run is over: from now on its slots are read under any loop, or none."""
        self._backend = None
        self.is_cancel_due = perhaps
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
            if self.thread == get_ident():
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
        if self.credit <= 1 or self.is_cancel_due():
            return False
        self.credit -= 1
        return True

    async def pass_by(self) -> None:
        """A cancel point, and every so often a schedule point."""
        backend = self.anywhere()
        self.credit -= 1
        if self.credit > 0:
            await backend.checkpoint_if_cancelled()
        else:
            self.credit = _YIELD_EVERY
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
        wait_here = self.parker()
        if wait_here is None:
            await self.wait_with_care(self.anywhere(), slot, timeout, (slot,))
        elif timeout is None:
            await wait_here(slot)
        else:
            await park(self.anywhere(), slot, timeout)
        return slot.done

    def parker(self) -> Callable[[Parkable], Awaitable[None]] | None:
        """What waits for a slot of this run, and nothing else: it is the usual case, for few frames.

        Each frame is woken, too. `None` where a call may be waiting, or somebody on another thread.
        """
        backend = self._backend
        if backend is None or self.thread != get_ident() or IN_THREAD.get() is not None:
            return None
        if CARRIED and backend.is_within(CARRIED):
            return None
        self.credit = _YIELD_EVERY
        return backend.park

    @protected
    async def wait_with_care(
        self,
        backend: Backend,
        place: Parkable,
        timeout: float | None,
        slots: Sequence[Slot[Any]],
    ) -> None:
        """Wait where a call may be waiting, or another loop than the run's: no call waits for itself.

        Args:
            backend: to wait with, as `anywhere` gives it.
            place: what to wait for.
            timeout: seconds, checked already; `None` for no limit.
            slots: which have all settled when that happens.

        Raises:
            RuntimeError: the call that waits would wait for itself; or through others, without a limit.
        """
        self.credit = _YIELD_EVERY
        task = backend.current_task()
        carriers = carriers_in(task)
        if not carriers and task is MAIN_TASK.get() and (caller := caller_away()) is not None:
            carriers = with_outer(caller[1][0])
        try:
            if carriers:
                refuse_own(slots, task)
                if timeout is None:
                    check_circle(carriers, slots)
                    for carrier in carriers:
                        carrier.waits_for = slots
            if self.is_elsewhere and caller_away() is None:
                with FromAfar(place, backend.poster()) as news:
                    await self.park(backend, news, timeout)
            else:
                await self.park(backend, place, timeout)
        finally:
            for carrier in carriers:
                carrier.waits_for = ()
            del slots, place  # what is raised may be the outcome of one of them

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
            await _park(backend, place, seconds, task)
            return
        deadline = backend.current_effective_deadline()
        if seconds is not None:
            deadline = min(deadline, backend.current_time() + seconds)
        for lender in lenders:
            lender.note_wait(task, deadline)
        try:
            await _park(backend, place, seconds, task)
        finally:
            for lender in lenders:
                lender.note_wait(task, None)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the run is going on, on another thread's loop."""
        return self._backend is not None and self.thread != get_ident()

    def anywhere(self) -> Backend:
        """The backend to wait with, here and now: also on another thread's loop."""
        return detect() if self.is_elsewhere else self._backend or detect()

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


async def _park(backend: Backend, place: Parkable, seconds: float | None, task: object) -> None:
    caller = caller_away()
    if caller is None:
        await park(backend, place, seconds)
        return
    home: Any = caller[0].home
    is_noted = seconds is None and task is MAIN_TASK.get()
    await park_away(backend, place, seconds, caller, home, is_noted=is_noted)


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
        backend = self._home.anywhere()
        refuse_own(self._slots, backend.current_task())
        self._backend = backend
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
            arrive = partial(post_to, self._backend.poster(), arrive)
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
