"""What can be seen of a run: waiting, reading, looking in.

What it is for: the part of a runner's interface that changes nothing, while the run goes on and after
it. What changes something stands on the next floors.

What it does not know: how calls are submitted and carried out.

Invariant: `_run` is the run that is going on, or the last one, whose slots stay readable; a new
`start()` puts an empty one in its place.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, overload

from outcome import Outcome

from ._base import BaseTaskRunner
from ._checks import check_timeout
from ._dump import dump_run
from ._errors import RunnerNotStarted
from ._hosting import Run
from ._options import Options
from ._slot import Slot
from ._spelling import spell
from ._statistics import Statistics
from ._together import wait_for_all
from ._waiting import AsCompleted

T = TypeVar("T")


class ReadableTaskRunner(BaseTaskRunner):
    """A runner whose calls have slots."""

    _options: Options
    _run: Run | None = None

    # Waiting and reading ---------------------------------------------------------------------------

    @overload
    async def wait(self, key: Slot[T], timeout: None = None) -> Outcome[T]: ...
    @overload
    async def wait(self, key: Hashable, timeout: None = None) -> Outcome[Any]: ...
    @overload
    async def wait(self, key: Slot[T], timeout: float | None = None) -> Outcome[T] | None: ...
    @overload
    async def wait(self, key: Hashable, timeout: float | None = None) -> Outcome[Any] | None: ...
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
        seconds = None if timeout is None else check_timeout(timeout)
        run = self._run
        try:
            slot = None if run is None else run.board.slots.get(key)
        except TypeError:
            slot = None  # a key that cannot be hashed: refused in its turn
        if slot is None:
            slot = self._find(key)
        outcome = slot.glance()
        if outcome is None:
            park = None if seconds is not None or slot.done else slot.home.parker()
            if park is not None:
                await park(slot)
                outcome = slot.outcome
            elif await slot.home.wait(slot, seconds):
                outcome = slot.outcome
        return outcome

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

    @overload
    async def wait_all(self, keys: Iterable[Slot[T]], timeout: None = None) -> list[Outcome[T]]: ...
    @overload
    async def wait_all(
        self, keys: Iterable[Hashable | Slot[Any]] | None = None, timeout: None = None
    ) -> list[Outcome[Any]]: ...
    @overload
    async def wait_all(
        self, keys: Iterable[Slot[T]], timeout: float | None = None
    ) -> list[Outcome[T] | None]: ...
    @overload
    async def wait_all(
        self, keys: Iterable[Hashable | Slot[Any]] | None = None, timeout: float | None = None
    ) -> list[Outcome[Any] | None]: ...
    async def wait_all(
        self,
        keys: Iterable[Hashable | Slot[Any]] | None = None,
        timeout: float | None = None,
    ) -> list[Outcome[Any]] | list[Outcome[Any] | None]:
        """Wait for the outcomes of many calls; never raise for the calls.

        As a `wait` for each, in less time: it is woken once, when the last of the calls has ended. In a
        call it lends the call's place meanwhile. Cancelling the wait does not cancel the calls. When
        all are settled it is a checkpoint as `wait` is.

        Args:
            keys: keys or slots; `None` for all that are on the board now. One that is named twice comes
                twice.
            timeout: seconds to wait at most, for all of them together; a settled slot beats a timeout
                of 0.

        Returns:
            a fresh `outcome.Value` or `outcome.Error` for each, in the order of `keys`; `None` for each
            call that had not ended when the time had passed.

        Raises:
            UnknownKey: nothing was submitted or reserved under one of the keys.
            RunnerNotStarted: the runner was never started.
            TypeError: `timeout` is not a number, one of the keys cannot be hashed, or `keys` is not
                iterable, or a string.
            ValueError: `timeout` is negative or NaN.
            RuntimeError: a call waits for itself, also by `None` for all.
        """
        seconds = None if timeout is None else check_timeout(timeout)
        run = self._known(keys)
        slots = _meant(run, keys, "wait_all")
        try:
            await wait_for_all(run.home, slots, seconds)
            return [slot.outcome if slot.done else None for slot in slots]
        finally:
            del slots  # what is raised may be the outcome of one of them

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
        return AsCompleted(run.home, _meant(run, keys, "as_completed"))

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

    def dump(self) -> str:
        """What every open call does right now, as a text tree: for whoever wonders why nothing goes on.

        For each call its key and state; how long it has run, if an instrument is attached; where it
        runs, what it waits for, and the stack of its task or thread, with the tasks below it as far as
        the loop tells of them. Frames of creche's and the inside of the loop are left out.

        It may be called anywhere: in a call, in another thread, in a handler of a signal, after the run.
        Not a checkpoint. From another thread the loop is asked, and has one second to answer; if it is
        blocked, the tree is read from outside, with what can be read there.

        Returns:
            the tree, a line for each call at least.
        """
        if self._run is None:
            return f"runner {self.name!r} is not started\n"
        return dump_run(self._run)

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
            what = "" if key is None else f" (asked for {spell(key)})"
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


def _meant(run: Run, keys: Iterable[Hashable | Slot[Any]] | None, what: str) -> list[Slot[Any]]:
    """The slots of some keys; without keys all that are on the board."""
    if keys is None:
        return list(run.board.slots.values())
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        msg = f"{what} needs keys or slots in a list, or None for all, not {keys!r}"
        raise TypeError(msg)
    return [run.board.find(key) for key in keys]
