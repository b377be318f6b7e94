"""Carrying out one call: its scope, its place, and what becomes of what comes out.

What it is for: the body of a call runs inside a scope of its own, on the loop or in a thread; when that
scope has closed, what came out is read by the capture rule and the slot is settled.

What it does not know: where calls come from, which task does it; keys, waiters, the order of closing.

Invariant: a call that was begun is settled when `perform` returns. Whoever calls it is protected from
Ctrl-C; the code of the call is not.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast, final

from outcome import Error, Value

from ._backend import Backend, Scope
from ._board import Board
from ._call import Call, close_unbegun, itself, run_in_context
from ._capture import classify, fatal_part
from ._carrier import NOBODY, Carrier
from ._grace import Grace
from ._halting import SCOPE_CANCELLED, Halting
from ._ki import await_openly, call_openly, protected
from ._lending import IN_THREAD, callers_here, enter
from ._places import Places
from ._slot import Slot
from ._states import State

_NOT_RETURNED = object()


@final
class Performer:
    """Carries out the calls of one run.

    Attributes:
        crashes: what calls raised that is no `Exception`; the host raises it.
        is_light: whether a call needs nothing but its scope: nobody listens, and there is no grace.
        threads: of those, how many calls that have no place may be in one.
        abandon_more: does for calls that are carried out elsewhere what `abandon_thread` does, or for
            `None` what `abandon_threads` does; gives the slots of those that are in threads.
        failures: with `on_error="cancel"`, the slots that have failed, in the order of failing.
    """

    def __init__(
        self,
        backend: Backend,
        board: Board,
        halting: Halting,
        *,
        threads: int,
        cancel_on_failure: bool,
        grace: Grace | None,
    ) -> None:
        self.crashes: list[BaseException] = []
        self.is_light = grace is None and not board.announcer.hears
        self.failures: list[Slot[Any]] = []
        self.abandon_more: Callable[[Slot[Any] | None], list[Slot[Any]]] = lambda _: []
        self._backend = backend
        self._board = board
        self._halting = halting
        self.threads = Places(threads)
        self._thread_guards: dict[Scope, Slot[Any]] = {}
        self._cancel_on_failure = cancel_on_failure
        self._grace = grace

    def abandon_threads(self) -> list[Slot[Any]]:
        """From now on a cancelled call in a thread ends without waiting for the thread.

        Returns:
            the slots of the calls that run in threads now.
        """
        for guard in self._thread_guards:
            guard.shield = False
        return [*self._thread_guards.values(), *self.abandon_more(None)]

    def note_crash(self, error: BaseException, what: str) -> None:
        """Code of the user's raised what is no `Exception`: end the run; the host raises it then.

        Args:
            error: what it raised, which others may have raised before: whoever reads the outcome of the
                call does.
            what: whose code it was, for people.
        """
        crash = fatal_part(error)
        if any(crash is other for other in self.crashes):
            return
        self.crashes.append(crash)
        reason = f"{what} raised {type(error).__name__}"
        if isinstance(crash, KeyboardInterrupt):
            self._halting.interrupt(reason)
        else:
            self._halting.halt("closed", reason)

    def abandon_thread(self, slot: Slot[Any]) -> None:
        """The same for one call, if it is in a thread."""
        for guard, other in self._thread_guards.items():
            if other is slot:
                guard.shield = False
        self.abandon_more(slot)

    async def perform(  # noqa: C901, PLR0912, PLR0915 - the hot path stays in one frame
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        in_own_task: bool = True,
        is_begun: bool = False,
    ) -> BaseException | None:
        """Run the body of a call, and settle its slot by the capture rule.

        Args:
            slot: a pending slot.
            call: its call.
            carrier: whose task this is.
            in_own_task: False when the task is not ours but the submitter's: then a cancellation
                by asyncio's own means (``asyncio.timeout`` around the submit) is meant for
                the submitter.
            is_begun: whether the slot is running already, for the first half of its call.

        Returns:
            the cancellation that must travel on, for the caller to raise again in this very task;
            `None` when the task may go on to other work.
        """
        backend, board = self._backend, self._board
        timeout = call.wishes.timeout
        if timeout is None:
            scope = backend.open_scope()
        else:
            scope = backend.open_scope(deadline=backend.current_time() + timeout)
        grace = self._grace if in_own_task else None
        if grace is not None:
            grace.cover(scope)
        native = backend.native_cancels()
        value: Any = _NOT_RETURNED
        came: Any = None
        raised: BaseException | None = None
        request = carrier.request
        carrier.take(scope, call.place)
        if not is_begun:
            board.begin(slot, carrier)
        elif request is not None:
            carrier.cancel(*request)
        try:
            with scope:
                if board.announcer.hears and not is_begun:
                    board.tell("call_admitted", slot, call.place)
                    if call.is_async:
                        board.tell("call_started", slot, "loop")
                if call.is_async:
                    if in_own_task:
                        value = await await_openly(call.fn, call.args)
                    else:
                        value = await run_in_context(call.context, call.fn, call.args)
                else:
                    came = await self._plain(slot, call, carrier, in_own_task=in_own_task)
                    if isinstance(came, Error):
                        # Not raised here: no coroutine lets a StopIteration through.
                        raised = came.error
                    else:
                        value = came.value
        except BaseException as exc:  # noqa: BLE001 - stored; what must travel on is handed back
            raised = exc
        if grace is not None:
            grace.uncover(scope)
        # The scope is closed: what is cancelled now was cancelled from outside.
        onward = None
        try:
            if raised is not None:
                onward = self._settle_raised(slot, call, raised, native, in_own_task=in_own_task)
            elif value is not _NOT_RETURNED:
                board.settle(slot, State.COMPLETED, value)
            elif carrier.request is not None:
                board.cancel(slot, *carrier.request)
            else:  # nobody else has the scope: its deadline has passed
                msg = f"call {slot.key!r} has not ended within its timeout of {timeout} seconds"
                self.settle_failed(slot, call, State.FAILED, TimeoutError(msg))
            if in_own_task:
                backend.forget_native_cancels(native)
            elif (
                onward is None
                and backend.native_cancels() > native
                and backend.current_effective_deadline() != -math.inf
            ):
                # The call has made something else of it, and it comes only once: on with it. That of a
                # scope shows again by itself.
                onward = backend.cancelled()
            return onward
        finally:
            # A traceback of the call's leads back to this frame, which must not lead to the slot that
            # holds the exception: only the garbage collector could free such a ring.
            del self, slot, call, carrier, value, came, raised, onward, board

    def keep_scope(self, carrier: Carrier) -> None:
        """Enter a scope for the light calls of a carrier, and keep it until one of them has used it.

        Entering and leaving one for each call would cost as much as all the rest.

        Args:
            carrier: whose task this is.
        """
        scope = self._backend.open_scope()
        scope.__enter__()
        carrier.keep(scope, self._backend.mark(carrier.task))

    def end_lightly(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        value: Any = _NOT_RETURNED,  # noqa: ANN401 - whatever the call returned
        raised: BaseException | None = None,
        made: object = None,
    ) -> BaseException | None:
        """Settle a light call that has raised, or has used its scope; see `perform`.

        Args:
            slot: a running slot.
            call: its call.
            carrier: whose task this is, inside the scope that it keeps.
            value: what the call returned.
            raised: what it raised.
            made: what calling it gave, which may not have been begun.

        Returns:
            the cancellation that must travel on; see `perform`.
        """
        try:
            close_unbegun(made)
            if (
                isinstance(raised, Exception)
                and carrier.request is None
                and self._backend.is_intact(carrier.task, carrier.mark)
            ):
                return self._settle_raised(slot, call, raised, 0, in_own_task=True)
            raised = carrier.leave_kept(raised)
            onward = None
            if raised is not None:
                onward = self._settle_raised(slot, call, raised, 0, in_own_task=True)
            elif value is not _NOT_RETURNED:
                self._board.settle(slot, State.COMPLETED, value)
            else:
                assert carrier.request is not None
                self._board.cancel(slot, *carrier.request)
            self._backend.forget_native_cancels(0)
            return onward
        finally:
            del self, slot, call, carrier, value, raised, made  # see perform

    @protected
    def perform_inline(self, slot: Slot[Any], call: Call) -> None:
        """Run a plain call here and now, without a thread; it blocks the loop as any function does.

        Args:
            slot: a pending slot.
            call: its call.

        Raises:
            BaseException: what the call raised that is no `Exception`; it is raised where it happened.
        """
        board = self._board
        carrier = Carrier(self._backend.current_task(), NOBODY)
        board.begin(slot, carrier)
        if board.announcer.hears:
            board.tell("call_admitted", slot, "loop")
            board.tell("call_started", slot, "loop")
        try:
            value = call_openly(call.fn, *call.args)
        except Exception as exc:  # noqa: BLE001 - stored
            self.settle_failed(slot, call, State.FAILED, exc)
        except BaseException as exc:
            board.settle(slot, State.CRASHED, exc)
            raise
        else:
            board.settle(slot, State.COMPLETED, value)

    def _settle_raised(
        self,
        slot: Slot[Any],
        call: Call,
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
            elif self._halting.halted is not None:
                board.cancel(slot, *self._halting.halted)
            else:
                board.cancel(slot, "outer", SCOPE_CANCELLED)
            return verdict.onward
        assert verdict.error is not None
        self.settle_failed(slot, call, verdict.state, verdict.error)
        return verdict.onward

    def settle_failed(
        self,
        slot: Slot[Any],
        call: Call,
        state: State,
        error: BaseException,
    ) -> None:
        """Settle a call that failed or crashed, and end the run if that is what it means.

        Args:
            slot: a running slot.
            call: its call.
            state: FAILED or CRASHED.
            error: what it raised.
        """
        self._board.settle(slot, state, error)
        what = f"call {slot.key!r}"
        if state is State.CRASHED:
            self.note_crash(error, what)
        elif self._cancel_on_failure and not call.wishes.contained:
            self.failures.append(slot)
            self._halting.halt("closed", f"{what} raised {type(error).__name__}")

    async def _plain(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        in_own_task: bool,
    ) -> Value[Any] | Error:
        """A plain call: in a thread, and if it gives an awaitable, that on the loop."""
        try:
            if carrier.is_bounded:  # it has a place, and so many threads there may be
                came = await self._in_thread(slot, call)
            else:
                await enter(self._backend, self.threads)
                carrier.occupy(self.threads)
                try:
                    came = await self._in_thread(slot, call)
                finally:
                    carrier.vacate()
            if isinstance(came, Error) or not inspect.isawaitable(came.value):
                return came
            try:
                if in_own_task:
                    return Value(await await_openly(itself, (came.value,)))
                return Value(await run_in_context(call.context, itself, (came.value,)))
            finally:
                close_unbegun(came.value)  # Ctrl-C may have come before its first step
        finally:
            del self, slot, call, carrier  # see perform

    async def _in_thread(self, slot: Slot[Any], call: Call) -> Value[Any] | Error:
        backend, board = self._backend, self._board
        await backend.checkpoint_if_cancelled()  # it would be shielded, and could still be spared
        guard = backend.open_scope(shield=True)
        self._thread_guards[guard] = slot
        try:
            if board.announcer.hears:
                board.tell("call_started", slot, "thread")
            body = partial(_captured, (slot, callers_here(backend)), call.fn, call.args)
            came = await backend.run_in_thread(body, f"creche {slot.key!r}", guard)
            return cast("Value[Any] | Error", came)
        finally:
            del self._thread_guards[guard]


def _captured(
    caller: tuple[Slot[Any], list[Carrier]],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
) -> Value[Any] | Error:
    """What a plain function does, as an outcome: no transport ever carries its exceptions."""
    token = IN_THREAD.set(caller)  # the thread runs in a copy of the context
    try:
        return Value(fn(*args))
    except BaseException as exc:  # noqa: BLE001 - handed over, whatever it is
        return Error(exc)
    finally:
        # The context is held by frames of the thread's, and those by what the call raised.
        IN_THREAD.reset(token)
        del caller, fn, args, token  # see Performer.perform
