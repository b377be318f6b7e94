"""What can be done with the calls of a run that are there: cancel, forget, empty it, change its limits.

What it is for: the part of a runner's interface that needs slots which are there; what puts them there
stands on the next floor.

What it does not know: how calls are submitted and carried out.

Invariant: what is refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from ._checks import check_count, check_reason, check_timeout
from ._draining import drain, until_idle
from ._reading import ReadableTaskRunner
from ._slot import Slot


class SteerableTaskRunner(ReadableTaskRunner):
    """A runner whose calls can be cancelled and forgotten."""

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
        if type(reason) is not str:
            check_reason(reason)
        run = self._known(key) if self._run is None else self._run
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
