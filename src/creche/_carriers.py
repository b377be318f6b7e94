"""Carriers: the tasks of a run that carry out calls.

What it is for: taking calls from the queue, running their bodies inside a scope of their own, and
settling what came of it by the capture rule. On trio a carrier carries call after call, and waits
idle for the next; on asyncio each call has a task of its own, since there code can keep a task and
cancel it when another call's work is long in it.

What it does not know: keys, who waits, how the run is opened and closed. It is told to `halt`.

Invariant: a call that was taken from the queue is settled before its carrier takes another or ends,
unless Ctrl-C hits between two lines of this file; then the run ends, and what is open is swept.
A carrier whose enclosing scope is cancelled starts nothing more: it looks between calls, outside the
call's own scope.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, final

from outcome import Error, Outcome, Value

from ._backend import Backend, Nursery, Scope
from ._board import Board
from ._call import Call, run_in_context
from ._capture import classify, fatal_part
from ._events import Place
from ._queue import Queue
from ._slot import Slot
from ._states import Origin, State

# What trio and anyio allow by default, too. An unbounded runner is unbounded on the loop; ten thousand
# plain functions do not get ten thousand threads.
DEFAULT_THREADS = 40

# A carrier that is given call after call lets the others run at least this often. Arbitrary: rare
# enough to cost little, often enough that calls which never wait do not hold up the loop.
_YIELD_EVERY = 16

_TASK_NAME = "creche carrier"
_NOT_RETURNED = object()


@final
class Halt(NamedTuple):
    """Why a run takes and starts nothing more."""

    origin: Origin
    reason: str


@final
class Carrier:
    """Who carries out a call: a task, and the scope that its present call runs in.

    Attributes:
        task: the task, only ever compared.
        place: where the body of the present call runs.
        handed: the call that an idle carrier is woken for; `None` when it is to end.
    """

    __slots__ = ("_request", "_scope", "_wake", "handed", "place", "task")

    def __init__(self, task: object) -> None:
        self.task = task
        self.place: Place = "loop"
        self.handed: tuple[Slot[Any], Call] | None = None
        self._wake: Callable[[], object] | None = None
        self._scope: Scope | None = None
        self._request: tuple[Origin, str] | None = None

    def take(self, scope: Scope, place: Place) -> None:
        """Begin with a call, whose body runs inside a scope."""
        self._scope = scope
        self._request = None
        self.place = place

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """Cancel the body of the call; the first reason stands."""
        if self._request is None and self._scope is not None:
            self._request = (origin, reason)
            self._scope.cancel()

    @property
    def request(self) -> tuple[Origin, str]:
        """Why the scope of the call was cancelled."""
        assert self._request is not None, "nobody else holds the scope"
        return self._request

    def hand(self, work: tuple[Slot[Any], Call] | None) -> None:
        """Wake the idle carrier with a call, or with `None` to let it end."""
        self.handed = work
        if self._wake is not None:
            self._wake()

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park idle; part of the protocol between a loop and what is waited for."""
        self._wake = wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Cancelled while idle."""
        del wake
        self._wake = None


@final
class Carriers:
    """All the carriers of one run.

    Attributes:
        halted: set once nothing new may start, with the origin of what is dropped and cancelled.
        crashes: what calls raised that is no `Exception`; the host raises it.
        failures: with `on_error="cancel"`, the slots that have failed, in the order of failing.
        live: how many carriers there are.
    """

    def __init__(  # noqa: PLR0913 - what a run consists of
        self,
        backend: Backend,
        nursery: Nursery,
        board: Board,
        queue: Queue,
        *,
        threads: int,
        cancel_on_failure: bool,
        when_drained: Callable[[], object],
    ) -> None:
        self.halted: Halt | None = None
        self.crashes: list[BaseException] = []
        self.failures: list[Slot[Any]] = []
        self.live = 0
        self._backend = backend
        self._nursery = nursery
        self._board = board
        self._queue = queue
        self._threads = backend.make_limiter(threads)
        self._thread_guards: dict[Scope, Slot[Any]] = {}
        self._cancel_on_failure = cancel_on_failure
        self._when_drained = when_drained
        # Used as a stack: the one that was busy last is the one whose stack is warm.
        self._idle: dict[Carrier, None] = {}
        self._leaving = False

    @property
    def idle(self) -> int:
        """How many carriers wait for a call."""
        return len(self._idle)

    def fetch(self) -> None:
        """A call was queued, or a place came free: get a carrier to it, if it is its turn."""
        work = self._queue.next()
        if work is None:
            return
        context = work[1].context
        if self._idle:
            carrier, _ = self._idle.popitem()
            # It takes effect with the carrier's next step, which is the one that `hand` causes.
            self._backend.set_context(carrier.task, context)
            carrier.hand(work)
        else:
            self.live += 1
            self._backend.start_soon(self._nursery, context, self._carry, work, _TASK_NAME)

    def leave(self) -> None:
        """Nobody waits idle from now on: a carrier that finds no call ends."""
        self._leaving = True
        while self._idle:
            self._idle.popitem()[0].hand(None)
        if self.live == 0:
            self._when_drained()

    def halt(self, origin: Origin, reason: str, *, cancel: bool = True) -> None:
        """Start nothing more: drop what is pending, and cancel what runs, the body included.

        Args:
            origin: where it comes from; the first halt stands.
            reason: why, as a sentence.
            cancel: False when an enclosing scope does the cancelling.
        """
        if self.halted is None:
            self.halted = Halt(origin, reason)
            for slot in self._queue.drop_all():
                self._board.cancel(slot, "closed", f"the runner was closing: {reason}")
        if cancel:
            self._nursery.cancel_scope.cancel()

    def abandon_threads(self) -> list[Slot[Any]]:
        """From now on a cancelled call in a thread ends without waiting for the thread.

        Returns:
            the slots of the calls that run in threads now.
        """
        for guard in self._thread_guards:
            guard.shield = False
        return list(self._thread_guards.values())

    async def _carry(self, work: tuple[Slot[Any], Call] | None) -> None:
        """The body of a carrier's task."""
        carrier = Carrier(self._backend.current_task())
        streak = 0
        try:
            while work is not None:
                try:
                    onward = await self._carry_if_wanted(*work, carrier)
                finally:
                    work = None
                    self._queue.release()
                if onward is not None:
                    try:
                        raise onward
                    finally:
                        del onward
                if not self._backend.reuses_tasks:
                    return
                streak += 1
                work = await self._next_work(carrier, streak)
        finally:
            self.live -= 1
            if self.halted is None:
                self.fetch()
            if self._leaving and self.live == 0:
                self._when_drained()

    async def _next_work(self, carrier: Carrier, streak: int) -> tuple[Slot[Any], Call] | None:
        backend = self._backend
        work = self._queue.next()
        if work is not None:
            context = work[1].context
            switched = backend.set_context(carrier.task, context)
            if switched or streak % _YIELD_EVERY == 0:
                await backend.shielded_checkpoint()
        elif self.halted is None and not self._leaving:
            self._idle[carrier] = None
            try:
                await backend.park(carrier)
            finally:
                self._idle.pop(carrier, None)
            work, carrier.handed = carrier.handed, None
        return work

    async def _carry_if_wanted(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
    ) -> BaseException | None:
        """Carry a call out, unless it was cancelled on the way here, or nothing may start."""
        if self._backend.current_effective_deadline() == -math.inf:
            self.halt("outer", "a scope around the runner was cancelled", cancel=False)
        if slot.done:
            return None
        if self.halted is not None:
            self._board.cancel(slot, "closed", f"the runner was closing: {self.halted.reason}")
            return None
        return await self.carry_out(slot, call, carrier)

    async def carry_out(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        in_own_task: bool = True,
    ) -> BaseException | None:
        """Run the body of a call, and settle its slot by the capture rule.

        Args:
            slot: a pending slot.
            call: its call.
            carrier: whose task this is.
            in_own_task: False when the task is not ours but the submitter's: then a cancellation
                by asyncio's own means (``asyncio.timeout`` around the submit) is meant for
                the submitter.

        Returns:
            the cancellation that must travel on, for the caller to raise again in this very task;
            `None` when the task may go on to other work.
        """
        backend, board = self._backend, self._board
        scope = backend.open_scope()
        native = backend.native_cancels()
        value: Any = _NOT_RETURNED
        raised: BaseException | None = None
        board.begin(slot, carrier)
        carrier.take(scope, call.place)
        if board.announcer.hears:
            board.tell("call_admitted", slot, call.place)
        try:
            with scope:
                if call.is_async:
                    if board.announcer.hears:
                        board.tell("call_started", slot, "loop")
                    if in_own_task:
                        value = await call.fn(*call.args)
                    else:
                        value = await run_in_context(call)
                else:
                    came = await self._in_thread(slot, call)
                    if isinstance(came, Error):
                        # Not raised here: no coroutine lets a StopIteration through.
                        raised = came.error
                    elif inspect.isawaitable(came.value):
                        value = await came.value
                    else:
                        value = came.value
        except BaseException as exc:  # noqa: BLE001 - stored; what must travel on is handed back
            raised = exc
        # The scope is closed: what is cancelled now was cancelled from outside.
        try:
            if raised is not None:
                return self._settle_raised(slot, raised, native, in_own_task=in_own_task)
            if value is _NOT_RETURNED:
                board.cancel(slot, *carrier.request)
            else:
                board.settle(slot, State.COMPLETED, value)
            return None
        finally:
            if in_own_task:
                backend.forget_native_cancels(native)
            del raised  # it holds this frame

    def carry_out_inline(self, slot: Slot[Any], call: Call) -> None:
        """Run a plain call here and now, without a thread; it blocks the loop as any function does.

        Args:
            slot: a pending slot.
            call: its call.

        Raises:
            BaseException: what the call raised that is no `Exception`; it is raised where it happened.
        """
        board = self._board
        carrier = Carrier(self._backend.current_task())
        board.begin(slot, carrier)
        if board.announcer.hears:
            board.tell("call_admitted", slot, "loop")
            board.tell("call_started", slot, "loop")
        try:
            value = call.fn(*call.args)
        except Exception as exc:  # noqa: BLE001 - stored
            self._settle_failed(slot, State.FAILED, exc)
        except BaseException as exc:
            board.settle(slot, State.CRASHED, exc)
            raise
        else:
            board.settle(slot, State.COMPLETED, value)

    def _settle_raised(
        self,
        slot: Slot[Any],
        raised: BaseException,
        native: int,
        *,
        in_own_task: bool,
    ) -> BaseException | None:
        backend, board = self._backend, self._board
        enclosing_cancelled = backend.current_effective_deadline() == -math.inf or (
            not in_own_task and backend.native_cancels() > native
        )
        verdict = classify(raised, backend.cancelled, enclosing_cancelled=enclosing_cancelled)
        if verdict.state is State.CANCELLED:
            assert verdict.origin is not None
            if verdict.origin == "foreign":
                board.cancel(slot, "foreign", "a cancellation came out of it that nobody here made")
            elif self.halted is not None:
                board.cancel(slot, *self.halted)
            else:
                board.cancel(slot, "outer", "a scope around the runner was cancelled")
            return verdict.onward
        assert verdict.error is not None
        self._settle_failed(slot, verdict.state, verdict.error)
        return verdict.onward

    def _settle_failed(self, slot: Slot[Any], state: State, error: BaseException) -> None:
        """Settle a call that failed or crashed, and end the run if that is what it means."""
        self._board.settle(slot, state, error)
        what = f"call {slot.key!r} raised {type(error).__name__}"
        if state is State.CRASHED:
            self.crashes.append(fatal_part(error))
            self.halt("closed", what)
        elif self._cancel_on_failure:
            self.failures.append(slot)
            self.halt("closed", what)

    async def _in_thread(self, slot: Slot[Any], call: Call) -> Outcome[Any]:
        backend, board = self._backend, self._board
        async with self._threads:
            if board.announcer.hears:
                board.tell("call_started", slot, "thread")
            guard = backend.open_scope(shield=True)
            self._thread_guards[guard] = slot
            try:
                return await backend.run_in_thread(
                    partial(_captured, call.fn, call.args),
                    f"creche {slot.key!r}",
                    guard,
                )
            finally:
                del self._thread_guards[guard]


def _captured(fn: Callable[..., Any], args: tuple[Any, ...]) -> Outcome[Any]:
    """What a plain function does, as an outcome: no transport ever carries its exceptions."""
    try:
        return Value(fn(*args))
    except BaseException as exc:  # noqa: BLE001 - handed over, whatever it is
        return Error(exc)
