"""Guests of a run: what belongs to it and goes on in tasks that are not its own.

What it is for: the nursery neither waits for them nor cancels them. At the exit a task of the nursery
waits for them; a halt cancels them.

What it does not know: what they are; carriers, calls.

Invariant: once it holds the nursery open, that does not close before the last guest has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from ._backend import Backend, Event, Nursery
from ._halting import Guest, Halting
from ._ki import protected

_TASK_NAME = "creche host"


@final
class Guests:
    """The guests of one run.

    Attributes:
        are_awaited: whether the nursery is held open for them now.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        halting: Halting,
        when_gone: Callable[[], object],
    ) -> None:
        self.are_awaited = False
        self._backend = backend
        self._nursery = nursery
        self._halting = halting
        self._when_gone = when_gone
        self._departure: Event | None = None

    def add(self, guest: Guest) -> None:
        """One more; a halt cancels it."""
        self._halting.guests[guest] = None

    def remove(self, guest: Guest) -> None:
        """It has ended."""
        del self._halting.guests[guest]
        if self._departure is not None:
            self._departure.set()

    def hold_open(self) -> None:
        """Hold the nursery open as long as there are any."""
        if self._halting.guests and not self.are_awaited:
            self.are_awaited = True
            self._nursery.start_soon(self._wait, name=_TASK_NAME)

    @protected
    async def _wait(self) -> None:
        try:
            await self._until_gone()
        finally:
            if self._halting.guests:
                self._halting.note_cancelled()
                with self._backend.open_scope(shield=True):
                    await self._until_gone()
            self.are_awaited = False
            self._when_gone()

    async def _until_gone(self) -> None:
        while self._halting.guests:
            self._departure = self._backend.make_event()
            await self._departure.wait()
