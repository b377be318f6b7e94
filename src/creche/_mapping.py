"""`map`: one function over many items, in order, with a bound on what is in flight.

What it is for: pulling items only as places come free, ending at the first failure in time, and
leaving no call of its own behind, whatever ends it.

What it does not know: how calls are carried out. It submits, listens and cancels through a run.

Invariant: when `collect` returns or raises, every call that it has submitted is settled.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Hashable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, cast, final

from outcome import Outcome

from ._backend import Scope
from ._call import Call
from ._hosting import Run
from ._ki import await_openly, call_openly, protected
from ._pulling import Pulling
from ._slot import Slot
from ._spelling import spell
from ._states import State
from ._submitting import begin, when_room
from ._waiting import AsCompleted
from ._waiting_room import Applicant

Item = TypeVar("Item")
T = TypeVar("T")

_END: Any = object()


@final
class Mapping(Generic[Item, T]):
    """One `map`, from its first item to its last call."""

    def __init__(
        self,
        run: Run,
        call: Call,
        items: Iterable[Item] | AsyncIterable[Item],
        key: Callable[[Item], Hashable] | None,
    ) -> None:
        """Set it up; nothing is pulled.

        Args:
            run: to which.
            call: what is done with each item: the function, and what is wished.
            items: the items.
            key: makes a key of an item; `None` for fresh ones.

        Raises:
            TypeError: `items` or `key` is of the wrong kind.
        """
        if key is not None and not callable(key):
            msg = f"key must be a function of an item, or None for fresh keys, not {key!r}"
            raise TypeError(msg)
        self._iterator, self._aiterator = _iterators(items)
        self._run = run
        self._call = call
        self._key = key
        self._index: dict[Slot[T], int] = {}
        self._results: list[Any] = []
        self._failure: Slot[T] | None = None
        self._stop_at_failure = True
        self._pulling: Scope | None = None

    async def values(self) -> list[T]:
        """Every call's value, in the order of the items.

        Returns:
            the values.

        Raises:
            BaseException: what the first call in time raised that did not complete; the others are
                cancelled, and have ended. Or what the iterable, or `key`, raised.
        """
        await self._collect()
        # The exception will lead back to frames that hold this object, which must not lead to its slot.
        failure, self._failure = self._failure, None
        self._index.clear()
        if failure is not None:
            try:
                await failure.give_way()
                failure.result()
            finally:
                del failure
        return self._results

    async def outcomes(self) -> list[Outcome[T]]:
        """Every call's outcome, in the order of the items.

        Returns:
            the outcomes.

        Raises:
            BaseException: what the iterable, or `key`, raised.
        """
        self._stop_at_failure = False
        await self._collect()
        return self._results

    async def _collect(self) -> None:
        if self._iterator is None or self._run.room is not None:
            await self._collect_as_completed()
            return
        pulling = Pulling[Any, T](
            self._run,
            self._call,
            self._iterator,
            self._key,
            stop_at_failure=self._stop_at_failure,
        )
        await pulling.collect()
        self._results, self._failure = pulling.results, pulling.failure

    async def _collect_as_completed(self) -> None:
        async with AsCompleted[T](self._run.home, ()) as arrivals:
            ended = False
            try:
                while self._failure is None:
                    while self._failure is None and self._run.is_wide(len(arrivals)):
                        self._read(await anext(arrivals))
                    if self._failure is not None:
                        break
                    item = await self._pull()
                    if item is _END or self._failure is not None:
                        break
                    await self._submit(item, arrivals)
                    while (slot := arrivals.next_nowait()) is not None:
                        self._read(slot)
                while self._failure is None and (slot := await anext(arrivals, None)) is not None:
                    self._read(slot)
                ended = self._failure is None
            finally:
                if not ended:
                    await self._cut_short(arrivals)

    async def _pull(self) -> Item:
        if self._iterator is not None:
            await self._run.home.pass_by()
            return cast("Item", next(self._iterator, _END))
        assert self._aiterator is not None
        item: Item = _END
        # A source may take its time over the next item; a failure does not wait for that.
        self._pulling = self._run.backend.open_scope()
        with self._pulling:
            item = await anext(self._aiterator, _END)
        self._pulling = None
        return item

    @protected
    async def _submit(self, item: Item, arrivals: AsCompleted[T]) -> None:
        run = self._run
        key = None if self._key is None else call_openly(self._key, item)
        call = Call(self._call.fn, (item,), is_async=self._call.is_async)
        call.wishes = self._call.wishes
        slot: Slot[T]
        if run.room is None:
            slot = run.intake.submit(key, call)
        else:
            begun = begin(run, key, call)
            if isinstance(begun, Applicant):
                # A failure does not wait until there is room.
                self._pulling = run.backend.open_scope()
                with self._pulling:
                    begun = await when_room(run, begun)
                self._pulling = None
                if isinstance(begun, Applicant):
                    return
            slot = begun
        self._index[slot] = len(self._results)
        self._results.append(_END)
        arrivals.add(slot)
        slot.enroll(partial(self._note_failure, slot))

    def _note_failure(self, slot: Slot[T]) -> None:
        if self._stop_at_failure and slot.state is not State.COMPLETED:
            self._failure = self._failure or slot
            if self._pulling is not None:
                self._pulling.cancel()

    def _read(self, slot: Slot[T]) -> None:
        """Take what a settled slot holds; one without a key of its own leaves the board."""
        index = self._index.pop(slot)
        if not self._stop_at_failure:
            self._results[index] = slot.outcome
        elif slot.state is State.COMPLETED:
            self._results[index] = slot.result()
        else:
            self._failure = self._failure or slot
        if self._key is None:
            self._run.board.discard(slot)

    @protected
    async def _cut_short(self, arrivals: AsCompleted[T]) -> None:
        """Cancel what is left, and wait until it has ended; not even a cancellation hurries that."""
        why = "its map() was cut short"
        if self._failure is not None:
            why = f"another call of its map() did not complete: {spell(self._failure.key)}"
        with self._run.backend.open_scope(shield=True):
            for slot in arrivals.open:
                self._run.cancel(slot, "cancel", why)
            async for _ in arrivals:
                pass
            for slot in self._index:
                slot.mark_read()
                if self._key is None:
                    self._run.board.discard(slot)
            close = getattr(self._aiterator, "aclose", None)
            if close is not None:
                await await_openly(close, ())


def _iterators(items: object) -> tuple[Any, AsyncIterator[Any] | None]:
    if isinstance(items, AsyncIterable):
        return None, aiter(items)
    if isinstance(items, Iterable):
        return iter(items), None
    msg = f"map needs an iterable or an async iterable to pull items from, not {items!r}"
    raise TypeError(msg)
