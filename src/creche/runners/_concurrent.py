"""`ConcurrentTaskRunner`: calls run beside each other on the loop, plain ones in threads.

What it does not know: how; it is all the run's. What is its own is the signature of its settings and
of `submit`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any, Literal, TypeVar, TypeVarTuple, final, overload

from creche._adaptable import AdaptableTaskRunner
from creche._base import TaskConcurrencyType
from creche._events import Instrument
from creche._limits import Limit, Limiter
from creche._options import NO_LIMITS, OnCollision, read_options
from creche._rates import Rate
from creche._slot import Slot
from creche._submitting import begin, when_room
from creche._waiting_room import Applicant

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class ConcurrentTaskRunner(AdaptableTaskRunner):
    """Runs calls beside each other: async ones on the loop, plain ones in worker threads."""

    def __init__(
        self,
        max_workers: int | None = None,
        max_pending: int | None = None,
        *,
        on_error: Literal["collect", "cancel"] = "collect",
        retain: bool = True,
        ageing: float | None = None,
        grace: float | None = 0,
        limits: Mapping[str, int | Limiter | Rate | Limit] = NO_LIMITS,
        rate: Rate | float | None = None,
        instruments: Iterable[Instrument] = (),
    ) -> None:
        """Set a runner up; nothing is started.

        Args:
            max_workers: how many calls run at once; `None` for no limit on the loop, and 40 threads
                (what trio and anyio allow by default) for plain ones. A call that waits for another
                one lends its place meanwhile.
            max_pending: how many calls may wait for a place, 0 or more; `None` for no limit. While as
                many do, `submit` waits, in turn, and `submit_nowait` raises `RunnerFull`, unless the
                call can start at once. What is held by `after`, or only reserved, does not count.
            on_error: `"collect"`: a call that fails stops nobody, and failures that nobody has read
                are logged once at the exit. `"cancel"`: the first failure cancels the rest, and
                `start()` raises an `ExceptionGroup` of all failures, each noted with its key.
            retain: whether settled calls stay on the board. With False a key is free again as soon
                as its call has ended; slots at hand go on working.
            ageing: after how many seconds of waiting a call gains one point of priority, so that none is
                passed over for ever; `None`: never.
            grace: how many seconds the calls that run get to end by themselves when a scope around the
                runner is cancelled, or by Ctrl-C, counted once for all from when that is seen; nothing
                new starts meanwhile. A second Ctrl-C, and a body that raises, cut it short. `None`: as
                long as they need. Calls do not see the deadlines of scopes around the runner then.
            limits: what calls may need beside a place, by names that `submit` is given: how many calls
                have it at once; or a `trio.CapacityLimiter` or `anyio.CapacityLimiter`, which is shared
                with other code; or a `Rate`; or a `Limit`, of a size and a rate. They are not lent by
                calls that wait.
            rate: how many calls start in a time: a `Rate`, or a number of starts in a second; `None` for
                no limit.
            instruments: who is told what happens; see `creche.instruments.Instrument`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: `max_workers` or a limit is less than 1, `max_pending` or `grace` is negative,
                `on_error` is neither of the two, or `ageing` or a rate is not more than 0.
        """
        self._options = read_options(
            max_workers=max_workers,
            max_pending=max_pending,
            on_error=on_error,
            retain=retain,
            ageing=ageing,
            grace=grace,
            limits=limits,
            rate=rate,
            instruments=instruments,
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`CONCURRENT`."""
        return TaskConcurrencyType.CONCURRENT

    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        on_collision: OnCollision = ...,
        timeout: float | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        after: Iterable[Hashable | Slot[Any]] = ...,
        after_any_end: bool = ...,
    ) -> Slot[T]: ...
    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], T],
        *args: *Ts,
        on_collision: OnCollision = ...,
        timeout: float | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        after: Iterable[Hashable | Slot[Any]] = ...,
        after_any_end: bool = ...,
    ) -> Slot[T]: ...
    async def submit(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        on_collision: OnCollision = "raise",
        timeout: float | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        after: Iterable[Hashable | Slot[Any]] = (),
        after_any_end: bool = False,
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
            priority: calls with a higher one get a place first.
            limits: the names of the runner's limits that the call needs.
            after: keys or slots of calls that must have COMPLETED before.
            after_any_end: run it when all of them have ended, however they did.

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
            "priority": priority,
            "limits": limits,
            "after": after,
            "after_any_end": after_any_end,
        }
        run = self._known(key)
        if run.home.is_elsewhere:
            return await self._from_afar(run, key, call, args, options).from_loop()
        await run.home.pass_by()
        if run.room is not None:
            run, work = self._prepare(key, call, args, on_collision, timeout, priority, limits)
            begun = begin(run, key, work, on_collision, after, any_end=after_any_end)
            return await when_room(run, begun) if isinstance(begun, Applicant) else begun
        return self.submit_nowait(key, call, *args, **options)
