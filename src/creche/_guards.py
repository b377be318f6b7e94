"""Plain calls that wait for a thread in a task of their own, and how such a wait is given up.

What it is for: a plain call with a time limit, or in a run with grace or instruments, is carried out by
a task, which waits for a thread behind a shield: a thread cannot be stopped.

What it does not know: how threads are kept, admission, what becomes of what came.

Invariant: a call that was cancelled goes on waiting for its thread, unless it is to be abandoned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from time import monotonic
from typing import Any, Protocol, cast, final

from outcome import Error, Value

from ._backend import Backend, Scope
from ._backends._threads import leave_loop
from ._board import Board
from ._call import Call
from ._capture import split
from ._carrier import Carrier
from ._errors import StopCall
from ._guests import Guests
from ._lending import IN_THREAD, callers_here
from ._lingering import Lingering
from ._slot import Slot
from ._spelling import spell
from ._states import Origin


class Ending(Protocol):
    """What a thread has, and may have after nobody waits for it."""

    has_ended: bool


@final
class ThreadGuards:
    """The plain calls of one run that wait for threads in tasks.

    Attributes:
        abandons: whether a cancelled call leaves its thread to itself; also those that have no task.
        left: the keys of all calls that have, each with what has its thread.
    """

    def __init__(
        self,
        backend: Backend,
        board: Board,
        *,
        abandons: bool,
        has_grace: bool,
    ) -> None:
        self.abandons = abandons
        self.left: list[tuple[Hashable, Ending]] = []
        self.has_grace = has_grace
        self._backend = backend
        self._board = board
        # Who is told that the run is halted while calls are in threads; the dispatcher's.
        self.guests: Guests | None = None
        self._guards: dict[Scope, tuple[Slot[Any], Carrier]] = {}

    def abandon(self, slot: Slot[Any] | None) -> list[Slot[Any]]:
        """From now on a cancelled call ends without waiting for its thread.

        Args:
            slot: of the one call that is meant; `None` for all.

        Returns:
            the slots of the calls that are in threads now.
        """
        if slot is None:
            self.abandons = True
        for guard, (other, _) in self._guards.items():
            if slot is None or other is slot:
                guard.shield = False
        return [other for other, _ in self._guards.values()]

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The run is halted; part of `_halting.Guest`. The scopes of the calls are cancelled anyhow."""
        del origin, reason
        if not self.has_grace:
            self.cut()

    def cut(self) -> None:
        """The calls get no time any more, of which their threads may learn."""
        for _, carrier in self._guards.values():
            carrier.cut()

    async def in_thread(
        self, slot: Slot[Any], call: Call, carrier: Carrier, *, in_own_task: bool
    ) -> Value[Any] | Error:
        """Have a plain call carried out in a thread.

        Args:
            slot: running.
            call: its call.
            carrier: who carries it out.
            in_own_task: False when the task is the submitter's: then what cancels that one alone is no
                halt of the run, and has to be seen here.

        Returns:
            what it returned or raised.
        """
        backend, board = self._backend, self._board
        await backend.checkpoint_if_cancelled()  # it would be shielded, and could still be spared
        guard = backend.open_scope(shield=not self.abandons)
        carrier.is_cut = False
        carrier.due = None if call.wishes.timeout is None else monotonic() + call.wishes.timeout
        if not self._guards and self.guests is not None:
            self.guests.add(self)
        self._guards[guard] = (slot, carrier)
        came: Any = None
        is_late = False
        callers = (slot, callers_here(backend))
        # The thread copies the context of the task, which that of the submitter does not share.
        is_apart = board.announcer.hears and not in_own_task
        fn = _in_its_context(call, callers) if is_apart else call.fn
        body = _Body(callers, fn, call.args)
        try:
            if board.announcer.hears:
                board.tell("call_started", slot, "thread")
            wait = partial(backend.run_in_thread, body, f"creche {spell(slot.key)}", guard, carrier.cut)
            came = await (wait() if in_own_task else self._watched(slot, wait, carrier.cut))
        except backend.cancelled:
            if body.has_begun and not body.has_ended:
                self.left.append((slot.key, body))
            raise
        finally:
            del self._guards[guard]
            if not self._guards and self.guests is not None:
                self.guests.remove(self)
            is_late = carrier.is_late
            carrier.due = None
        try:
            if isinstance(came, Error) and (split(came.error, (StopCall, backend.cancelled))[1] is None):
                # What cancels the call shows here. Only by the clock of the thread it may be early.
                await backend.checkpoint_if_cancelled()
                if is_late:
                    carrier.stop_late()
                    await backend.checkpoint_if_cancelled()
            return cast("Value[Any] | Error", came)
        finally:
            del self, slot, call, carrier, came, body, callers, fn

    async def _watched(
        self, slot: Slot[Any], wait: Callable[[], Awaitable[Any]], cut: Callable[[], object]
    ) -> Value[Any] | Error:
        """Wait for a thread, with a task beside it that sees what this one is shielded from."""
        backend = self._backend
        waiting = [] if self.abandons else [slot.key]
        lingering = Lingering(
            slot.home.runner_name, lambda: list(waiting), "has a submit that was cancelled"
        )

        async def watch() -> None:
            try:
                await backend.make_event().wait()
            finally:
                cut()
                lingering.watch()

        came: Any = None
        interrupt: BaseException | None = None
        try:
            try:
                async with backend.open_nursery() as nursery:
                    nursery.start_soon(watch, name="creche watcher")
                    try:
                        came = await wait()
                    except BaseException as exc:  # noqa: BLE001 - raised outside, bare
                        interrupt = exc
                    waiting.clear()
                    lingering.stop()
                    nursery.cancel_scope.cancel()
            except BaseException as exc:  # noqa: BLE001 - as above; what has come beats a cancellation
                interrupt = interrupt or split(exc, backend.cancelled)[1]
            if interrupt is not None:
                raise interrupt
            return cast("Value[Any] | Error", came)
        finally:
            del self, slot, came, interrupt


def _in_its_context(call: Call, caller: tuple[Slot[Any], list[Carrier]]) -> Callable[..., Any]:
    """The function of a call, in a copy of the call's own context variables, made for a thread."""
    context = call.context.copy()
    leave_loop(context)
    context.run(IN_THREAD.set, caller)
    return partial(context.run, call.fn)


@final
class _Body:
    """What a plain function does, as an outcome: no transport ever carries its exceptions."""

    def __init__(
        self,
        caller: tuple[Slot[Any], list[Carrier]],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        self.has_begun = self.has_ended = False
        self._what: list[Any] = [caller, fn, args]

    def __call__(self) -> Value[Any] | Error:
        """Call it; in the thread."""
        self.has_begun = True
        caller, fn, args = self._what
        self._what.clear()
        token = IN_THREAD.set(caller)  # the thread runs in a copy of the context
        try:
            return Value(fn(*args))
        except BaseException as exc:  # noqa: BLE001 - handed over, whatever it is
            return Error(exc)
        finally:
            self.has_ended = True
            # The context is held by frames of the thread's, and those by what the call raised.
            IN_THREAD.reset(token)
            del self, caller, fn, args, token  # see Performer.perform
