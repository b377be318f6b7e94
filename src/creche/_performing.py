"""Carrying out one call: its scope, its place, and what becomes of what comes out.

What it is for: the body of a call runs inside a scope of its own, on the loop or in a thread; when that
scope has closed, what came out is read by the capture rule and the slot is settled.

What it does not know: where calls come from, which task does it; keys, waiters, the order of closing.

Invariant: a call that was begun is settled when `perform` returns. Whoever calls it is protected from
Ctrl-C; the code of the call is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from outcome import Error

from ._backend import Backend
from ._board import Board
from ._bodies import Bodies, timed_out
from ._call import Call, close_unbegun
from ._capture import classify, fatal_part
from ._carrier import Carrier, begin_inline, end_inline
from ._grace import Grace
from ._guards import ThreadGuards
from ._halting import SCOPE_CANCELLED, Halting
from ._ki import await_openly, call_openly, protected
from ._place import PlaceFailed
from ._places import Places
from ._retrying import Retrier
from ._slot import Slot
from ._spelling import spell
from ._states import Origin, State

_STRAY = "a cancellation came out of it that nobody here made"
_NOT_RETURNED = object()
_CANCELLED = State.CANCELLED


@final
class Performer:
    """Carries out the calls of one run.

    Attributes:
        crashes: what calls raised that is no `Exception`; the host raises it.
        is_quick: whether a call needs its scope only: there is no grace. `is_light`: nor is it told of.
        threads: of those, how many calls that have no place may be in one.
        abandon_more: does for calls that are carried out elsewhere what `abandon_thread` does, or for
            `None` what `abandon_threads` does; gives the slots of those that are in threads.
        guards: its plain calls that wait for threads in tasks.
        bodies: what runs the bodies of calls. `retrier`: what does again and again.
        failures: with `on_error="cancel"`, the slots that have failed, in the order of failing.
    """

    def __init__(
        self,
        backend: Backend,
        board: Board,
        halting: Halting,
        *,
        threads: int,
        abandons: bool,
        cancel_on_failure: bool,
        grace: Grace | None,
    ) -> None:
        self.crashes: list[BaseException] = []
        self.is_quick = grace is None
        self.is_light = self.is_quick and not board.announcer.hears
        self.failures: list[Slot[Any]] = []
        self.abandon_more: Callable[[Slot[Any] | None], list[Slot[Any]]] = lambda _: []
        self._backend = backend
        self._board = board
        self._halting = halting
        self.threads = Places(threads)
        self.guards = ThreadGuards(backend, board, abandons=abandons, has_grace=grace is not None)
        self.bodies = Bodies(backend, self.threads, self.guards)
        self.retrier = Retrier(backend, board, halting, self.bodies, grace)
        if grace is not None:
            grace.when_over = self.guards.cut
        self._cancel_on_failure = cancel_on_failure
        self._grace = grace

    @property
    def halted(self) -> object:
        """What has ended the run before its time, if anything has."""
        return self._halting.halted

    def abandon_threads(self) -> list[Slot[Any]]:
        """From now on a cancelled call in a thread ends without waiting for the thread.

        Returns:
            the slots of the calls that run in threads now.
        """
        return [*self.guards.abandon(None), *self.abandon_more(None)]

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
        self.guards.abandon(slot)
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
        timeout, ticket, retry = call.wishes.timeout, call.wishes.ticket, call.wishes.retry
        if timeout is None or retry is not None:  # each attempt has the time
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
                    if call.is_async or ticket is not None:
                        board.tell("call_started", slot, call.place)
                if call.is_async and ticket is None and retry is None:
                    if in_own_task:
                        value = await await_openly(call.fn, call.args)
                    else:
                        value = await self.bodies.in_context(call, call.fn, call.args)
                else:
                    if retry is not None:
                        came = await self.retrier.run(
                            slot, call, carrier, scope, in_own_task=in_own_task
                        )
                    elif ticket is not None:
                        came = await self.bodies.at_seat(slot, call, carrier, ticket)
                    else:
                        came = await self.bodies.plain(slot, call, carrier, in_own_task=in_own_task)
                    if isinstance(came, Error):
                        # Not raised here: no coroutine lets a StopIteration through.
                        raised = came.error
                    elif came is not None:
                        value = came.value
        except BaseException as exc:  # noqa: BLE001 - stored; what must travel on is handed back
            raised = exc
        if grace is not None:
            grace.uncover(scope)
        # The scope is closed: what is cancelled now was cancelled from outside.
        onward = None
        try:
            if raised is not None:
                is_late = timeout is not None and retry is None and scope.cancel_called
                onward = self._settle_raised(
                    slot,
                    call,
                    raised,
                    native,
                    carrier.request,
                    in_own_task=in_own_task,
                    is_late=is_late,
                )
            elif value is not _NOT_RETURNED:
                board.settle(slot, State.COMPLETED, value)
            elif carrier.request is not None:
                board.cancel(slot, *carrier.request)
            else:  # nobody else has the scope: its deadline has passed
                assert timeout is not None
                self.settle_failed(slot, call, State.FAILED, timed_out(slot.key, timeout))
            if in_own_task:
                backend.forget_native_cancels(native)
            elif onward is None and backend.native_cancels() > native and not backend.is_cut():
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
        carrier.keep(self._backend.keep_scope(carrier.task), self._backend.mark(carrier.task))

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
        board = self._board
        try:
            close_unbegun(made)
            if (
                isinstance(raised, Exception)
                and carrier.request is None
                and self._backend.is_intact(carrier.task, carrier.mark)
            ):
                return self._settle_raised(slot, call, raised, 0, carrier.request, in_own_task=True)
            raised = carrier.leave_kept(raised)
            onward = None
            if raised is not None:
                onward = self._settle_raised(slot, call, raised, 0, carrier.request, in_own_task=True)
            elif value is not _NOT_RETURNED:
                board.settle(slot, State.COMPLETED, value)
            elif board.announcer.hears:
                assert carrier.request is not None
                board.cancel(slot, *carrier.request)
            else:  # the same in few frames: there may be many at once
                callbacks = slot.end(_CANCELLED, carrier.request)
                board.counts[_CANCELLED] += 1
                board.running -= 1
                if callbacks is not None or not board.retains or board.aside:
                    board.follow_up(slot, callbacks)
            return onward
        finally:
            del self, slot, call, carrier, value, raised, made, board  # see perform

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
        carrier = begin_inline(self._backend.current_task())
        board.begin(slot, carrier)
        if board.announcer.hears:
            board.tell("call_admitted", slot, "loop")
            board.tell("call_started", slot, "loop")
        try:
            if call.wishes.retry is None:
                value = call_openly(call.fn, *call.args)
            else:
                value = self.retrier.run_here(slot, call)
        except Exception as exc:  # noqa: BLE001 - stored
            self.settle_failed(slot, call, State.FAILED, exc)
        except BaseException as exc:
            board.settle(slot, State.CRASHED, exc)
            raise
        else:
            board.settle(slot, State.COMPLETED, value)
        finally:
            end_inline(carrier)

    def _settle_raised(
        self,
        slot: Slot[Any],
        call: Call,
        raised: BaseException,
        native: int,
        request: tuple[Origin, str] | None,
        *,
        in_own_task: bool,
        is_late: bool = False,
    ) -> BaseException | None:
        backend, board = self._backend, self._board
        enclosing_cancelled = backend.is_cut() or (not in_own_task and backend.native_cancels() > native)
        if isinstance(raised, PlaceFailed):
            self.settle_failed(slot, call, State.CRASHED, raised.error, is_lost=True)
            return raised.cancellation if enclosing_cancelled else None
        verdict = classify(raised, backend.cancelled, enclosing_cancelled=enclosing_cancelled)
        if enclosing_cancelled and in_own_task:  # a plain call would start in its place, and not look
            self._halting.look()
        if verdict.state is State.CANCELLED:
            assert verdict.origin is not None
            if verdict.origin != "foreign":
                board.cancel(slot, *(self._halting.halted or ("outer", SCOPE_CANCELLED)))
            elif request is None and is_late:
                assert call.wishes.timeout is not None
                error = timed_out(slot.key, call.wishes.timeout)
                self.settle_failed(slot, call, State.FAILED, error)
            else:  # a stray one, perhaps of a call that was being cancelled anyhow
                self.settle_cancelled(slot, request)
            return verdict.onward
        assert verdict.error is not None
        self.settle_failed(slot, call, verdict.state, verdict.error)
        return verdict.onward

    def settle_cancelled(
        self, slot: Slot[Any], request: tuple[Origin, str] | None, *, is_cut: bool = False
    ) -> None:
        """Settle a call out of which nothing but a cancellation has come.

        Args:
            slot: a running slot.
            request: from where and why it was cancelled, if it was.
            is_cut: whether a scope around the run is cancelled, of a call without a task.
        """
        if request is not None:
            self._board.cancel(slot, *request)
        elif is_cut:
            self._board.cancel(slot, "outer", SCOPE_CANCELLED)
        else:
            self._board.cancel(slot, "foreign", _STRAY)

    def settle_failed(
        self,
        slot: Slot[Any],
        call: Call,
        state: State,
        error: BaseException,
        *,
        is_lost: bool = False,
    ) -> None:
        """Settle a call that failed or crashed, and end the run if that is what it means.

        Args:
            slot: a running slot.
            call: its call.
            state: FAILED or CRASHED.
            error: what it raised.
            is_lost: whether it is its place that has crashed, which costs nobody else.
        """
        self._board.settle(slot, state, error)
        what = f"call {spell(slot.key)}"
        if state is State.CRASHED and not is_lost:
            self.note_crash(error, what)
        elif self._cancel_on_failure and not call.wishes.contained:
            self.failures.append(slot)
            self._halting.halt("closed", f"{what} raised {type(error).__name__}")
