"""The future of a call, for code that knows `concurrent.futures`.

What it is for: what `as_executor().submit` gives. The call is a slot's; the future is told how that
settled.

What it does not know: how a call is submitted. What touches the run is handed over to its loop.

Invariant: a future ends once, with its call or by `cancel`; a plain call of which `cancel` has said that
it is cancelled has not been called, and will not be.

The futures of the standard library know two stages of a call that has not ended: pending, when it can
be cancelled, and running, when it cannot. An async call can always be cancelled: its future is pending
until it ends. A plain one cannot, once it is in its thread: then its future is running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar, final

from creche._bell import Bell
from creche._errors import CallCancelled
from creche._hosting import Run
from creche._latch import Latch
from creche._lending import IN_THREAD
from creche._slot import Slot
from creche._states import State
from creche._submitting import give_up
from creche._waiting_room import Applicant

T = TypeVar("T")

CANCELLED = "its future was cancelled"
"""Why, for the slot."""


@final
class CallFuture(Future[T]):
    """A `concurrent.futures.Future` whose call is one of a runner's."""

    def __init__(self, run: Run, fn: Callable[[], Any]) -> None:
        super().__init__()
        self.slot: Slot[Any] | None = None
        self.applicant: Applicant | None = None
        self.when_given_up: Callable[[], object] = lambda: None
        self._run = run
        self._fn: Callable[[], Any] | None = fn
        self._beginning = threading.Lock()
        self._has_begun = False
        self._is_cancelled = False
        # A plain call that was cancelled on its way into its thread waits there for the loop to see it.
        self._dropped = Latch()
        # What threads that have lent a place wait for.
        self._bells: list[Bell] = []

    # For whoever waits -------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Cancel the call; False for a plain one that is in its thread, and for one that has ended.

        The future is cancelled when this returns. An async call that runs is cancelled where it stands,
        and its slot settles when it has unwound.
        """
        if not super().cancel():
            return False
        self._claim()
        with self._beginning:
            first, self._is_cancelled = not self._is_cancelled, True
        if first:
            self._ring()
            self._run.home.hand_over(self._cancel_call)
        return True

    def result(self, timeout: float | None = None) -> T:
        """Give what the call returned, or raise what it raised; it blocks, in a thread without a loop.

        Raises:
            RuntimeError: the call has not ended, and this thread runs an event loop, or is its own.
        """
        timeout = self._wait(timeout)
        try:
            return super().result(timeout)
        finally:
            self._note_read()
            del self  # a raised exception must not hold the future that holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Give what the call raised; it blocks, in a thread without a loop.

        Raises:
            RuntimeError: the call has not ended, and this thread runs an event loop, or is its own.
        """
        timeout = self._wait(timeout)
        try:
            return super().exception(timeout)
        finally:
            self._note_read()

    # For the executor --------------------------------------------------------------------------------

    def call(self) -> Any:  # noqa: ANN401 - whatever it gives
        """The body of a plain call, in its thread."""
        if self._begin():
            fn, self._fn = self._fn, None
            assert fn is not None
            return fn()
        self._dropped.wait()
        return None

    async def call_async(self) -> Any:  # noqa: ANN401 - whatever it gives
        """The body of an async call."""
        fn, self._fn = self._fn, None
        assert fn is not None
        return await fn()

    def end(self, slot: Slot[Any]) -> None:
        """On the home loop: the call has settled."""
        self._fn = None
        if slot.state is State.COMPLETED:
            self._end(partial(self.set_result, slot.result()))
        elif slot.state is not State.CANCELLED:
            self._end(partial(self.set_exception, slot.peek_error()))
        elif not super().cancel():  # it was left to itself in its thread
            error = CallCancelled(slot.key, slot.origin or "", slot.reason or "")
            self._end(partial(self.set_exception, error))
        else:
            self._end(lambda: None)

    def refuse(self, error: BaseException) -> None:
        """The call could not be submitted."""
        self._fn = None
        self._end(partial(self.set_exception, error))

    def is_queued(self) -> bool:
        """Whether the call waits for a place, or for room; on the home loop."""
        if self.slot is None:
            return self.applicant is not None
        call = self.slot.pending_call
        return call is not None and call.queued

    def _end(self, write: Callable[[], object]) -> None:
        if self._begin():
            write()
        self._dropped.set()
        self._ring()

    def _ring(self) -> None:
        for bell in tuple(self._bells):
            bell.ring()

    def _claim(self) -> None:
        """Tell those who wait that the call goes on, or does not; once."""
        with self._beginning:
            if not self._has_begun:
                self._has_begun = True
                self.set_running_or_notify_cancel()

    def _begin(self) -> bool:
        """The call begins, or has ended: whether the future was not cancelled before."""
        self._claim()
        return self.running()

    def _cancel_call(self) -> None:
        """On the home loop."""
        slot, applicant = self.slot, self.applicant
        if slot is None and applicant is not None and not applicant.is_settled:
            give_up(self._run, applicant)
            self.when_given_up()
        if slot is not None and self._run.cancel(slot, "cancel", CANCELLED):
            self._run.performer.abandon_thread(slot)  # it waits in there
        self._dropped.set()

    def _wait(self, timeout: float | None) -> float | None:
        """In the thread of a plain call: wait with its place lent; what is left of the time."""
        if self.done():
            return timeout
        home = self._run.home
        if home.in_loop():
            msg = (
                "the call of this future has not ended, and this thread runs an event loop, which would "
                "stand still; await asyncio.wrap_future(future) there, or the slot of the call"
            )
            raise RuntimeError(msg)
        if IN_THREAD.get() is None:
            return timeout
        bell = Bell(self.done)
        self._bells.append(bell)
        try:
            home.block(bell, None if timeout is None else max(0, timeout), self.slot)
        finally:
            self._bells.remove(bell)
        return 0

    def _note_read(self) -> None:
        if self.slot is not None and self.done():
            self.slot.mark_read()
