"""Async functions in threads, each with an event loop of its own there.

What it is for: `place="thread"` means the same for async functions as for plain ones: what they do
between two awaits blocks nobody. The loop over there is of the same kind as that of the run.

What it does not know: slots' states, admission; how threads are kept.

Invariant: when `run_inside` has returned or raised, the thread has ended with the call. A cancellation
is handed on to the loop over there, and what comes back from it decides: a value is a value. Nothing
that cancels over there comes back: a loop's own exception for that is good on that loop alone.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, final

from outcome import Error, Value

from ._backend import Backend, Event
from ._backends import detect
from ._capture import split
from ._carrier import Carrier
from ._errors import StopCall
from ._lending import IN_THREAD, MAIN_TASK, callers_here
from ._place import Host, OpenPlace, Place, Work
from ._slot import Slot
from ._spelling import spell


@final
class ThreadLoops(Place):
    """The place of async functions that are to run in threads; how many of them is the run's affair."""

    name = "thread"
    is_inside = True

    def check_options(self, options: Mapping[str, Any]) -> None:
        """There are none.

        Raises:
            ValueError: always.
        """
        msg = f"a thread takes no place_options, so leave out {', '.join(map(repr, options))}"
        raise ValueError(msg)

    @asynccontextmanager
    async def open(self, host: Host) -> AsyncIterator[OpenThreadLoops]:
        """Nothing is to be opened."""
        del host
        yield OpenThreadLoops(detect())


@final
class OpenThreadLoops(OpenPlace):
    """That, while a run is open."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def run(self, work: Work) -> Value[Any] | Error:
        """Nobody asks: the slot is needed, too."""
        raise NotImplementedError  # pragma: no cover - see above

    async def run_inside(self, slot: Slot[Any], work: Work) -> Value[Any] | Error:
        """Run an async function in a thread; in the task of its call.

        Args:
            slot: of the call.
            work: the function and its arguments.

        Returns:
            what it returned or raised; `StopCall` if it was cancelled, by nobody here.
        """
        backend = self._backend
        await backend.checkpoint_if_cancelled()  # it can still be spared
        trip = _Trip(backend, work, (slot, callers_here(backend)))
        came: Value[Any] | Error | None = None
        try:
            try:
                async with backend.open_nursery() as nursery:
                    nursery.start_soon(trip.go, name="creche thread")
                    try:
                        await trip.ended.wait()
                    except BaseException:  # whatever it is: asyncio's own cancellation comes only once
                        trip.cancel()
                        raise
            except BaseException as exc:
                if trip.came is None or split(exc, backend.cancelled)[1] is not None:
                    raise
            came, trip.came = trip.came, None
            return came or Error(StopCall())
        finally:
            came = None
            del self, slot, work, trip  # what is raised leads back to this frame


@final
class _Trip:
    """One call on the loop of a thread; what hands a cancellation on to it.

    Attributes:
        came: what it returned or raised; `None` while it has not, and if it was cut.
        ended: set when the thread has come back.
    """

    def __init__(self, backend: Backend, work: Work, caller: tuple[Slot[Any], list[Carrier]]) -> None:
        self.came: Value[Any] | Error | None = None
        self.ended: Event = backend.make_event()
        self._backend = backend
        self._work: list[Work] = [work]
        self._name = f"creche {spell(work.key)}"
        self._caller = caller
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._cancel: Callable[[], object] | None = None

    async def go(self) -> None:
        """In a task beside the one that waits: have a thread carry it out, and wait for that."""
        try:
            guard = self._backend.open_scope(shield=True)
            await self._backend.run_in_thread(self._run, self._name, guard)
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """Hand a cancellation on to the loop of the thread."""
        with self._lock:
            self._is_cancelled = True
            cancel = self._cancel
        if cancel is not None:
            with suppress(RuntimeError):  # the loop has ended
                cancel()

    def _run(self) -> None:
        """In the thread."""
        context = self._work[0].context.copy()
        self._backend.leave_loop(context)
        begin = [self._main]

        async def main() -> None:
            await begin.pop()()  # frames of the loop's, which a traceback may hold, do not hold the call

        try:
            context.run(self._backend.run, main)
        except BaseException as exc:  # noqa: BLE001 - kept for whoever waits for it
            # Not of the call, which is caught below: asyncio lets what ends a program out of any task.
            # Where it says that the task was cancelled, what the call gave in it stands.
            if split(exc, self._backend.cancelled)[1] is not None:  # pragma: no cover - see above
                self.came = Error(exc)
        finally:
            del self, context  # an exception leads back to this frame

    async def _main(self) -> None:
        """On the loop of the thread. It gives nothing: what is left of that loop would keep it."""
        backend, work = self._backend, self._work.pop()
        # Here, and not before: what else goes on on that loop does not belong to the call.
        IN_THREAD.set(self._caller)
        MAIN_TASK.set(backend.current_task())
        scope = backend.open_scope()
        with self._lock:
            self._cancel = partial(backend.poster(), scope.cancel)
            is_cancelled = self._is_cancelled
        if is_cancelled:
            scope.cancel()
        rest: BaseException | None = None
        try:
            with scope:
                self.came = Value(await work.fn(*work.args))
        except BaseException as exc:  # noqa: BLE001 - handed over, whatever it is
            # And a thread that this code has started, and that was to stop, says so.
            rest = split(exc, (backend.cancelled, StopCall))[1]
            self.came = None if rest is None else Error(rest)
        finally:
            with self._lock:
                self._cancel = None
            IN_THREAD.set(None)
            MAIN_TASK.set(None)
            del self, work, scope, rest
