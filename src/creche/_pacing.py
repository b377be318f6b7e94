"""What wakes the queue of a run when nothing in the run does: the clock, and limiter objects.

What it is for: a call that waits for its rate can start when time has passed; one that waits for a
limiter object, when other code gives a token back. A limiter tells nobody of that: one task stands in
its line for all the calls.

What it does not know: which call starts then; it has the queue asked again.

Invariant: there is at most one task for the clock, and one for each limiter object, and none that
nothing waits for. A token that no call takes at once is given back.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, final

from ._backend import Backend, Nursery, Scope
from ._halting import Halting
from ._ki import protected
from ._limits import Gate
from ._parking import Parking
from ._queue import Queue

_TASK_NAME = "creche pacer"


@final
class Pacer(Parking):
    """Has the queue of one run asked again. Its task for the clock parks until the time is another."""

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        queue: Queue,
        halting: Halting,
        fetch: Callable[[], object],
        when_through: Callable[[], object],
    ) -> None:
        super().__init__()
        self._backend = backend
        self._nursery = nursery
        self._queue = queue
        self._halting = halting
        self._fetch = fetch
        self._when_through = when_through
        self._until = math.inf
        self._sleeps = False
        self._has_limiters = any(gate.limiter is not None for gate in queue.gates.values())
        # The scope of each task in a line; `None` until it has begun.
        self._borrowing: dict[Gate, Scope | None] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether something may come yet that lets a call start."""
        return self._sleeps or bool(self._borrowing)

    def look(self) -> None:
        """The queue has nothing more for now: see to it that it is asked when it will have."""
        until, self._until = self._until, self._queue.wakes_at
        if self._until != until and self._parked:
            self._wake_all()
        elif self._until < math.inf and not self._sleeps:
            self._sleeps = True
            self._start(self._sleep, None)
        if self._has_limiters:
            self._stand_in_line(self._queue.asked())

    def _start(self, fn: Callable[[Any], Awaitable[None]], arg: object) -> None:
        """Start a task; also from a callback of the loop, where nothing of anyio's works by itself."""
        self._backend.start_soon(self._nursery, copy_context(), fn, arg, _TASK_NAME)

    def _stand_in_line(self, asked: list[Gate]) -> None:
        for gate in asked:
            if gate not in self._borrowing:
                self._borrowing[gate] = None
                self._start(self._borrow, gate)
        for gate, scope in self._borrowing.items():
            if gate not in asked and scope is not None:
                scope.cancel()

    # The clock -------------------------------------------------------------------------------------

    @protected
    async def _sleep(self, _: None) -> None:
        backend = self._backend
        try:
            while self._until < math.inf:
                with backend.open_scope(deadline=self._until):
                    await backend.park(self)
                if backend.current_time() >= self._until:
                    self._fetch()
        except BaseException:
            self._halting.note_cancelled()
            raise
        finally:
            self._sleeps = False
            self._when_through()

    # Limiter objects -------------------------------------------------------------------------------

    @protected
    async def _borrow(self, gate: Gate) -> None:
        limiter, token = gate.limiter, object()
        assert limiter is not None
        try:
            self._borrowing[gate] = scope = self._backend.open_scope()
            with scope:
                if gate in self._queue.asked():  # else it was cancelled meanwhile
                    await limiter.acquire_on_behalf_of(token)
                    gate.spare = token
                    self._queue.look_at(gate)
        except BaseException:
            # Before the queue is asked again: it would send another task into the line.
            self._halting.note_cancelled()
            raise
        finally:
            del self._borrowing[gate]
            self._fetch()
            if gate.spare is token:
                gate.spare = None
                limiter.release_on_behalf_of(token)
            self._when_through()
