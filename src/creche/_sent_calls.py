"""Calls that need nothing but a place which takes them as they are: no task of the loop is theirs.

What it is for: such a call is sent as soon as it has a place, and is settled on the loop when the place
tells that it has ended, together with all the others that have ended by then. A task that waits for it
would cost several times as much as the call.

What it does not know: where calls come from, keys, any place there is.

Invariant: a call that was begun is settled once: when the place has told of it, or at once when it is
cancelled and the place has not begun with it. As long as one goes on, a task of the nursery sees to it
that a cancellation from around the run reaches them all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, final

from ._backend import Backend, Nursery
from ._board import Board
from ._call import Call
from ._carrier import Carrier, Lender
from ._errors import StopCall
from ._guests import Guests
from ._halting import Halting
from ._inputs import work_of
from ._ki import protected
from ._parking import Doorbell
from ._performing import Performer
from ._place import Sent
from ._slot import Slot
from ._states import Origin, State

_NAME = "creche calls elsewhere"


@final
class SentCall:
    """A call on its way through a place; and what cancels its body, as a scope would."""

    __slots__ = ("call", "carrier", "owner", "sent", "slot")

    def __init__(self, owner: SentCalls, slot: Slot[Any], call: Call, lender: Lender) -> None:
        self.owner = owner
        self.slot = slot
        self.call = call
        self.carrier = Carrier(self, lender)
        # As the place has it; `None` until it has, and once the call has ended.
        self.sent: Sent | None = None

    def cancel(self) -> None:
        """Cancel the call: it ends at once if its place has not begun with it."""
        self.owner.cancel_one(self)


@final
class SentCalls:
    """The calls of one run that have been sent to places without a task.

    Attributes:
        going_on: those.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        board: Board,
        guests: Guests,
        halting: Halting,
        performer: Performer,
        lender: Lender,
        *,
        when_ended: Callable[[SentCall], object],
        when_all_ended: Callable[[int], object],
    ) -> None:
        """Make it, on the loop.

        Args:
            backend: the loop.
            nursery: for the task that hears of cancellations.
            board: of the run.
            guests: of the run.
            halting: of the run.
            performer: of the run.
            lender: whose places these calls have.
            when_ended: told of a call that has ended.
            when_all_ended: told that so many have which it was told of, when it may start others.
        """
        self.going_on: dict[SentCall, None] = {}
        self._backend = backend
        self._nursery = nursery
        self._board = board
        self._guests = guests
        self._halting = halting
        self._performer = performer
        self._lender = lender
        self._when_ended = when_ended
        self._when_all_ended = when_all_ended
        self._ended = 0
        self._context = copy_context()  # not that of whoever submits the first call
        # What could not be sent, why, and how it is to be settled.
        self._refused: list[
            tuple[SentCall, Callable[[SentCall, BaseException], None], BaseException]
        ] = []
        self._bell = Doorbell()
        self._is_watched = self._is_closed = self._is_ending = False

    def may_send(self, call: Call) -> bool:
        """Whether a call that needs nothing but a place can do without a task, and may start now."""
        ticket = call.wishes.ticket
        assert ticket is not None, call
        return (
            ticket.seat.sender is not None
            and ticket.prepare is None
            and self._halting.halted is None
            and not self._backend.is_cut_from(self._nursery)
        )

    def send(self, slot: Slot[Any], call: Call) -> None:
        """Begin with a call that may be sent, and have its place carry it out.

        Args:
            slot: pending.
            call: its call.
        """
        ticket = call.wishes.ticket
        assert ticket is not None, call
        one = SentCall(self, slot, call, self._lender)
        carrier = one.carrier
        carrier.is_busy = True
        slot.begin(carrier)
        self._board.running += 1
        carrier.take(one, ticket.place)
        if call.places:
            carrier.occupy(call.places)
        if not self.going_on:
            self._note_first()
        self.going_on[one] = None
        work: Any = None
        run = call.context.copy().run  # what is pickled may have code of its own
        try:
            work = run(work_of, slot, call, ticket, None)
            one.sent = run(ticket.seat.sender.send, work, one, self._hear)
        except BaseException as exc:  # noqa: BLE001 - stored
            # Seen to later: whoever starts one call after the other would go on from in here.
            is_its_own = work is None and isinstance(exc, Exception)  # of its arguments
            self._refused.append((one, self._fail if is_its_own else self._crash, exc))
            self._bell.ring()
        else:
            if carrier.request is not None:  # by code that pickles
                self.cancel_one(one)
        finally:
            # What was raised leads back to this frame.
            del self, slot, call, one, carrier, work, ticket, run

    def _note_first(self) -> None:
        """The first of some begins."""
        self._guests.add(self)
        if not self._is_watched:
            self._is_watched = True
            self._backend.start_soon(self._nursery, self._context, self._watch, None, _NAME)

    def close(self) -> None:
        """Nothing more will come."""
        self._is_closed = True
        self._bell.ring()

    # Ending ---------------------------------------------------------------------------------------

    @protected
    def _hear(self, ended: list[Sent]) -> None:
        """A place tells of work that has ended."""
        board, counts, going_on = self._board, self._board.counts, self.going_on
        when_ended = self._when_ended
        came: Any = None
        for sent in ended:
            one: SentCall = sent.owner
            sent.owner = one.sent = None  # they are a ring
            try:
                came = sent.outcome()
            except BaseException as exc:  # noqa: BLE001 - stored
                self._crash(one, exc)
            else:
                if came is None:
                    request = one.carrier.request
                    assert request is not None, one.slot
                    board.cancel(one.slot, *request)
                elif not came[0]:
                    self._fail(one, came[1])
                else:
                    callbacks = one.slot.end(State.COMPLETED, came[1])
                    counts[State.COMPLETED] += 1
                    board.running -= 1
                    if callbacks is not None or board.aside or not board.retains:
                        board.follow_up(one.slot, callbacks)
            del going_on[one]  # as in `_end`, in this frame
            when_ended(one)
            one.carrier.dismiss()
        self._ended += len(ended)
        del ended, came
        if not going_on:
            self._note_last()
        self._look_round()

    def _fail(self, one: SentCall, error: BaseException) -> None:
        """The user's code has raised over there; which may end what it likes, but not this run."""
        state = State.FAILED if isinstance(error, Exception) else State.CRASHED
        is_lost = state is State.CRASHED
        self._performer.settle_failed(one.slot, one.call, state, error, is_lost=is_lost)

    def _crash(self, one: SentCall, error: BaseException) -> None:
        """Its place has lost it, which costs nobody else; or Ctrl-C was pressed here.

        Or a cancellation came out of it, perhaps while it was being cancelled from here.
        """
        if isinstance(error, StopCall):
            is_cut = self._backend.is_cut_from(self._nursery)
            self._performer.settle_cancelled(one.slot, one.carrier.request, is_cut=is_cut)
            return
        is_lost = isinstance(error, Exception)
        if is_lost:
            # It leads to whoever has submitted the call just now, or reads what came, and has its slot.
            error.__traceback__ = None
        self._performer.settle_failed(one.slot, one.call, State.CRASHED, error, is_lost=is_lost)

    def _end(self, one: SentCall) -> None:
        del self.going_on[one]
        self._when_ended(one)
        self._ended += 1
        one.carrier.dismiss()
        if not self.going_on:
            self._note_last()

    def _note_last(self) -> None:
        self._guests.remove(self)
        if self._is_ending:
            self._bell.ring()

    def _look_round(self) -> None:
        """Some have ended: others may start."""
        ended, self._ended = self._ended, 0
        if ended:
            self._when_all_ended(ended)

    def cancel_one(self, one: SentCall) -> None:
        """Cancel one of them; it has been noted already why."""
        sent, request = one.sent, one.carrier.request
        assert request is not None, one.slot
        if sent is None or not sent.cancel():
            return  # it is on its way there, or back
        sent.owner = one.sent = None
        self._board.cancel(one.slot, *request)
        self._end(one)
        self._look_round()

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The run is halted; part of `_halting.Guest`."""
        for one in tuple(self.going_on):
            one.carrier.cancel(origin, reason)

    # The task that sees to them -------------------------------------------------------------------

    @protected
    async def _watch(self, _: object) -> None:
        """Hear of what cancels the nursery; which is not left before the last of them has ended."""
        try:
            await self._wait(lambda: self._is_closed)
            backend = self._backend
            await (backend.shed_cancel(backend.current_task()) or backend.shielded_checkpoint())
        finally:
            self._is_ending = True
            if self.going_on:
                self._halting.note_cancelled()
                with self._backend.open_scope(shield=True):
                    await self._wait(lambda: not self.going_on)

    async def _wait(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            try:
                await self._backend.park(self._bell)
            except self._backend.cancelled:
                if self._backend.is_cut():
                    raise
                # By asyncio's `Task.cancel`, and for no call.
                self._backend.forget_native_cancels(0)
            self._bell.has_rung = False
            self._settle_refused()

    def _settle_refused(self) -> None:
        refused, self._refused = self._refused, []
        for one, end_with, error in refused:
            end_with(one, error)
            self._end(one)
            del error
        del refused
        self._look_round()
