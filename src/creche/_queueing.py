"""Submitting to a runner whose calls stand in a queue: with waiting, if there is no room.

What it is for: the runners that run calls beside each other share one `submit`, wherever they run them.

What it does not know: where that is; how calls are judged, which is the same without waiting.

Invariant: a submit that was cancelled has submitted nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, TypeVar, TypeVarTuple, overload

from ._adaptable import AdaptableTaskRunner
from ._options import OnCollision
from ._place import Place, PlaceOptions
from ._retry import Retry
from ._slot import Slot
from ._submitting import begin, when_room
from ._waiting_room import Applicant

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class QueueingTaskRunner(AdaptableTaskRunner):
    """A runner of creche's own that runs calls beside each other."""

    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        on_collision: OnCollision = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        after: Iterable[Hashable | Slot[Any]] = ...,
        after_any_end: bool = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> Slot[T]: ...
    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], T],
        *args: *Ts,
        on_collision: OnCollision = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        after: Iterable[Hashable | Slot[Any]] = ...,
        after_any_end: bool = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> Slot[T]: ...
    async def submit(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        on_collision: OnCollision = "raise",
        timeout: float | None = None,
        retry: int | Retry | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        after: Iterable[Hashable | Slot[Any]] = (),
        after_any_end: bool = False,
        place: str | Place | None = None,
        place_options: PlaceOptions | None = None,
    ) -> Slot[Any]:
        """Check a call in under a key; it runs when there is a place for it.

        As `submit_nowait`, and a checkpoint besides, in the way of `wait`: always a cancel point, and
        a schedule point at the latest every 64th time in a row. Cancelled, it has submitted nothing.

        While `max_pending` calls wait for a place it waits for room, in turn, unless the call can start
        at once; from inside a call with the place lent. Its key is not claimed meanwhile, and is looked
        at again then. The call waits already as the others do: one with a higher priority, or whose
        limits are free, may start before them, and is admitted then. What needs no room: a call that is
        joined, one that takes the place of an open one, and what is held by `after`.

        On the loop of another thread, too: the call is judged on the runner's loop, waits for that while
        it is blocked, and sees the submitter's context variables. Cancelled before it was judged, it
        has submitted nothing; in the moment in which it is, it gives the slot all the same, and only
        asyncio's own `Task.cancel` loses it then: the call is on the board.

        Args:
            key: the name of the call, unique in this run; `None` asks for a fresh one.
            call: what to call: a function, not what calling it gives.
            *args: its positional arguments; for keyword arguments use `functools.partial`.
            on_collision: what to do when the key is taken: `"raise"`; `"join"` to hand back the slot
                that is there; `"replace"` to cancel the call that is there and run this one after it.
            timeout: how many seconds the call may run, from its start; then it has FAILED.
            retry: how often it is tried again if it fails: a number, or a `Retry`; see `submit_nowait`.
            priority: calls with a higher one get a place first.
            limits: the names of the runner's limits that the call needs.
            after: keys or slots of calls that must have COMPLETED before.
            after_any_end: run it when all of them have ended, however they did.
            place: where the call runs; see `submit_nowait`.
            place_options: for that place.

        Returns:
            the slot in which the outcome will land.

        Raises:
            KeyTaken: the key is there already, and `on_collision` is `"raise"`.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `call` is a coroutine object, an async generator or not callable; or the key
                cannot be hashed.
            UnknownKey: there is no call under one of the keys in `after`.
            ValueError: `on_collision` is none of the three, `timeout` is negative, a number is NaN, the
                runner has no limit of that name, or `after` closes a circle.
            RuntimeError: it would wait for room for ever, in a call that has a limit which every call
                that waits needs.
        """
        options: dict[str, Any] = {
            "on_collision": on_collision,
            "timeout": timeout,
            "retry": retry,
            "priority": priority,
            "limits": limits,
            "after": after,
            "after_any_end": after_any_end,
            "place": place,
            "place_options": place_options,
        }
        run = self._known(key)
        if run.home.is_elsewhere:
            return await self._from_afar(run, key, call, args, options).from_loop()
        await run.home.pass_by()
        if run.room is not None:
            run, work = self._prepare(
                key, call, args, on_collision, timeout, retry, priority, limits, place, place_options
            )
            begun = begin(run, key, work, on_collision, after, any_end=after_any_end)
            return await when_room(run, begun) if isinstance(begun, Applicant) else begun
        return self.submit_nowait(key, call, *args, **options)
