"""A slot: where the outcome of one key lands, and whom it wakes.

What it is for: the handle that `submit` gives, and the one place where a call's state is written.

What it does not know: runners, queues, its loop, which it reaches only through `Home`, of the run.

Invariant: `settle` is called once and is the only write of a final state; whoever enrolled before
it is woken by it, and whoever enrolls after it is told so at once. There is no gap between, also not
for another thread: `enroll` writes its entry, then looks at the state, `settle` the other way round. A
waiter is a function that wakes somebody; the first is stored bare, more become the keys of a dict.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable
from typing import Any, Generic, Never, TypeVar, cast, final

from outcome import Error, Outcome, Value

from ._call import Call
from ._capture import strip_own_frames
from ._checks import check_reading
from ._errors import NotSettled, cancelled
from ._home import Carrying, Home
from ._ki import call_openly, protected
from ._log import logger
from ._spelling import spell
from ._states import TRANSITIONS, Origin, State

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Waker = Callable[[], object]

# Read at each call: an attribute of an Enum takes longer.
_PENDING, _RUNNING = State.PENDING, State.RUNNING
_COMPLETED, _CANCELLED = State.COMPLETED, State.CANCELLED

# Of two threads that enroll at once not both must find no waiter yet. Waking needs no lock.
_enrolling = threading.Lock()


@final
class Slot(Generic[T_co]):
    """Where the outcome of one call lands; what `submit` hands back.

    A slot settles exactly once. It can be awaited (``await slot`` gives the value, or raises what
    the call raised), read by as many as like, from any thread, and after the run without a loop. It
    goes on working after the runner has forgotten its key.
    """

    # `home`, where it lives, and `work`, its call or who carries it out, are for the run that it is of.
    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_key",
        "_payload",
        "_state",
        "_unread",
        "_wakers",
        "home",
        "work",
    )

    def __init__(self, key: Hashable, home: Home, work: Call | None) -> None:
        self._key = key
        self.home: Home = home
        self._state = _PENDING
        # A Call while pending, who carries it out while running, else None: settled, or reserved.
        self.work: Call | Carrying | None = work
        # COMPLETED: the value. FAILED, CRASHED: the exception, its traceback. CANCELLED: origin, reason,
        # never the loop's own Cancelled; of "upstream" also the slot of the root.
        self._payload: Any = None
        self._wakers: Waker | dict[Waker, None] | None = None
        self._callbacks: list[Callable[[Slot[Any]], object]] | None = None
        # Of a failure that nobody has read yet: what takes it off the list of those.
        self._unread: Callable[[], object] | None = None

    # Looking ---------------------------------------------------------------------------------------

    @property
    def key(self) -> Hashable:
        """The key that the call was submitted under."""
        return self._key

    @property
    def state(self) -> State:
        """Where the call is on its way."""
        return self._state

    @property
    def done(self) -> bool:
        """Whether the call has ended, however it did."""
        return self._state is not _PENDING and self._state is not _RUNNING

    @property
    def reserved(self) -> bool:
        """Whether the key is only reserved, and nothing was submitted under it yet."""
        return self.work is None and self._state is State.PENDING

    @property
    def origin(self) -> Origin | None:
        """For a cancelled call, where the cancellation came from; else `None`."""
        return self._payload[0] if self._state is State.CANCELLED else None

    @property
    def reason(self) -> str | None:
        """For a cancelled call, why, as a sentence; else `None`."""
        return self._payload[1] if self._state is State.CANCELLED else None

    @property
    def root(self) -> Slot[Any]:
        """Where it began that it was cancelled as `upstream`; for any other, itself."""
        return self._payload[2] if self.origin == "upstream" else self

    @property
    def attempt(self) -> int:
        """Which try of the call this is, or was the last, from 1; see `Retry`."""
        tries = self.home.tries
        return 1 if tries is None else tries.get(self, 1)

    @property
    def outcome(self) -> Outcome[T_co]:
        """The outcome of the call, a fresh object for each reader.

        `outcome.Value` of a completed call; `outcome.Error` of any other: with the original
        exception, its traceback as it was when the call raised it, or a new `CallCancelled`.

        Raises:
            NotSettled: the call has not ended yet.
        """
        if self._state is _COMPLETED:
            return Value(self._payload)
        return Error(self._error())

    def glance(self) -> Outcome[T_co] | None:
        """The outcome of a completed call, where a wait for it need not so much as be a cancel point."""
        if self._state is not _COMPLETED or (home := self.home).credit <= 1 or home.is_cancel_due():
            return None
        home.credit -= 1  # `may_pass_by`, in this frame
        return Value(self._payload)

    def result(self, timeout: float | None = None, **foreign: Never) -> T_co:
        """Give the value, or raise what the call raised.

        Where no event loop runs, as in a sync flow, it waits; where one does, never. Not a checkpoint.

        Args:
            timeout: how many seconds to wait at most, in a thread without a loop.
            **foreign: there is nothing else; the error says what to write for a word of Prefect's.

        Returns:
            what the call returned.

        Raises:
            NotSettled: the call has not ended, and this thread runs an event loop: ``await slot``.
            CallCancelled: the call was cancelled; a new one for each reader.
            TimeoutError: `timeout` seconds passed.
            TypeError: `timeout` is not a number, or something else is given.
            ValueError: `timeout` is negative or NaN.
            RuntimeError: a call waits for itself, in its own thread.
            BaseException: whatever the call raised, the original object.
        """
        timeout = check_reading(timeout, foreign)
        if not self.done and not self.home.in_loop() and not self.block(timeout):
            msg = f"call {spell(self._key)} has not ended within {timeout} seconds; it goes on"
            raise TimeoutError(msg)
        try:
            return self._unwrap()
        finally:
            del self  # see _unwrap

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._wait_for_result().__await__()

    def __repr__(self) -> str:
        detail = self.origin or ("reserved" if self.reserved else None)
        return f"<creche.Slot {spell(self._key)} {self._state.name}{f' ({detail})' if detail else ''}>"

    @protected
    def add_done_callback(self, fn: Callable[[Slot[T_co]], object]) -> None:
        """Have a function called with this slot once it is settled.

        It is called once, on the home loop's thread, between two steps of the run; at once and right
        here if the slot is settled. An error in it is logged (logger ``creche``) and stops nobody.

        Args:
            fn: a plain function of one argument, the slot.

        Raises:
            TypeError: `fn` is not callable.
        """
        if not callable(fn):
            msg = f"a done callback must be callable, not {fn!r}"
            raise TypeError(msg)
        with _enrolling:
            if not self.done:
                self._callbacks = [*(self._callbacks or ()), fn]
                return
        try:
            call_openly(fn, self)
        except Exception:  # noqa: BLE001 - logged: the callback's failure is not the run's
            logger.exception("done callback %r of %r failed", fn, self)

    @property
    def pending_call(self) -> Call | None:
        """The call, while it is pending; `None` for a reserved slot, and once it runs."""
        return self.work if self._state is State.PENDING else None  # type: ignore[return-value]  # what is in the field is told by the state

    # What the run does with it ------------------------------------------------------------------------

    def fill(self, call: Call) -> None:
        """Give a reserved slot its call."""
        self.work = call

    def begin(self, carrying: Carrying) -> None:
        """PENDING -> RUNNING: the slot forgets the call, and notes who has it."""
        assert self._state is _PENDING, self
        self._state = _RUNNING
        self.work, carrying.slot = carrying, self

    @protected
    def settle(self, state: State, payload: object) -> list[Callable[[Slot[Any]], object]]:
        """Make the state final and wake the waiters: the only write, and it cannot be torn.

        Args:
            state: a final state that may follow the present one.
            payload: the value; the exception; or origin and reason, and the root's slot.

        Returns:
            the done callbacks, for the caller to call: code of the user's stays interruptible.
        """
        assert state in TRANSITIONS[self._state], (self, state)
        if state is State.FAILED or state is State.CRASHED:
            error = cast("BaseException", payload)
            error.__traceback__ = strip_own_frames(error.__traceback__)
            payload = (error, error.__traceback__)
        self._payload = payload
        self.work = None
        self._state = state
        return self._wake()

    @protected
    def end(self, state: State, payload: object) -> list[Callable[[Slot[Any]], object]] | None:
        """As `settle`, for a running call that returned or was cancelled; `None`: no callbacks."""
        assert self._state is _RUNNING, self
        self._payload = payload
        self.work = None
        self._state = state
        if self._callbacks is None:
            if (wakers := self._wakers) is None:
                return None
            if not isinstance(wakers, dict):  # the usual case, in this frame
                self._wakers = None
                wakers()
                return None
        return self._wake() or None

    def _wake(self) -> list[Callable[[Slot[Any]], object]]:
        wakers = self._wakers
        self._wakers = None
        if isinstance(wakers, dict):
            for wake in list(wakers):  # a copy: another thread may be enrolling right now
                wake()
        elif wakers is not None:
            wakers()
        if self._callbacks is None:
            return []
        with _enrolling:
            callbacks, self._callbacks = self._callbacks, None
        return callbacks or []

    @property
    def is_awaited(self) -> bool:
        """Whether anybody is to be woken when the slot settles."""
        return bool(self._wakers)

    @property
    def carrying(self) -> Carrying | None:
        """Who carries out the call, while it runs."""
        return cast("Carrying", self.work) if self._state is State.RUNNING else None

    def carried_by(self, task: object) -> bool:
        """Whether it is this task that carries the call out."""
        return self.carrying is not None and self.carrying.task is task

    @property
    def place(self) -> str | None:
        """Where the body of an open call runs, or is to run; `None` for a reserved or settled one."""
        return None if self.work is None else self.work.place

    def peek_error(self) -> BaseException | None:
        """The exception of a failed or crashed call, without counting as a reader."""
        return self._payload[0] if self._state in (State.FAILED, State.CRASHED) else None

    def peek_value(self) -> T_co:
        """The value of a completed call."""
        assert self._state is State.COMPLETED, self
        return self._payload  # type: ignore[no-any-return]  # what is in the field is told by the state

    def tell_when_read(self, fn: Callable[[], object]) -> None:
        """Have a function called when somebody first sees how the call ended."""
        self._unread = fn

    def mark_read(self) -> None:
        """Count as seen."""
        unread, self._unread = self._unread, None  # several threads may read
        if unread is not None:
            unread()

    # Waiting ------------------------------------------------------------------------------------------

    def attend(self, wake: Waker) -> None:
        """`enroll` for a new slot, which nobody else has yet."""
        self._wakers = wake

    @protected
    def enroll(self, wake: Waker) -> bool:
        """Ask to be woken when the slot settles.

        Args:
            wake: called once, by whoever settles; must not raise.

        Returns:
            False when the slot is settled already, and `wake` will not be called.
        """
        with _enrolling:
            wakers = self._wakers
            if wakers is None:
                self._wakers = wake
            elif isinstance(wakers, dict):
                wakers[wake] = None
            else:
                self._wakers = {wakers: None, wake: None}
        if self.done:
            self.withdraw(wake)
            return False
        return True

    @protected
    def withdraw(self, wake: Waker) -> None:
        """Do not wake after all; nothing happens if it is not enrolled, or no longer."""
        with _enrolling:
            wakers = self._wakers
            if isinstance(wakers, dict):
                wakers.pop(wake, None)
            elif wakers is wake:
                self._wakers = None

    def block(self, timeout: float | None) -> bool:
        """Block this thread, which runs no loop, until it is settled; False when the time passed first.

        Raises:
            RuntimeError: it is the call's own thread that asks; it would wait for ever.
        """
        return self.home.block(self, timeout)

    async def wait(self, timeout: float | None) -> bool:
        """Wait until it is settled, as a runner's `wait`; False when so many seconds passed first."""
        return await self.home.wait(self, timeout)

    async def give_way(self) -> None:
        """After a wait: what has cancelled the call may cancel the waiter, too; that comes first."""
        if self._state is State.CANCELLED:
            await self.home.wait(self, None)

    async def _wait_for_result(self) -> T_co:
        park = None if self.done else self.home.parker()
        if park is None:
            await self.home.wait(self, None)
        else:
            await park(self)
        if self._state is _CANCELLED:  # asked here, too: a coroutine for each reader costs more
            await self.give_way()
        try:
            return self._unwrap()
        finally:
            del self  # see _unwrap

    def _unwrap(self) -> T_co:
        if self._state is State.COMPLETED:
            return cast("T_co", self._payload)
        error = self._error()
        try:
            raise error
        finally:
            del self, error  # else a cycle: the exception, its traceback, this frame, the slot

    def _error(self) -> BaseException:
        """The exception for one reader; of a settled slot that has no value."""
        if self._state is _CANCELLED:
            return cancelled(self._key, *self._payload)
        if self._state in TRANSITIONS:
            key = spell(self._key)
            raise NotSettled(f"slot {key} is not settled yet; await it (await slot), or check slot.done")
        self.mark_read()
        error, traceback = cast("tuple[BaseException, Any]", self._payload)
        # Each raise adds the reader's frames to the one traceback that an exception has.
        return error.with_traceback(traceback)
