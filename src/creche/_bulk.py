"""Many calls at once: a function over items, groups, races.

What it is for: what every runner of creche's own does with more than one call.

What it does not know: where or in which order calls are run; how a map pulls, how a group ends.

Invariant: when one of these raises or is cancelled, the calls that it has submitted have ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable
from typing import Any, Literal, TypeVar, overload

from outcome import Outcome

from ._call import read_call
from ._group import Group, StopWhen, submit_all, winner_of
from ._keyed import KeyedTaskRunner
from ._mapping import Mapping
from ._place import Place, PlaceOptions
from ._retry import Retry
from ._submitting import wish

T = TypeVar("T")
Item = TypeVar("Item")


class BulkTaskRunner(KeyedTaskRunner):
    """A runner that does something with many calls at once."""

    @overload
    async def map(
        self,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[True],
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[Outcome[T]]: ...
    @overload
    async def map(
        self,
        fn: Callable[[Item], T],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        fn: Callable[[Item], T],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[True],
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[Outcome[T]]: ...
    async def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Hashable] | None = None,
        return_outcomes: bool = False,
        timeout: float | None = None,
        retry: int | Retry | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        place: str | Place | None = None,
        place_options: PlaceOptions | None = None,
    ) -> list[Any]:
        """Run a function over items, and give the values in the order of the items.

        It pulls an item only when fewer than `max_workers` and `max_pending` together of its calls
        are open, and waits for room as `submit` does; with neither limit there is no bound on what is
        in flight. It ends at the first call, in time, that does not
        complete: the other calls of this map are cancelled, and have ended, when it raises. The same
        when it is cancelled itself.

        Args:
            fn: a function of one item, async or plain.
            items: an iterable or async iterable.
            key: a function from an item to the key of its call; without it the calls have fresh keys
                and leave the board as they are read.
            return_outcomes: give every call's outcome instead, and end at no failure.
            timeout: of each call, from its start, in seconds; see `submit`.
            retry: of each call: how often it is tried again if it fails; see `submit_nowait`.
            priority: of each call.
            limits: that each call needs, by their names.
            place: where each call runs; see `submit_nowait`.
            place_options: for that place.

        Returns:
            the values, or the outcomes.

        Raises:
            CallCancelled: one of the calls was cancelled.
            KeyTaken: two items have the same key, or one that is taken.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `fn`, `items`, `key` or another option is of the wrong kind.
            ValueError: `timeout` is negative, a number is NaN, or there is no limit of that name.
            BaseException: what the first call in time raised; or what `items` or `key` raised.
        """
        run = self._known(None)
        call = read_call(fn, ())  # a wrong one is refused although there may be no item
        wish(
            run,
            None,
            call,
            timeout=timeout,
            retry=retry,
            priority=priority,
            limits=limits,
            place=place,
            place_options=place_options,
        )
        mapping = Mapping[Any, Any](run, call, items, key)
        await run.home.pass_by()
        run.intake.check(None)
        if return_outcomes:
            return await mapping.outcomes()
        return await mapping.values()

    # Together --------------------------------------------------------------------------------------

    def group(self, stop_when: StopWhen | None = None) -> Group:
        """Submit calls that are awaited together and cancelled together.

        ``async with runner.group() as g:``, and inside ``g.submit``, ``g.submit_nowait``, ``g.cancel``,
        ``g.slots``. Leaving the block waits for the calls of the group, or cancels them if the block
        raises; it raises nothing of the calls.

        Args:
            stop_when: `"first_success"`, `"first_failure"`, or a function that is handed each slot that
                settles: when it holds, the rest of the group is cancelled.

        Returns:
            an async context manager, which gives the group.

        Raises:
            ValueError: `stop_when` is none of these.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
        """
        return Group(self, self._running(None), stop_when)

    async def race(self, *calls: Callable[[], Awaitable[T]] | Callable[[], T]) -> T:
        """Run calls beside each other, and give the value of the first that completes. A checkpoint.

        The others are cancelled, and have ended, when it returns. Their keys are fresh, and leave the
        board.

        Args:
            *calls: functions without arguments; for arguments use `functools.partial`.

        Returns:
            the value.

        Raises:
            ExceptionGroup: none has completed; with what each of them ended with.
            ValueError: there is no call.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: one of the calls cannot be called.
        """
        if not calls:
            msg = "race needs at least one call"
            raise ValueError(msg)
        run = self._running(None)
        group = Group(self, run, "first_success")
        try:
            async with group:
                await submit_all(group, calls)
            if group.stopped_by is None:  # perhaps by what cancels us, too: that comes first
                await run.home.pass_by()
            return winner_of(group).result()  # type: ignore[no-any-return]  # the group's calls are of the caller's types
        finally:
            for slot in group.slots.values():
                slot.mark_read()
                run.board.discard(slot)
