"""What every runner of creche's own does with calls: submit them under keys, and map over items.

What it is for: `KeyedTaskRunner` opens and closes the run, and puts calls into it. What depends on
where or in which order calls are run is left to the runners on the next floor.

What it does not know: how calls are carried out; that is the run's.

Invariant: a call that is refused has left nothing behind: its key is free, and nothing was queued.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Literal, TypeVar, TypeVarTuple, final, overload

from outcome import Outcome

from ._backends import detect
from ._call import Call, read_call
from ._checks import check_choice
from ._group import Group, StopWhen, submit_all, winner_of
from ._hosting import Run
from ._ki import protected
from ._mapping import Mapping
from ._options import ON_COLLISION, OnCollision, check_picklable
from ._slot import Slot
from ._steering import SteerableTaskRunner
from ._submitting import read_wishes, submit_now

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


# What trio and anyio allow by default, too. An unbounded runner is unbounded on the loop; ten thousand
# plain functions do not get ten thousand threads.
DEFAULT_THREADS = 40

# What is given for limits and dependencies when there are none: there is one object of it.
_NONE = ()


class KeyedTaskRunner(SteerableTaskRunner):
    """A runner of creche's own: the interface that all of them share."""

    # Submitting ------------------------------------------------------------------------------------

    @overload
    def submit_nowait(
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
    def submit_nowait(
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
    @protected
    def submit_nowait(
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
        """Check a call in under a key, without waiting; it runs when there is a place for it.

        An async callable runs on the loop, a plain one in a worker thread; an awaitable that a plain
        one returns is awaited on the loop. The call sees a copy of the present context variables.

        Args:
            key: the name of the call, unique in this run; `None` asks for a fresh one.
            call: what to call: a function, not what calling it gives.
            *args: its positional arguments; for keyword arguments use `functools.partial`.
            on_collision: what to do when the key is taken: `"raise"`, or `"join"` to hand back the slot
                that is there, settled or not, in which case `call` is not used, or `"replace"` to cancel
                the call that is there, and to run this one when that one has ended.
            timeout: how many seconds the call may run, from its start; then it is cancelled, and FAILED
                with a `TimeoutError`. A value that it returns all the same counts, and a plain
                function in a thread ends as it ends.
            priority: of the calls that wait for a place, those with a higher one come first, equal ones
                in the order of submission.
            limits: the names of the runner's limits that the call needs. It takes them all at once when
                it starts, and has them until it has ended.
            after: keys or slots of calls that must have COMPLETED before; reserved ones too, and slots
                of other runners. When one of them ends otherwise, this call is CANCELLED at once, with
                origin `upstream`. Until then it occupies no place.
            after_any_end: run it when all of them have ended, however they did.

        Returns:
            the slot in which the outcome will land.

        Raises:
            KeyTaken: the key is there already, and `on_collision` is `"raise"`.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            RunnerFull: `max_pending` calls wait for a place, and this one could not start at once.
            TypeError: `call` is a coroutine object, an async generator or not callable; or the key
                cannot be hashed.
            UnknownKey: there is no call under one of the keys in `after`.
            ValueError: `on_collision` is none of the three, `timeout` is negative, a number is NaN, the
                runner has no limit of that name, or `after` closes a circle.
        """
        run = self._run
        if (
            run is not None
            and run.is_plain
            and timeout is None
            and priority == 0
            and limits is _NONE
            and after is _NONE
            and on_collision == "raise"
        ):
            return run.intake.submit_plain(key, call, args)
        run, work = self._prepare(key, call, args, on_collision, timeout, priority, limits)
        if run.room is None and on_collision == "raise" and isinstance(after, tuple) and not after:
            return run.intake.submit(key, work)
        return submit_now(run, key, work, on_collision, after, any_end=after_any_end)

    def reserve(self, key: Hashable) -> Slot[Any]:
        """Make a slot that may be waited for before its call is submitted.

        A reservation that nobody has filled when the run ends is `CANCELLED`, with origin `lost`: at a
        normal exit as soon as each call that still runs waits for another one without a time limit. A
        call whose child tasks wait counts as one that still runs: it may fill the reservation yet.

        Args:
            key: the key; `None` asks for a fresh one.

        Returns:
            the slot, pending; a later `submit` under its key fills it.

        Raises:
            KeyTaken: the key is there already.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: the key cannot be hashed.
        """
        return self._running(key).intake.claim(key, None)

    @overload
    async def map(
        self,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
        timeout: float | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
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
        priority: float = ...,
        limits: Iterable[str] = ...,
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
        priority: float = ...,
        limits: Iterable[str] = ...,
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
        priority: float = ...,
        limits: Iterable[str] = ...,
    ) -> list[Outcome[T]]: ...
    async def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Hashable] | None = None,
        return_outcomes: bool = False,
        timeout: float | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
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
            priority: of each call.
            limits: that each call needs, by their names.

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
        wishes = read_wishes(run, None, timeout, priority, limits)
        mapping = Mapping[Any, Any](run, fn, items, key, wishes)
        await run.home.pass_by()
        run.intake.check(None)
        window = run.window
        if return_outcomes:
            return await mapping.outcomes(window)
        return await mapping.values(window)

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
            return winner_of(group).result()  # type: ignore[no-any-return]
        finally:
            for slot in group.slots.values():
                slot.mark_read()
                run.board.discard(slot)

    # For the runners on the next floor -------------------------------------------------------------

    async def _start(self, exit_stack: AsyncExitStack) -> None:
        run = Run(
            self.name,
            self._options,
            detect(),
            workers=self._workers,
            threads=self._threads,
        )
        await run.open()
        self._run = run
        exit_stack.push_async_exit(_Closing(run))
        run.announce()

    def __getstate__(self) -> dict[str, Any]:
        check_picklable(self._options)
        return super().__getstate__()

    @property
    def _threads(self) -> int:
        """How many plain calls may be in threads at once."""
        return self._workers or DEFAULT_THREADS

    def _check_exit(self) -> None:
        if self._run is not None and not self._run.is_innermost():
            msg = (
                f"runner {self.name!r} is being left while a nursery that was opened inside it is "
                f"still open; leave that one first"
            )
            raise RuntimeError(msg)

    def _prepare(
        self,
        key: Hashable,
        call: object,
        args: tuple[object, ...],
        on_collision: OnCollision,
        timeout: float | None,
        priority: float,
        limits: Iterable[str],
    ) -> tuple[Run, Call]:
        """The run, and the call that was submitted to it, with what is wished of it.

        Raises:
            RunnerNotStarted: the runner is not started.
            TypeError: it cannot be called, or a wish is of the wrong type.
            ValueError: a wish is no such number, `on_collision` is none of the three, or the runner has
                no limit of that name.
        """
        check_choice("on_collision", on_collision, ON_COLLISION)
        work = read_call(call, args)
        run = self._known(key)
        if timeout is not None or priority != 0 or limits != ():
            work.wishes = read_wishes(run, key, timeout, priority, limits)
        return run, work


@final
class _Closing:
    """Closes a run at the exit of the runner; what `AsyncExitStack` is handed."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def __aenter__(self) -> None:
        """Part of the protocol; the run is open already."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._run.close(exc)
