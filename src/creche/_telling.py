"""The events of one run: built from its slots, and only if somebody hears them.

What it is for: the one place that knows what is in an event of a call.

What it does not know: who listens; when things happen.

Invariant: an event that nobody hears is not built; arguments and values are in it only if somebody wants
them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable
from typing import Any, final

from ._announce import Announcer
from ._call import NO_WISHES, Call
from ._events import PREPARES, CallEvent
from ._slot import Slot
from ._states import State

_numbers = itertools.count(1)

_new: Callable[..., CallEvent] = tuple.__new__
"""Makes an event as its class does, in half the time: there are four for each call."""

_PENDING, _RUNNING, _COMPLETED = State.PENDING, State.RUNNING, State.COMPLETED

_REST: tuple[Any, ...] = tuple(
    CallEvent._field_defaults[name] for name in CallEvent._fields[CallEvent._fields.index("after") :]
)
"""What is in an event only when a call is submitted, or has given a value."""


@final
class Teller:
    """Builds the events of one run.

    Attributes:
        number: of the run, in this process.
    """

    def __init__(
        self,
        announcer: Announcer,
        now: Callable[[], float],
        submitter: Callable[[], tuple[int, Hashable] | None],
    ) -> None:
        """Make it.

        Args:
            announcer: who is told.
            now: the clock of the run's loop, in seconds.
            submitter: the run and the key of the call whose code runs, if it is one that was told of.
        """
        self.number = next(_numbers)
        self._announcer = announcer
        self._now = now
        self._submitter = submitter
        self._fresh = itertools.count(1)
        # Of the calls that were told of and have not ended.
        self._of_calls: dict[Slot[Any], int] = {}

    def tell(self, name: str, slot: Slot[Any], place: str) -> None:
        """Build the event of this name and hand it to the instruments.

        Args:
            name: one of the call's events, from its admission on.
            slot: the call's slot, as it is now.
            place: where the body runs.
        """
        state = slot.state
        if name == "call_admitted":
            carrier: Any = slot.work
            carrier.told, carrier.began = (self.number, slot.key), self._now()
        call = 0 if state is _RUNNING else self._of_calls.pop(slot, 0)
        if not self._announcer.listeners[name]:
            return
        ended: tuple[Any, ...] = (None, None, None)
        more = _REST
        if state is _RUNNING:
            call = self._number_of(slot)
        else:
            call = call or next(self._fresh)
            ended = (slot.origin, slot.reason, slot.peek_error())
            if self._announcer.wants_values and state is _COMPLETED:
                more = (*_REST[:-1], slot.peek_value())
        fields = (slot.key, self._now(), state, place, slot.attempt, *ended, self.number, call, *more)
        self._announcer.tell(name, _new(CallEvent, fields))

    def tell_begun(self, slot: Slot[Any], carrier: Any) -> None:  # noqa: ANN401 - a Carrier, of a higher floor
        """Tell that a call of the loop was admitted and has started, which is at the same time.

        Args:
            slot: of the call, running; it is not tried again.
            carrier: who carries it out.
        """
        announcer, number, key, time = self._announcer, self.number, slot.key, self._now()
        carrier.told, carrier.began = (number, key), time
        listeners = announcer.listeners
        if not (listeners["call_admitted"] or listeners["call_started"]):
            return
        call = self._of_calls.get(slot) or self._number_of(slot)
        # In one piece: to put two tuples together takes longer.
        # fmt: off
        event = _new(CallEvent, (
            key, time, _RUNNING, "loop", 1, None, None, None, number, call,
            (), (), (), None, False, None, 0, None, None,
        ))
        # fmt: on
        announcer.tell("call_admitted", event)
        announcer.tell("call_started", event)

    def tell_completed(self, slot: Slot[Any], value: object) -> None:
        """Tell that a call of the loop has completed.

        Args:
            slot: of the call, settled; it was not tried again.
            value: what it has returned.
        """
        call = self._of_calls.pop(slot, 0)
        announcer = self._announcer
        if announcer.listeners["call_finished"]:
            call = call or next(self._fresh)
            if not announcer.wants_values:
                value = None
            # fmt: off
            event = _new(CallEvent, (
                slot.key, self._now(), _COMPLETED, "loop", 1, None, None, None, self.number, call,
                (), (), (), None, False, None, 0, None, value,
            ))
            # fmt: on
            announcer.tell("call_finished", event)

    def tell_retrying(self, slot: Slot[Any], place: str, error: Exception, delay: float) -> None:
        """The same of an attempt that has failed, and that another one will follow.

        Args:
            slot: the call's slot, running.
            place: where the body runs.
            error: what this attempt has failed with.
            delay: the seconds until the next one.
        """
        if self._announcer.listeners["call_retrying"]:
            event = CallEvent(
                slot.key,
                self._now(),
                slot.state,
                place,
                slot.attempt,
                error=error,
                run=self.number,
                call=self._number_of(slot),
                delay=delay,
            )
            self._announcer.tell("call_retrying", event)

    def tell_submitted(self, slot: Slot[Any], call: Call, after: Collection[Slot[Any]]) -> None:
        """The same of a call that was checked in.

        Args:
            slot: the call's slot, pending.
            call: the call.
            after: what it waits for.
        """
        announcer = self._announcer
        prepares = announcer.listeners[PREPARES]
        if not (prepares or announcer.listeners["call_submitted"]):
            return
        number = self._of_calls[slot] = next(self._fresh)
        args = call.args if announcer.wants_values else None
        wishes, run = call.wishes, self.number
        if wishes is NO_WISHES and not after:  # the usual case
            place = "loop" if call.is_async else "thread"
            # fmt: off
            event = _new(CallEvent, (
                slot.key, self._now(), _PENDING, place, 1, None, None, None, run, number,
                (), (), (), self._submitter(), False, None, 0, args, None,
            ))
            # fmt: on
        else:
            event = CallEvent(
                slot.key,
                self._now(),
                _PENDING,
                call.place,
                run=run,
                call=number,
                after=tuple(one.key for one in after),
                limits=tuple(gate.name for gate in wishes.gates),
                tags=wishes.tags,
                parent=wishes.parent[0] if wishes.parent else self._submitter(),
                args=args,
                pulled=wishes.pulled,
                priority=wishes.priority or 0,  # the same zero always, which a writer leaves out
            )
        announcer.tell("call_submitted", event)
        if prepares and not slot.done:  # an instrument that was told of it may have cancelled it
            # One that is nobody else's: calls of one `map` may share theirs.
            call.context = call.context.copy()
            call.context.run(announcer.tell, PREPARES, event)

    def note_submitter(self, call: Call) -> None:
        """Remember who submits a call that is to be told of later, when others run.

        Args:
            call: the call; one that was noted stays as it is.
        """
        listeners = self._announcer.listeners
        hears = listeners["call_submitted"] or listeners[PREPARES]
        if hears and not call.wishes.parent:
            call.wishes = call.wishes._replace(parent=(self._submitter(),))

    def _number_of(self, slot: Slot[Any]) -> int:
        call = self._of_calls.get(slot)
        if call is None:
            call = self._of_calls[slot] = next(self._fresh)
        return call
