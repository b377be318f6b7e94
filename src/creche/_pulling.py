"""Pulling items from an iterable as places come free, and a call for each.

What it is for: `map` over an iterable of values at hand. Whichever carrier has just ended a call, and
finds none that waits, pulls the next item then and there: the task of the `map` sleeps meanwhile, and
is woken once, when there is something that only it can do.

What it does not know: async iterables, and submitting where there may be no room; see `_mapping`.

Invariant: when `collect` returns or raises, every call that was submitted here is settled. The iterable
is asked for the next item while no other asks it, in one context, from between two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextvars import copy_context
from typing import Any, Generic, TypeVar, final

from ._call import Call, name_of
from ._hosting import Run
from ._ki import call_openly, called_openly, protected
from ._slot import Slot
from ._spelling import spell
from ._states import State

Item = TypeVar("Item")
T = TypeVar("T")

_END: Any = object()

# Iterators in which there is no code of anybody's.
_TAME = frozenset(type(iter(kind())) for kind in (list, tuple, dict, set, str, bytes)) | {
    type(iter(range(0))),
    type(iter({}.values())),
    type(iter({}.items())),
}


@final
class Pulling(Generic[Item, T]):
    """The calls of one `map`.

    Attributes:
        results: of the calls, in the order of the items: values, or outcomes.
        failure: the first call that did not complete, unless outcomes are wanted.
    """

    def __init__(
        self,
        run: Run,
        call: Call,
        iterator: Iterator[Item],
        key: Callable[[Item], Hashable] | None,
        *,
        stop_at_failure: bool,
    ) -> None:
        self.results: list[Any] = []
        self.failure: Slot[T] | None = None
        self._run = run
        self._fn = call.fn
        self._name = name_of(call.fn)
        self._from = (iterator, _END)
        self._is_tame = key is None and type(iterator) in _TAME
        self._key = key
        # Who submits them all: the item may be pulled by a carrier that has just ended another call.
        run.board.note_submitter(call)
        self._wishes = call.wishes._replace(pulled=True) if call.wishes.parent else call.wishes
        self._is_async = call.is_async
        self._stop_at_failure = stop_at_failure
        self._context = copy_context()
        self._open: dict[Slot[T], int] = {}
        self._error: BaseException | None = None
        self._has_ended = self._is_cut = False
        self._wake: Callable[[], object] | None = None
        # A call that needs a limit may have to wait though there is a place.
        self._is_supplied = run.window is not None and not call.wishes.gates
        self._is_nudged = False

    @protected
    async def collect(self) -> None:
        """Carry it through, from the first item to the last call.

        Raises:
            BaseException: what the iterable raised, or `key`, or the submit.
        """
        run = self._run
        if self._is_supplied:
            run.queue.sources.append(self)
            if not self._is_tame:
                run.queue.wild.append(self)
        try:
            while not self._is_over:
                await self._fill()
                if not self._is_over:
                    await run.home.park(run.backend, self)
        finally:
            if self._is_supplied:
                run.queue.sources.remove(self)
                if not self._is_tame:
                    run.queue.wild.remove(self)
            await self._cut_short()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it leads back to this frame, and to those that hold this object

    @property
    def _is_over(self) -> bool:
        return (
            self.failure is not None or self._error is not None or (self._has_ended and not self._open)
        )

    @property
    def _has_more(self) -> bool:
        """Whether another item may be pulled now."""
        return (
            not self._has_ended
            and self.failure is None
            and self._error is None
            and not self._run.is_wide(len(self._open))
        )

    async def _fill(self) -> None:
        """Pull as many items as may be in flight; in the task of the `map`."""
        self._is_nudged = False
        home, intake = self._run.home, self._run.intake
        while self._has_more:
            if not home.may_pass_by():
                await home.pass_by()
                if not self._has_more:
                    return
            pulled = self._pull()
            if pulled is not None:
                intake.enqueue(*pulled)

    def supply(self) -> tuple[Slot[Any], Call] | None:
        """The next call, for the carrier that asks; part of `_queue.Source`."""
        if self._has_ended or len(self._open) >= (self._run.window or 0):  # `is_wide`, in this frame
            return None
        if self._run.halting.halted is not None:  # whose body may be cancelled: let it find out itself
            self.nudge()
            return None
        pulled = self._pull() if self.failure is None and self._error is None else None
        if pulled is None and self._is_over:
            self.nudge()
        return pulled

    def nudge(self) -> None:
        """Have the task of the `map` see for itself; part of `_queue.Source`."""
        self._is_nudged = True
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park the task of the `map`; part of the protocol between a loop and what is waited for."""
        if self._is_nudged or (not self._open and not self._is_cut):
            self._is_nudged = False
            return False
        self._wake = wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """It was cancelled."""
        del wake
        self._wake = None

    def _pull(self) -> tuple[Slot[Any], Call] | None:
        """The next item, and its call, checked in; not in the queue. `None` when it has ended."""
        run = self._run
        try:
            context = self._context
            if self._is_tame:
                item = next(*self._from)
            else:
                item = context.run(called_openly, next, self._from)
                # The iterable may change it before the call begins, and let calls begin while it is
                # entered.
                context = context.copy()
            if item is _END:
                self._has_ended = True
                return None
            call = Call(self._fn, (item,), self._is_async, context)
            call.wishes = self._wishes
            if run.is_plain and self._key is None and not run.board.announcer.hears:
                slot = run.intake.check_in(self._name, call, self._arrive)
                self._open[slot] = len(self.results)
                self.results.append(_END)
                return slot, call
            key = None
            if self._key is not None:
                key = self._context.run(call_openly, self._key, item)
            slot = run.intake.claim(key, call, self._name)
        except BaseException as exc:  # noqa: BLE001 - raised in the task of the map
            self._error = exc
            return None
        self._open[slot] = len(self.results)
        self.results.append(_END)
        if slot.enroll(lambda: self._arrive(slot)):
            return slot, call
        self._arrive(slot)  # an instrument that was told of it has cancelled it
        return None

    def _arrive(self, slot: Slot[T]) -> None:
        """A call has settled; called by whoever settles it."""
        index = self._open.pop(slot)
        state = slot.state
        if self._is_cut:
            slot.mark_read()
        elif not self._stop_at_failure:
            self.results[index] = slot.outcome
        elif state is State.COMPLETED:
            self.results[index] = slot.peek_value()
        elif self.failure is None:
            self.failure = slot
        else:  # it has failed before it could be cancelled
            slot.mark_read()
        if self._key is None:
            self._run.board.discard(slot)
        # A carrier that has completed a call asks for the next one by itself, until there is none; but
        # where others wait an item stands in the queue among them, for its turn.
        queue = self._run.queue
        if (
            not self._is_supplied
            or ((queue.waiting or not queue.is_simple) and len(queue))
            or state is not State.COMPLETED
            or self._is_cut
            or (self._has_ended and not self._open)
        ):
            self.nudge()

    @protected
    async def _cut_short(self) -> None:
        """Cancel what is left, and wait until it has ended; not even a cancellation hurries that."""
        self._is_cut = True
        if not self._open:
            return
        run = self._run
        why = "its map() was cut short"
        if self.failure is not None:
            why = f"another call of its map() did not complete: {spell(self.failure.key)}"
        with run.backend.open_scope(shield=True):
            for slot in tuple(self._open):
                run.cancel(slot, "cancel", why)
            while self._open:
                await run.home.park(run.backend, self)
