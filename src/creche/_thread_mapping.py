"""`map` in a thread without a loop: one function over many items, in order, with a bound.

What it is for: items are pulled in the thread, since what gives them may block, or belong to the
thread; each is handed over to the run's loop when there is room for it. It ends at the first failure in
time, and leaves no call of its own behind.

What it does not know: how calls are carried out.

Invariant: when `collect` returns or raises, every call that it has submitted is settled; unless a second
Ctrl-C hits while it sees to that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar, final

from ._afar import Submission, context_of_submitter
from ._call import Call
from ._errors import RunnerClosed
from ._hosting import Run
from ._slot import Slot
from ._spelling import spell
from ._states import State
from ._submitting import begin, give_up, when_room
from ._waiting_room import Applicant

Item = TypeVar("Item")
T = TypeVar("T")

_MISSING: Any = object()


@final
class ThreadMapping(Generic[Item, T]):
    """One `map`, from its first item to its last call."""

    def __init__(
        self,
        run: Run,
        call: Call,
        items: Iterable[Item],
        key: Callable[[Item], Hashable] | None,
        *,
        stop_at_failure: bool,
    ) -> None:
        """Set it up; nothing is pulled.

        Args:
            run: to which.
            call: what is done with each item: the function, and what is wished.
            items: the items.
            key: makes a key of an item; `None` for fresh ones.
            stop_at_failure: whether it ends at the first call that does not complete.

        Raises:
            TypeError: `items` or `key` is of the wrong kind.
        """
        if key is not None and not callable(key):
            msg = f"key must be a function of an item, or None for fresh keys, not {key!r}"
            raise TypeError(msg)
        if not isinstance(items, Iterable):
            msg = f"map needs an iterable to pull items from, not {items!r}"
            raise TypeError(msg)
        self._iterator = iter(items)
        self._run = run
        self._call = call
        self._key = key
        self._stop_at_failure = stop_at_failure
        # Written on the run's loop, with the entry in `_arrivals` to follow.
        self._open: dict[Slot[Any], int] = {}
        self._arrivals = _Arrivals()
        self._results: list[Any] = []
        self._failure: Slot[Any] | None = None
        # Waits for room, on the run's loop.
        self._applicant: Applicant | None = None

    def collect(self) -> list[Any]:
        """Every call's value or outcome, in the order of the items.

        Returns:
            the values; the outcomes, if it does not stop at a failure.

        Raises:
            BaseException: what the first call in time raised that did not complete; the others are
                cancelled, and have ended. Or what the iterable, or `key`, raised.
        """
        try:
            while True:
                while self._failure is None and self._run.is_wide(len(self._open)):
                    self._read_next()
                if self._failure is not None:
                    break
                item = next(self._iterator, _MISSING)
                self._read_ready()
                if item is _MISSING or self._failure is not None:
                    break
                self._submit(item)
            while self._failure is None and self._open:
                self._read_next()
        except BaseException:
            self._cut_short("its map() was cut short")
            raise
        if self._failure is not None:
            self._cut_short(f"another call of its map() did not complete: {spell(self._failure.key)}")
            # The exception will lead to frames that hold this object, which must not lead to its slot.
            failure, self._failure = self._failure, None
            try:
                failure.result()
            finally:
                del failure
        return self._results

    def _submit(self, item: Item) -> None:
        key = None if self._key is None else self._key(item)
        given = self._call
        call = Call(given.fn, (item,), is_async=given.is_async, context=context_of_submitter())
        call.wishes = given.wishes
        submission = Submission(self._run, partial(self._check_in, key, call), self._when_room)
        with suppress(_FailedMeanwhileError):
            submission.from_thread()

    def _check_in(self, key: Hashable, call: Call) -> Slot[Any] | Applicant:
        """On the run's loop: submit, or apply for room."""
        begun = begin(self._run, key, call)
        if isinstance(begun, Applicant):
            self._applicant = begun
            return begun
        return self._listen(begun)

    async def _when_room(self, applicant: Applicant | None) -> Slot[Any]:
        """On the run's loop: wait for room; but not when a call of this map has failed."""
        assert applicant is not None
        try:
            slot = await when_room(self._run, applicant)
        finally:
            self._applicant = None
        return self._listen(slot)

    def _listen(self, slot: Slot[Any]) -> Slot[Any]:
        self._open[slot] = len(self._results)
        self._results.append(_MISSING)
        arrive = partial(self._arrive, slot)
        if not slot.enroll(arrive):  # an instrument that was told of it has cancelled it
            arrive()
        return slot

    def _arrive(self, slot: Slot[Any]) -> None:
        """On the run's loop: it has settled."""
        if self._key is None:
            self._run.board.discard(slot)
        self._arrivals.add(slot)
        has_failed = self._stop_at_failure and slot.state is not State.COMPLETED
        if has_failed and self._applicant is not None and not self._applicant.is_settled:
            give_up(self._run, self._applicant)
            self._applicant.reply(_FailedMeanwhileError())

    def _read_next(self) -> None:
        self._run.home.block(self._arrivals, None)
        self._read_ready()

    def _read_ready(self) -> None:
        while (slot := self._arrivals.next_nowait()) is not None:
            index = self._open.pop(slot)
            if not self._stop_at_failure:
                self._results[index] = slot.outcome
            elif slot.state is State.COMPLETED:
                self._results[index] = slot.result()
            else:
                self._failure = self._failure or slot
                slot.mark_read()

    def _cut_short(self, why: str) -> None:
        with suppress(RunnerClosed):  # the run has ended, and every call with it
            self._run.home.portal.ask(partial(self._cancel_open, why))
        while self._open:
            self._run.home.block(self._arrivals, None)
            while (slot := self._arrivals.next_nowait()) is not None:
                slot.mark_read()
                del self._open[slot]

    def _cancel_open(self, why: str) -> None:
        for slot in list(self._open):
            self._run.cancel(slot, "cancel", why)


@final
class _FailedMeanwhileError(Exception):
    """A call of the map has failed while the next one waited for room."""


@final
class _Arrivals:
    """The slots that have settled and were not read yet; what the thread waits for."""

    def __init__(self) -> None:
        self._ready: deque[Slot[Any]] = deque()
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None

    @property
    def done(self) -> bool:
        """Whether there is one."""
        return bool(self._ready)

    def add(self, slot: Slot[Any]) -> None:
        """One has settled; on the run's loop."""
        with self._lock:
            self._ready.append(slot)
            wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def next_nowait(self) -> Slot[Any] | None:
        """The next one, if there is one."""
        return self._ready.popleft() if self._ready else None

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Ask to be woken when there is one; False if there is."""
        with self._lock:
            if not self._ready:
                self._wake = wake
            return not self._ready

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Do not wake after all."""
        del wake
        with self._lock:
            self._wake = None
