"""What can be done with the keys of a run: wait, read, cancel, forget, look in.

What it is for: the half of a runner's interface that needs slots which are there, while the run goes on
and after it; the other half, which puts them there, stands on the next floor.

What it does not know: how calls are submitted and carried out.

Invariant: `_run` is the run that is going on, or the last one, whose slots stay readable; a new
`start()` puts an empty one in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from outcome import Outcome

from ._base import BaseTaskRunner
from ._checks import check_count, check_reason, check_timeout
from ._draining import drain, until_idle
from ._errors import RunnerNotStarted
from ._hosting import Run
from ._options import Options
from ._slot import Slot
from ._statistics import Statistics
from ._waiting import AsCompleted

T = TypeVar("T")


class ReadableTaskRunner(BaseTaskRunner):
    """A runner whose calls have slots."""

    _options: Options
    _run: Run | None = None

    # Waiting and reading ---------------------------------------------------------------------------

    async def wait(
        self,
        key: Hashable | Slot[Any],
        timeout: float | None = None,
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
            TypeError: one of the keys cannot be hashed, or `keys` is not iterable, or a string.
        """
        run = self._known(keys)
        if keys is None:
            return AsCompleted(run.home, list(run.board.slots.values()))
        if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
            msg = f"as_completed needs keys or slots in a list, or None for all, not {keys!r}"
            raise TypeError(msg)
        return AsCompleted(run.home, [run.board.find(key) for key in keys])

    # Cancelling and forgetting ---------------------------------------------------------------------

    def cancel(self, key: Hashable | Slot[Any], reason: str = "cancel() was called") -> bool:
        """Cancel a call, at once and without waiting; idempotent.

        A pending or reserved one is `CANCELLED` when this returns, and never runs. A running one is
        cancelled where it stands and is `CANCELLED` when it has unwound; if it returns a value all the
        same, it is `COMPLETED`. A plain function in a thread cannot be stopped and ends as it ends.

        From another thread, with a loop or without one, it does not wait for the runner's loop either:
        the call is cancelled as soon as that is free.

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
        check_reason(reason)
        run = self._known(key)
        slot = run.own(key)
        if run.home.is_elsewhere:
            return not slot.done and run.home.hand_over(partial(run.cancel, slot, "cancel", reason))
        return run.cancel(slot, "cancel", reason)

    def cancel_matching(
        self,
        predicate: Callable[[Slot[Any]], object],
        reason: str = "cancel_matching() was called",
    ) -> list[Slot[Any]]:
        """Cancel every open call, or reservation, that a function says yes to; see `cancel`.

        Args:
            predicate: handed each open slot, in the order of claiming.
            reason: why, for people.

        Returns:
            the slots of what was cancelled.

        Raises:
            RunnerNotStarted: the runner was never started.
            RuntimeError: this is not the thread of the runner's loop.
            TypeError: `predicate` is not callable, or `reason` is no string.
        """
        if not callable(predicate):
            msg = f"cancel_matching needs a function of a slot, not {predicate!r}"
            raise TypeError(msg)
        check_reason(reason)
        run = self._known(None)
        if run.home.is_elsewhere:
            run.intake.check_thread(None)
        chosen = [slot for slot in run.board.open_slots() if predicate(slot)]
        # Asked again for each: the end of one may be that of the next, which runs after it.
        return [slot for slot in chosen if self.cancel(slot, reason)]

    def cancel_all(self, reason: str = "cancel_all() was called") -> list[Slot[Any]]:
        """Cancel every open call and reservation; the runner goes on taking calls. See `cancel`.

        Args:
            reason: why, for people.

        Returns:
            the slots of what was cancelled.

        Raises:
            RunnerNotStarted: the runner was never started.
            RuntimeError: this is not the thread of the runner's loop.
            TypeError: `reason` is no string.
        """
        return self.cancel_matching(lambda _: True, reason)

    # Emptying --------------------------------------------------------------------------------------

    async def until_idle(self) -> None:
        """Wait until nothing is pending or running. A checkpoint; the runner goes on taking calls.

        Reservations do not count. Cancelling the wait changes nothing else.

        Raises:
            RunnerNotStarted: the runner was never started.
            RuntimeError: a call of the runner's asks, which would wait for itself.
        """
        await until_idle(self._known(None))

    async def drain(self, timeout: float | None = None) -> list[Hashable]:
        """Take no more calls, wait for those that there are, then cancel the rest. A checkpoint.

        Reservations are given up at once. What is cut is CANCELLED with origin `closed`. When this
        returns nothing is open; it may be called again. Cancelled, it leaves the intake closed.

        Args:
            timeout: how many seconds to wait before the rest is cancelled; `None` for no limit.

        Returns:
            the keys of what was cut, in the order of submission.

        Raises:
            RunnerNotStarted: the runner was never started.
            RuntimeError: a call of the runner's asks, which would wait for itself.
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is negative or NaN.
        """
        seconds = check_timeout(timeout)
        return await drain(self._known(None), seconds)

    async def aclose(self) -> list[Hashable]:
        """Take no more calls, and cancel those that there are: ``drain(0)``.

        Returns:
            the keys of what was cut, in the order of submission.

        Raises:
            RunnerNotStarted: the runner was never started.
            RuntimeError: a call of the runner's asks, which would wait for itself.
        """
        return await self.drain(0)

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

    # Limits ----------------------------------------------------------------------------------------

    def set_max_workers(self, number: int | None) -> None:
        """Let so many calls run at once from now on, until the end of this run.

        What runs goes on: above a lower limit, nothing new starts until enough calls have ended. In a
        run that began without a limit, plain functions that are in threads already are not counted.

        Args:
            number: how many; `None` for no limit.

        Raises:
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            RuntimeError: this is not the thread of the runner's loop.
            TypeError: `number` is no whole number.
            ValueError: `number` is less than 1.
        """
        if number is not None:
            check_count("max_workers", number, cure="None means no limit")
        self._running(None).set_workers(number)

    def set_limit(self, name: str, size: int) -> None:
        """Let so many calls have a named limit at once from now on, until the end of this run.

        Calls that have it keep it: above a lower limit, none starts that needs it until enough have
        ended.

        Args:
            name: of the limit.
            size: how many.

        Raises:
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            RuntimeError: this is not the thread of the runner's loop.
            TypeError: `size` is no whole number.
            ValueError: there is no such limit, `size` is less than 1, or the limit is a limiter object.
        """
        cure = "a limit cannot be taken away while the runner goes on"
        check_count(f"limit {name!r}", size, cure=cure)
        self._running(None).set_limit(name, size)

    # Looking in ------------------------------------------------------------------------------------

    @property
    def slots(self) -> Mapping[Hashable, Slot[Any]]:
        """Every slot on the board by its key, in the order of claiming; read-only, and live.

        After the run it stays readable, without a loop, until the next `start()`.
        """
        return MappingProxyType({}) if self._run is None else self._run.slots

    @property
    def max_workers(self) -> int | None:
        """How many calls run at once, now while the runner is started; `None` for no limit."""
        return self._run.workers if self.is_started and self._run is not None else self._workers

    def statistics(self) -> Statistics:
        """How the run stands, or how the last one stood at its end, in numbers.

        Returns:
            a frozen record; all zeros before the first start.
        """
        return Statistics(max_workers=self._workers) if self._run is None else self._run.statistics()

    def __contains__(self, key: object) -> bool:
        try:
            return key in self.slots
        except TypeError:  # what cannot be hashed is nobody's key
            return False

    def __len__(self) -> int:
        """How many calls are not settled yet, reservations included."""
        return 0 if self._run is None else self._run.open_count()

    def __bool__(self) -> bool:
        """Always true: an idle runner is still a runner."""
        return True

    def __repr__(self) -> str:
        numbers = self.statistics()
        state = "started" if self.is_started else "not started" if self._run is None else "closed"
        workers = self.max_workers
        limit = "" if workers is None else f" max_workers={workers}"
        return (
            f"<creche.{type(self).__name__}{limit} {state}: {numbers.pending} pending, "
            f"{numbers.running} running, {numbers.settled} settled>"
        )

    # For the floors above --------------------------------------------------------------------------

    @property
    def _workers(self) -> int | None:
        """How many calls may run at once."""
        return self._options.max_workers

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

    def _running(self, key: Hashable) -> Run:
        """The run that takes calls.

        Raises:
            RunnerNotStarted: the runner is not started.
            RunnerClosed: it was started, and is not any more.
        """
        run = self._known(key)
        run.intake.check(key)
        return run

    def _find(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        return self._known(key).board.find(key)
