"""The worker processes of one run: their beginnings, their lives, their ends.

What it is for: each worker has a task here that waits for its end, and one that reads its answers.

What it does not know: which call is sent where; it says that something has changed.

Invariant: a process that was started has a task that waits for its end, and no cancellation reaches that
one. When the nursery has been left no process is there, and no descriptor.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Protocol, final

import anyio
from outcome import Error

from creche._backend import Backend, Nursery
from creche._errors import CallCrashed
from creche._far._frames import wrap
from creche._far._pickling import Part
from creche._ki import protected

from ._answers import unpack
from ._spawning import spawn, wait_for_end
from ._ticket import Ticket
from ._worker import Worker

GOODBYE = 3.0
"""Seconds that a worker has for ending by itself; then it is killed. Pulled out of the air."""

_IN_A_TURN = 12
"""Reads of a large answer before others have their turn: megabytes, and more than a socket holds."""

_DYING = 1.0  # seconds between the end of a worker's socket, and that of the worker


class Owner(Protocol):
    """Who sends calls to the workers."""

    def answered(self, worker: Worker, seconds: list[float]) -> None:
        """A worker has answered calls, which took so long, or is ready."""
        ...

    def ended(self, worker: Worker, back: list[Ticket]) -> None:
        """A worker has ended; these calls of its have not begun."""
        ...


@final
class Crew:
    """The workers of one run.

    Attributes:
        workers: those that may be given calls.
        starting: how many are not ready yet.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        owner: Owner,
        settings: Callable[[], list[Part]],
    ) -> None:
        self.workers: list[Worker] = []
        self.starting = 0
        self._backend = backend
        self._nursery = nursery
        self._owner = owner
        self._settings = settings
        self._context = copy_context()

    def start(self) -> Worker:
        """Start a worker; it may be given calls at once, which wait in its socket.

        Raises:
            OSError: the system does not let us.
        """
        settings = wrap(0, 0.0, self._settings())
        make = self._backend.make_event
        worker = Worker(spawn(), make(), make())
        self.workers.append(worker)
        self.starting += 1
        worker.send(settings, sum(map(len, settings)))
        self.write_rest(worker)
        # Not in the context of whoever has asked for one first.
        self._backend.start_soon(
            self._nursery, self._context, self._live, worker, "creche worker process"
        )
        return worker

    def retire(self, worker: Worker) -> None:
        """Let a worker without calls end; it is given none any more."""
        self.workers.remove(worker)
        worker.tell_to_end()
        self._begin(worker, self._see_off, worker, name="creche end of a worker")

    def kill(self, worker: Worker) -> None:
        """Kill a worker; it is given no calls any more."""
        self._strike_off(worker)
        worker.kill()

    def stop(self, worker: Worker, ticket: Ticket, grace: float) -> None:
        """Ask a worker to stop the call that it carries out, and kill it if that has not ended by then.

        It is given no calls until it has answered.

        Args:
            worker: the worker.
            ticket: the call.
            grace: seconds.
        """
        worker.is_barred = True
        worker.process.terminate()
        self._begin(worker, self._kill_after, worker, ticket, grace, name="creche grace of a call")

    @protected
    async def _kill_after(self, worker: Worker, ticket: Ticket, grace: float) -> None:
        await anyio.sleep(grace)
        if not ticket.is_settled:
            self.kill(worker)

    def close(self) -> None:
        """Let all of them end; the nursery waits for that."""
        for worker in list(self.workers):
            # One that is not ready may be in an initializer that never returns.
            if worker.flight or not worker.is_ready:
                self.kill(worker)
            else:
                self.retire(worker)

    def write_rest(self, worker: Worker) -> None:
        """See to it that what the socket did not take is sent."""
        if worker.out and not worker.is_writing:
            worker.is_writing = True
            self._begin(worker, self._write, worker, name="creche writing to a worker")

    def _begin(
        self, worker: Worker, fn: Callable[..., Awaitable[object]], *args: object, name: str
    ) -> None:
        """Start a task that ends with a worker, if that has not ended."""
        if worker.nursery is not None:
            worker.nursery.start_soon(fn, *args, name=name)
        elif worker.exit_code is None:
            worker.later.append(partial(self._begin, worker, fn, *args, name=name))

    @protected
    async def _write(self, worker: Worker) -> None:
        while worker.out:
            await anyio.wait_writable(worker.link)
            worker.push()
        worker.is_writing = False

    @protected
    async def _live(self, worker: Worker) -> None:
        with self._backend.open_scope(shield=True):
            async with self._backend.open_nursery() as nursery:
                worker.nursery = nursery
                nursery.start_soon(self._read, worker, name="creche reading from a worker")
                for begin in worker.later:
                    begin()
                worker.later.clear()
                worker.exit_code = await wait_for_end(worker.process)
                worker.nursery = None  # whoever would start more for it comes too late
                nursery.cancel_scope.cancel()
        self._bury(worker)

    @protected
    async def _see_off(self, worker: Worker) -> None:
        await anyio.sleep(GOODBYE)
        worker.kill()

    @protected
    async def _read(self, worker: Worker) -> None:
        await self._backend.while_readable(worker.link, partial(self.collect, worker))
        # Dead, most likely, and its end is near. If it lives on it is of no use.
        await anyio.sleep(GOODBYE if worker.is_ending else _DYING)
        self.kill(worker)

    @protected
    def collect(self, worker: Worker, *, all_of_them: bool = False) -> bool:
        """Take the answers that have come; False if no more will.

        Args:
            worker: from which.
            all_of_them: also those that are more than are taken in a turn of the loop.
        """
        inbox = worker.inbox
        try:
            is_open = inbox.receive()
            turns = _IN_A_TURN
            while is_open and (all_of_them or (inbox.is_filling and turns)):
                is_open = inbox.receive()
                turns -= 1
        except BlockingIOError:
            is_open = True
        if inbox.frames:
            self._settle(worker)
        return is_open

    def _settle(self, worker: Worker) -> None:
        frames = worker.inbox.frames
        took = []
        take_off = worker.flight.pop
        for number, seconds, parts in frames:
            ticket = take_off(number, None)
            if ticket is not None:
                took.append(seconds)
                ticket.settle(parts)
            elif not worker.started.is_set():
                self._greet(worker, parts)
        frames.clear()
        self._owner.answered(worker, took)

    def _greet(self, worker: Worker, parts: list[Part]) -> None:
        """It is ready, or its initializer has not let it be."""
        try:
            came = unpack("initializer", parts)
        except CallCrashed as crash:
            worker.failure = crash
        else:
            worker.failure = came.error if isinstance(came, Error) else None
        worker.is_ready = worker.failure is None
        if worker.failure is not None:
            self._strike_off(worker)
            worker.is_ending = True
        self._has_started(worker)

    def _has_started(self, worker: Worker) -> None:
        if not worker.started.is_set():
            self.starting -= 1
            worker.started.set()

    def _strike_off(self, worker: Worker) -> None:
        if worker in self.workers:
            self.workers.remove(worker)

    def _bury(self, worker: Worker) -> None:
        """Whatever it had said before its end counts."""
        while self._was_heard(worker):
            pass
        back = worker.take_back()
        detail = f"its worker process {worker.process.pid} {told(worker.exit_code)} in the midst of it"
        for ticket in list(worker.flight.values()):
            ticket.lose("worker-died", detail, worker.exit_code, None)
        worker.flight.clear()
        worker.close()
        self._strike_off(worker)
        self._has_started(worker)
        self._owner.ended(worker, back)
        worker.gone.set()

    def _was_heard(self, worker: Worker) -> bool:
        try:
            came = worker.inbox.receive()
        except BlockingIOError:  # somebody else has the other end as well
            came = False
        if worker.inbox.frames:
            self._settle(worker)
        return came


def told(code: int | None) -> str:
    """How a process has ended, for people.

    Args:
        code: its exit code.
    """
    if code is None or code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
