"""What every runner of creche's own can do with its keys.

What it is for: `KeyedTaskRunner` holds the settings and the run, and has all that does not depend on
where or in which order calls are run: waiting, reading, cancelling, reserving, forgetting, mapping. The
runners on the next floor add how a call is submitted.

What it does not know: how calls are carried out; that is the run's.

Invariant: `_run` is the run that is going on, or the last one, whose slots stay readable; a new
`start()` puts an empty one in its place.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Mapping,
)
from contextlib import AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack, final, overload

from outcome import Outcome

from ._base import BaseTaskRunner
from ._backends import detect
from ._call import Call, read_call
from ._errors import RunnerNotStarted
from ._hosting import Run
from ._mapping import Mapping as MapCall
from ._options import Options, check_choice, check_timeout
from ._slot import Slot
from ._states import State
from ._statistics import Statistics
from ._waiting import AsCompleted

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


class KeyedTaskRunner(BaseTaskRunner):
    """A runner with slots: the interface that `SequentialTaskRunner` and `ConcurrentTaskRunner` share."""

    _options: Options
    _run: Run | None = None

    # Submitting ------------------------------------------------------------------------------------

    @overload
    def submit_nowait(
        self,
        key: Hashable,
        call: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        on_collision: Literal["raise", "join"] = ...,
    ) -> Slot[T]: ...
    @overload
    def submit_nowait(
        self,
        key: Hashable,
        call: Callable[[Unpack[Ts]], T],
        *args: Unpack[Ts],
        on_collision: Literal["raise", "join"] = ...,
    ) -> Slot[T]: ...
    def submit_nowait(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        on_collision: Literal["raise", "join"] = "raise",
    ) -> Slot[Any]:
        """Check a call in under a key, without waiting; it runs when there is a place for it.

        An async callable runs on the loop, a plain one in a worker thread; an awaitable that a plain
        one returns is awaited on the loop. The call sees a copy of the present context variables.

        Args:
            key: the name of the call, unique in this run; `None` asks for a fresh one.
            call: what to call: a function, not what calling it gives.
            *args: its positional arguments; for keyword arguments use `functools.partial`.
            on_collision: what to do when the key is taken: `"raise"`, or `"join"` to hand back the slot
                that is there, settled or not, in which case `call` is not used.

        Returns:
            the slot in which the outcome will land.

        Raises:
            KeyTaken: the key is there already, and `on_collision` is `"raise"`.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `call` is a coroutine object, an async generator or not callable; or the key
                cannot be hashed.
            ValueError: `on_collision` is neither of the two.
        """
        check_choice("on_collision", on_collision, ("raise", "join"))
        work = read_call(call, args)
        run = self._running(key)
        if on_collision == "join" and (there := self._to_join(run, key)) is not None:
            return there
        return run.submit(key, work)

    def reserve(self, key: Hashable) -> Slot[Any]:
        """Make a slot that may be waited for before its call is submitted.

        A reservation that nobody has filled when the run ends is `CANCELLED`, with origin `lost`.

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
        return self._running(key).claim(key, None)

    # Waiting and reading ---------------------------------------------------------------------------

    async def wait(
        self,
        key: Hashable | Slot[Any],
        timeout: float | None = None,  # noqa: ASYNC109 - the ancestor's signature
    ) -> Outcome[Any] | None:
        """Wait for the outcome of a call; never raise for the call.

        Cancelling the wait does not cancel the call. Waiting for a settled slot is always a cancel
        point; it is a schedule point at the latest every 64th time in a row.

        Args:
            key: the key of the call, or its slot.
            timeout: seconds to wait at most; a settled slot beats a timeout of 0.

        Returns:
            a fresh `outcome.Value` or `outcome.Error`; `None` when the time passed first.

        Raises:
            UnknownKey: nothing was submitted or reserved under the key.
            RunnerNotStarted: the runner was never started.
            TypeError: `timeout` is not a number, or the key cannot be hashed.
            ValueError: `timeout` is negative or NaN.
            RuntimeError: a call waits for itself.
        """
        seconds = check_timeout(timeout)
        slot = self._find(key)
        if not await slot.wait(seconds):
            return None
        return slot.outcome

    async def result(self, key: Hashable | Slot[T]) -> Any:  # noqa: ANN401 - a key says nothing of the type; a slot does, when awaited
        """Wait for a call, and give its value or raise what it raised; a checkpoint as `wait` is.

        Cancelling the wait does not cancel the call.

        Args:
            key: the key of the call, or its slot.

        Returns:
            what the call returned.

        Raises:
            CallCancelled: the call was cancelled; a new one for each reader.
            UnknownKey: nothing was submitted or reserved under the key.
            RunnerNotStarted: the runner was never started.
            TypeError: the key cannot be hashed.
            RuntimeError: a call waits for itself.
            BaseException: whatever the call raised, the original object.
        """
        slot = self._find(key)
        try:
            return await slot
        finally:
            del slot  # a raised exception must not hold the slot that holds it

    def as_completed(self, keys: Iterable[Hashable | Slot[Any]] | None = None) -> AsCompleted[Any]:
        """Give slots in the order in which they settle.

        ``async with runner.as_completed(keys) as slots:`` and inside ``async for slot in slots:``. Each
        slot comes once, the settled ones first. It is safe to break out, and the calls go on.

        Args:
            keys: keys or slots; `None` for all that are on the board now.

        Returns:
            an async context manager, which gives an async iterator of slots.

        Raises:
            UnknownKey: nothing was submitted or reserved under one of the keys.
            RunnerNotStarted: the runner was never started.
            TypeError: one of the keys cannot be hashed, or `keys` is not iterable.
        """
        run = self._known(keys)
        if keys is None:
            return AsCompleted(run.home, list(run.board.slots.values()))
        return AsCompleted(run.home, [run.board.find(key) for key in keys])

    @overload
    async def map(
        self,
        fn: Callable[[Item], Coroutine[Any, Any, T]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        fn: Callable[[Item], Coroutine[Any, Any, T]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[True],
    ) -> list[Outcome[T]]: ...
    @overload
    async def map(
        self,
        fn: Callable[[Item], T],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        fn: Callable[[Item], T],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[True],
    ) -> list[Outcome[T]]: ...
    async def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Hashable] | None = None,
        return_outcomes: bool = False,
    ) -> list[Any]:
        """Run a function over items, and give the values in the order of the items.

        It pulls an item only when one of `max_workers` places is free for it; without that limit
        there is no bound on what is in flight. It ends at the first call, in time, that does not
        complete: the other calls of this map are cancelled, and have ended, when it raises. The same
        when it is cancelled itself.

        Args:
            fn: a function of one item, async or plain.
            items: an iterable or async iterable.
            key: a function from an item to the key of its call; without it the calls have fresh keys
                and leave the board as they are read.
            return_outcomes: give every call's outcome instead, and end at no failure.

        Returns:
            the values, or the outcomes.

        Raises:
            CallCancelled: one of the calls was cancelled.
            KeyTaken: two items have the same key, or one that is taken.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `fn`, `items` or `key` is of the wrong kind.
            BaseException: what the first call in time raised; or what `items` or `key` raised.
        """
        run = self._running(None)
        mapping = MapCall[Any, Any](run, fn, items, key)
        window = self._workers
        if return_outcomes:
            return await mapping.outcomes(window)
        return await mapping.values(window)

    # Cancelling and forgetting ---------------------------------------------------------------------

    def cancel(self, key: Hashable | Slot[Any], reason: str = "cancel() was called") -> bool:
        """Cancel a call, at once and without waiting; idempotent.

        A pending or reserved one is `CANCELLED` when this returns, and never runs. A running one is
        cancelled where it stands and is `CANCELLED` when it has unwound; if it returns a value all the
        same, it is `COMPLETED`. A plain function in a thread cannot be stopped and ends as it ends.

        Args:
            key: the key of the call, or its slot.
            reason: why, for people; the first reason stands.

        Returns:
            False when the call had ended already, and nothing was done.

        Raises:
            UnknownKey: nothing was submitted or reserved under the key, or the slot is another run's.
            RunnerNotStarted: the runner was never started.
            TypeError: the key cannot be hashed, or `reason` is no string.
        """
        if not isinstance(reason, str):
            msg = f"reason must be a string, not {reason!r}"
            raise TypeError(msg)
        run = self._known(key)
        return run.cancel(run.own(key), "cancel", reason)

    def forget(self, key: Hashable | Slot[Any]) -> None:
        """Take a settled call off the board; its key is free again, and its slot goes on working.

        Args:
            key: the key of the call, or its slot.

        Raises:
            UnknownKey: no such call is on the board.
            NotSettled: the call has not ended.
            RunnerNotStarted: the runner was never started.
            TypeError: the key cannot be hashed.
        """
        self._known(key).board.remove(key)

    def pop(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        """Take a settled call off the board, and give its slot.

        Args:
            key: the key of the call, or its slot.

        Returns:
            the slot, which goes on working.

        Raises:
            UnknownKey: no such call is on the board.
            NotSettled: the call has not ended.
            RunnerNotStarted: the runner was never started.
            TypeError: the key cannot be hashed.
        """
        return self._known(key).board.remove(key)

    # Looking in ------------------------------------------------------------------------------------

    @property
    def slots(self) -> Mapping[Hashable, Slot[Any]]:
        """Every slot on the board by its key, in the order of claiming; read-only, and live.

        After the run it stays readable, without a loop, until the next `start()`.
        """
        return MappingProxyType({}) if self._run is None else self._run.slots

    @property
    def max_workers(self) -> int | None:
        """How many calls run at once; `None` for no limit."""
        return self._workers

    def statistics(self) -> Statistics:
        """How the run stands, or how the last one stood at its end, in numbers.

        Returns:
            a frozen record; all zeros before the first start.
        """
        return Statistics(max_workers=self._workers) if self._run is None else self._run.statistics()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, Hashable) and key in self.slots

    def __len__(self) -> int:
        """How many calls are not settled yet, reservations included."""
        return 0 if self._run is None else self._run.open_count()

    def __bool__(self) -> bool:
        """Always true: an idle runner is still a runner."""
        return True

    def __repr__(self) -> str:
        numbers = self.statistics()
        state = "started" if self.is_started else "not started" if self._run is None else "closed"
        limit = "" if self._workers is None else f" max_workers={self._workers}"
        return (
            f"<creche.{type(self).__name__}{limit} {state}: {numbers.pending} pending, "
            f"{numbers.running} running, {numbers.settled} settled>"
        )

    # For the runners on the next floor -------------------------------------------------------------

    @property
    def _workers(self) -> int | None:
        """How many calls may run at once."""
        return self._options.max_workers

    async def _start(self, exit_stack: AsyncExitStack) -> None:
        run = Run(self.name, self._options, detect(), workers=self._workers)
        await run.open()
        self._run = run
        exit_stack.push_async_exit(_Closing(run))

    def _check_exit(self) -> None:
        if self._run is not None and not self._run.is_innermost():
            msg = (
                f"runner {self.name!r} is being left while a nursery that was opened inside it is "
                f"still open; leave that one first"
            )
            raise RuntimeError(msg)

    def _running(self, key: Hashable) -> Run:
        """The run that takes calls.

        Raises:
            RunnerNotStarted: the runner is not started.
            RunnerClosed: it was started, and is not any more.
        """
        run = self._known(key)
        run.check_intake(key)
        return run

    def _known(self, key: object) -> Run:
        """The run that is going on, or the last one.

        Raises:
            RunnerNotStarted: there was none yet.
        """
        if self._run is None:
            what = "" if key is None else f" (asked for {key!r})"
            msg = (
                f"runner {self.name!r} is not started{what}; do it inside 'async with "
                f"runner.start():'. A copy, pickled or duplicated, is started by itself"
            )
            raise RunnerNotStarted(msg)
        return self._run

    def _find(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        return self._known(key).board.find(key)

    @staticmethod
    def _to_join(run: Run, key: Hashable) -> Slot[Any] | None:
        """The slot to hand back instead of submitting again; a reserved one is to be filled."""
        there = None if key is None else run.board.look_up(key)
        return None if there is None or there.reserved else there


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
    ) -> None:
        await self._run.close(exc)
