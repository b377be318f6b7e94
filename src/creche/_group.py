"""A group: calls of a runner that are awaited together and cancelled together.

What it is for: a part of what a runner does can end, or be cut short, without the runner ending.

What it does not know: how calls are submitted and carried out. It asks the runner.

Invariant: when the block of a group has been left, every call of it has settled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeVar, TypeVarTuple, final, overload

from outcome import Error

from ._backend import Scope
from ._errors import RunnerClosed
from ._hosting import Run
from ._ki import call_openly, protected
from ._slot import Slot
from ._spelling import spell
from ._states import State
from ._together import until_all_done

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

StopWhen = Literal["first_success", "first_failure"] | Callable[[Slot[Any]], object]

_RULES: dict[str, Callable[[Slot[Any]], object]] = {
    "first_success": lambda slot: slot.state is State.COMPLETED,
    "first_failure": lambda slot: slot.state in (State.FAILED, State.CRASHED),
}


@final
class Group:
    """Calls that are awaited together and cancelled together; see `ConcurrentTaskRunner.group`."""

    def __init__(
        self,
        runner: Any,  # noqa: ANN401 - it stands on a higher floor
        run: Any,  # noqa: ANN401 - a Run, which is private
        stop_when: StopWhen | None,
    ) -> None:
        self._runner = runner
        self._run: Run = run
        self._holds = _rule(stop_when)
        self._slots: dict[Hashable, Slot[Any]] = {}
        self._ended: str | None = None
        self._stopped_by: Slot[Any] | None = None
        # Submits that may wait for room.
        self._entering: dict[Scope, None] = {}

    @property
    def slots(self) -> Mapping[Hashable, Slot[Any]]:
        """The slots of the group by their keys, in the order of submission; read-only, and live."""
        return MappingProxyType(self._slots)

    @property
    def stopped_by(self) -> Slot[Any] | None:
        """The slot for which `stop_when` held; `None` as long as it has not."""
        return self._stopped_by

    @overload
    def submit_nowait(
        self,
        key: Hashable,
        call: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        **options: object,
    ) -> Slot[T]: ...
    @overload
    def submit_nowait(
        self,
        key: Hashable,
        call: Callable[[*Ts], T],
        *args: *Ts,
        **options: object,
    ) -> Slot[T]: ...
    @protected
    def submit_nowait(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        **options: object,
    ) -> Slot[Any]:
        """Check a call in, as the runner's `submit_nowait` does, and make it one of the group's.

        Args:
            key: the name of the call, unique in the run; `None` asks for a fresh one.
            call: what to call.
            *args: its positional arguments.
            **options: as for the runner's `submit_nowait`.

        Returns:
            the slot.

        Raises:
            RunnerClosed: the group has ended or was cancelled, or the runner takes no more calls.
            BaseException: whatever the runner's `submit_nowait` raises.
        """
        self._check_open(key)
        return self._add(self._runner.submit_nowait(key, call, *args, **options))

    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        **options: object,
    ) -> Slot[T]: ...
    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], T],
        *args: *Ts,
        **options: object,
    ) -> Slot[T]: ...
    @protected
    async def submit(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        **options: object,
    ) -> Slot[Any]:
        """Check a call in, as the runner's `submit` does, and make it one of the group's.

        Args:
            key: the name of the call, unique in the run; `None` asks for a fresh one.
            call: what to call.
            *args: its positional arguments.
            **options: as for the runner's `submit`.

        Returns:
            the slot.

        Raises:
            RunnerClosed: the group has ended or was cancelled, also while this waited for room; or the
                runner takes no more calls.
            BaseException: whatever the runner's `submit` raises.
        """
        self._check_open(key)
        if self._run.room is None:
            return self._add(await self._runner.submit(key, call, *args, **options))
        slot: Slot[Any] | None = None
        scope = self._run.backend.open_scope()
        self._entering[scope] = None
        try:
            with scope:
                slot = await self._runner.submit(key, call, *args, **options)
        finally:
            del self._entering[scope]
        if slot is None:  # the group has cancelled it
            self._check_open(key)
        assert slot is not None
        return self._add(slot)

    @protected
    def cancel(self, reason: str = "its group was cancelled") -> None:
        """Cancel what is open of the group, which takes no more calls; idempotent, without waiting.

        Args:
            reason: why, for people.
        """
        self._ended = self._ended or reason
        for scope in self._entering:
            scope.cancel()
        for slot in tuple(self._slots.values()):
            self._run.cancel(slot, "cancel", reason)

    async def __aenter__(self) -> Self:
        """Begin. Not a checkpoint."""
        return self

    @protected
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for the calls of the group; cancel them first, if the block raised. A checkpoint."""
        if exc is not None:
            self.cancel(f"the block of its group raised {type(exc).__name__}")
        try:
            if exc is None:
                await self._settle()
        except BaseException:
            self.cancel("the wait for its group was cancelled")
            raise
        finally:
            with self._run.backend.open_scope(shield=True):
                await self._settle()
            self._ended = self._ended or "the group has ended"

    async def _settle(self) -> None:
        await until_all_done(self._run.home, self._open_slots)

    def _open_slots(self) -> list[Slot[Any]]:
        return [slot for slot in self._slots.values() if not slot.done]

    def _add(self, slot: Slot[Any]) -> Slot[Any]:
        self._slots[slot.key] = slot
        slot.add_done_callback(self._one_settled)
        if self._ended is not None:  # it was stopped while the submit waited
            self._run.cancel(slot, "cancel", self._ended)
        return slot

    @protected
    def _one_settled(self, slot: Slot[Any]) -> None:
        if self._ended is None and call_openly(self._holds, slot):
            self._stopped_by = slot
            self.cancel(f"another call of its group ended it: {spell(slot.key)} is {slot.state.name}")

    def _check_open(self, key: Hashable) -> None:
        self._run.intake.check_thread(key)
        if self._ended is not None:
            msg = f"cannot submit {spell(key)} to the group: it takes no more calls ({self._ended})"
            raise RunnerClosed(msg)


def _rule(stop_when: object) -> Callable[[Slot[Any]], object]:
    if stop_when is None:
        return lambda _: False
    if isinstance(stop_when, str) and stop_when in _RULES:
        return _RULES[stop_when]
    if callable(stop_when):
        return stop_when
    msg = (
        f"stop_when must be 'first_success', 'first_failure' or a function of a slot, not {stop_when!r}"
    )
    raise ValueError(msg)


async def submit_all(group: Group, calls: Iterable[Callable[[], Any]]) -> None:
    """Submit calls to a group; where each may have to wait for room, as many as there are till it stops.

    Args:
        group: open.
        calls: functions without arguments.

    Raises:
        BaseException: whatever the runner's `submit` raises.
    """
    for call in calls:
        try:
            if group._run.room is None:  # noqa: SLF001 - one module
                group.submit_nowait(None, call)
            else:
                await group.submit(None, call)
        except RunnerClosed:
            if group.stopped_by is None:
                raise
            return


def winner_of(group: Group) -> Slot[Any]:
    """The slot that a race was won by.

    Args:
        group: which was to stop at the first success, and has ended.

    Returns:
        the slot.

    Raises:
        ExceptionGroup: none of the calls has completed; with what each of them has ended with.
    """
    if group.stopped_by is not None:
        return group.stopped_by
    outcomes = [slot.outcome for slot in group.slots.values()]
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Error)]
    msg = "no call of the race has completed"
    raise BaseExceptionGroup(msg, errors)
