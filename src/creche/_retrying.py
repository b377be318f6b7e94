"""Retrying: attempt after attempt of one call, with waits in between.

What it is for: a call with a `Retry` is tried, and if that fails, waits, and is tried again, all inside
the one scope that the call has. Each attempt has a scope of its own, for the time limit.

What it does not know: where a body runs; the arithmetic of delays; what becomes of the last outcome.

Invariant: an attempt that has ended by cancellation is the last one, and nothing is retried in a run
that is halted. While a call waits, no grace covers it, and nothing of ours leads to what the last
attempt has raised.
"""

from __future__ import annotations

import random
import time
from typing import Any, final
from weakref import WeakKeyDictionary

from outcome import Error, Value

from ._backend import Backend, Scope
from ._board import Board
from ._bodies import Bodies, timed_out
from ._call import Call
from ._capture import note_once
from ._carrier import Carrier
from ._grace import Grace
from ._halting import Halting
from ._ki import call_openly
from ._place import PlaceFailed
from ._retry import Retry
from ._returning import Returns
from ._slot import Slot
from ._spelling import spell


@final
class Retrier:
    """Carries out the calls of one run that are tried again if they fail.

    Attributes:
        returns: where its calls wait; the dispatcher's.
        waiting: the calls that wait for their next attempt.
        is_stopped: whether none is tried again, though the run goes on with what it has begun.
    """

    def __init__(
        self,
        backend: Backend,
        board: Board,
        halting: Halting,
        bodies: Bodies,
        grace: Grace | None,
    ) -> None:
        self._backend = backend
        self._board = board
        self._halting = halting
        self._bodies = bodies
        self._grace = grace
        self.returns: Returns | None = None
        self.waiting: dict[Slot[Any], None] = {}
        self.is_stopped: bool = False

    async def run(
        self, slot: Slot[Any], call: Call, carrier: Carrier, scope: Scope, *, in_own_task: bool
    ) -> Value[Any] | Error | None:
        """Try a call until it does not fail, or is not to be tried again.

        Args:
            slot: running.
            call: its call, which has a policy and a time limit, if need be an endless one.
            carrier: whose task this is.
            scope: the one that the call has, entered.
            in_own_task: see `Performer.perform`.

        Returns:
            what the last attempt gave; `None` if the call was cancelled by its key. What is no
            `Exception` may be raised instead.
        """
        backend, board = self._backend, self._board
        native = backend.native_cancels()
        began = backend.current_time()
        came: Value[Any] | Error | None = None
        delay: float | Error = 0
        try:
            while True:
                came = await self._try(slot, call, carrier, scope, in_own_task=in_own_task)
                if (
                    came is None
                    or isinstance(came, Value)
                    or carrier.request is not None
                    or backend.is_cut()
                    or (not in_own_task and backend.native_cancels() > native)
                ):
                    return came
                delay = self._judge(slot, call, came, backend.current_time() - began)
                if isinstance(delay, Error):
                    return delay
                came = None
                await self._wait(slot, call, carrier, scope, delay, in_own_task=in_own_task)
                _begin_again(slot)
                if board.announcer.hears and (call.is_async or call.wishes.ticket is not None):
                    board.tell("call_started", slot, call.place)  # in a thread it is told of there
        finally:
            del self, slot, call, carrier, came, delay, board  # see Performer.perform

    def run_here(self, slot: Slot[Any], call: Call) -> Any:  # noqa: ANN401 - whatever the call returns
        """The same for a plain call that blocks the loop, as it does while it waits.

        Args:
            slot: running.
            call: its call.

        Returns:
            what the last attempt returned.

        Raises:
            BaseException: what the last attempt raised, or what has hit a wait.
        """
        began = time.monotonic()
        came: Error | None = None
        delay: float | Error = 0
        try:
            while True:
                try:
                    return call_openly(call.fn, *call.args)
                except Exception as exc:  # noqa: BLE001 - judged, and raised below
                    came = Error(exc)
                delay = self._judge(slot, call, came, time.monotonic() - began)
                if isinstance(delay, Error):
                    raise delay.error
                came = None
                call_openly(time.sleep, delay)
                _begin_again(slot)
                if self._board.announcer.hears:
                    self._board.tell("call_started", slot, "loop")
        finally:
            del self, slot, call, came, delay  # see Performer.perform

    async def _try(
        self, slot: Slot[Any], call: Call, carrier: Carrier, scope: Scope, *, in_own_task: bool
    ) -> Value[Any] | Error | None:
        """One attempt, in a scope of its own, which a cancellation by the key cancels meanwhile."""
        backend, timeout = self._backend, call.wishes.timeout
        assert timeout is not None, slot
        inner = backend.open_scope(deadline=backend.current_time() + timeout)
        came: Value[Any] | Error | None = None
        carrier.narrow(inner)
        try:
            try:
                with inner:
                    came = await self._bodies.run(slot, call, carrier, in_own_task=in_own_task)
            except Exception as exc:  # noqa: BLE001 - judged, and handed back
                came = Error(exc)
            finally:
                carrier.narrow(scope)
            if came is None and carrier.request is None:
                came = Error(timed_out(slot.key, timeout))
            return came
        finally:
            del self, slot, call, carrier, came  # see Performer.perform

    def _judge(self, slot: Slot[Any], call: Call, came: Error, elapsed: float) -> float | Error:
        """The seconds until the next attempt, which is told of; or what the call ends with."""
        policy, error = call.wishes.retry, _failure(came.error)
        assert policy is not None, slot
        delay: float | None = None
        try:
            if error is None:
                return came
            try:
                if self._halting.halted is None and not self.is_stopped:
                    draw = random.random()  # noqa: S311 - it spreads calls, and guards nothing
                    delay = call_openly(policy.delay_after, slot.attempt, elapsed, error, draw)
            except BaseException as exc:  # noqa: BLE001 - of a function of the user's: the call ends with it
                if exc is not error and exc.__context__ is None:
                    exc.__context__ = error
                return Error(exc)
            if delay is None:
                _note_attempt(slot, policy, error)
                return came
            if self._board.announcer.hears:
                self._board.tell_retrying(slot, call.place, error, delay)
            return delay
        finally:
            del self, slot, call, came, error  # see Performer.perform

    async def _wait(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        scope: Scope,
        delay: float,
        *,
        in_own_task: bool,
    ) -> None:
        """Wait, without what the call has; a cancellation hits at once, of whatever scope."""
        grace = self._grace if in_own_task else None
        if grace is not None:
            scope.shield = False
        assert self.returns is not None
        self.waiting[slot] = None
        try:
            await self.returns.rest(slot, call, carrier, delay)
            await self._backend.checkpoint_if_cancelled()
        finally:
            del self.waiting[slot]
        if grace is not None:
            scope.shield = not grace.is_over


def _begin_again(slot: Slot[Any]) -> None:
    """The next attempt begins. Few calls need one: their slots have no room for a number."""
    home, attempt = slot.home, slot.attempt + 1
    if home.tries is None:
        home.tries = WeakKeyDictionary()
    home.tries[slot] = attempt


def _failure(raised: BaseException) -> Exception | None:
    """What an attempt has failed with; `None` if what it has raised is none that may be retried."""
    if isinstance(raised, PlaceFailed):  # a cancellation that came along was of the attempt alone
        raised = raised.error
    return raised if isinstance(raised, Exception) else None


def _note_attempt(slot: Slot[Any], policy: Retry, error: Exception) -> None:
    """Say in an error, for people, that it was not the only one."""
    if slot.attempt > 1:
        note_once(error, f"in attempt {slot.attempt} of {policy.retries + 1} of call {spell(slot.key)}")
