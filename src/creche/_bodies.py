"""The body of a call, run once: on the loop, in a thread, or elsewhere.

What it is for: whatever kind of call it is, and wherever it is to run, its body is run here, inside a
scope that somebody else has opened.

What it does not know: scopes, slots' states, what becomes of what comes out; how often a call is tried.

Invariant: a place in a thread that was taken for it is free again when its body has ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, cast, final

from outcome import Error, Value

from ._backend import Backend
from ._call import Call, close_unbegun, itself, run_in_context
from ._carrier import Carrier
from ._guards import ThreadGuards
from ._ki import await_openly
from ._lending import enter
from ._place import Ticket
from ._places import Places
from ._slot import Slot
from ._spelling import spell


@final
class Bodies:
    """Runs the bodies of the calls of one run.

    Attributes:
        threads: of the calls that have no place, how many may be in threads.
        guards: the plain calls that wait for threads in tasks.
    """

    def __init__(self, backend: Backend, threads: Places, guards: ThreadGuards) -> None:
        self.threads = threads
        self.guards = guards
        self._backend = backend

    async def run(
        self, slot: Slot[Any], call: Call, carrier: Carrier, *, in_own_task: bool
    ) -> Value[Any] | Error:
        """Run the body of a call of any kind; see `Performer.perform` for the arguments.

        Returns:
            what it gave; what an async one raises on the loop is raised.
        """
        try:
            ticket = call.wishes.ticket
            if ticket is not None:
                return await self.at_seat(slot, call, carrier, ticket)
            if not call.is_async:
                return await self.plain(slot, call, carrier, in_own_task=in_own_task)
            if in_own_task:
                return Value(await await_openly(call.fn, call.args))
            return Value(await self.in_context(call, call.fn, call.args))
        finally:
            del self, slot, call, carrier  # see Performer.perform

    def in_context(
        self, call: Call, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
    ) -> Awaitable[Any]:
        """Await what a function gives in the task of the submitter, in the context of the call."""
        return run_in_context(call.context, fn, args, self._backend.when_thrown)

    async def at_seat(
        self, slot: Slot[Any], call: Call, carrier: Carrier, ticket: Ticket
    ) -> Value[Any] | Error:
        """Have a call run elsewhere; one that does in a thread of its own counts among those."""
        try:
            is_counted = ticket.seat.is_inside and await self._take_thread(carrier)
            try:
                return cast("Value[Any] | Error", await ticket.seat.run(slot, call, ticket))
            finally:
                if is_counted:
                    carrier.vacate()
        finally:
            del self, slot, call, carrier, ticket  # see Performer.perform

    async def _take_thread(self, carrier: Carrier) -> bool:
        """Wait until there may be one more thread; False: the call has a place, and needs none of these.

        Of a limit that was lifted it has one that counts no more, and gives it back; one of a limit
        that was set while it waited here is kept.
        """
        if carrier.is_bounded:
            return False
        await enter(self._backend, self.threads)
        if carrier.is_bounded:
            self.threads.free()
            return False
        carrier.occupy(self.threads)
        return True

    async def plain(
        self,
        slot: Slot[Any],
        call: Call,
        carrier: Carrier,
        *,
        in_own_task: bool,
    ) -> Value[Any] | Error:
        """A plain call: in a thread, and if it gives an awaitable, that on the loop."""
        try:
            is_counted = await self._take_thread(carrier)
            try:
                came = await self.guards.in_thread(slot, call, carrier, in_own_task=in_own_task)
            finally:
                if is_counted:
                    carrier.vacate()
            if isinstance(came, Error) or not inspect.isawaitable(came.value):
                return came
            try:
                if in_own_task:
                    return Value(await await_openly(itself, (came.value,)))
                return Value(await self.in_context(call, itself, (came.value,)))
            finally:
                close_unbegun(came.value)  # Ctrl-C may have come before its first step
        finally:
            del self, slot, call, carrier  # see Performer.perform


def timed_out(key: Hashable, timeout: float) -> TimeoutError:
    """What a call fails with whose time has passed."""
    return TimeoutError(f"call {spell(key)} has not ended within its timeout of {timeout} seconds")
