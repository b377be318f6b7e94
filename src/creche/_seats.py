"""The places of one run: opened when a call needs one, closed when no call is left.

What it is for: a call that is to run in a process or on a cluster has a ticket to the seat of that
place. The seat opens the place, once and when it is first needed, hands it one piece of work after
another, and admits no more of them at once than the place says it takes.

What it does not know: any place there is; those with a name are found by whoever makes the run.

Invariant: a place is entered at most once a run, in a task of its own that no cancellation of the run
reaches, and it is left after the last call has ended: whatever ends the run, there is a place to stop
work in as long as work goes on. Only an opening that nobody waits for any more is cut short.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from contextvars import copy_context
from types import TracebackType
from typing import Any, cast, final

from outcome import Error, Value

from ._backend import Backend, Event, Scope
from ._call import Call
from ._capture import split
from ._checks import check_count, name_call
from ._inputs import Keepsakes, work_of
from ._ki import protected
from ._lending import enter
from ._limits import Gate, Limit
from ._log import logger
from ._place import NO_OPTIONS, Place, PlaceFailed, SendingPlace, Ticket, check_place
from ._places import Places
from ._queue import Queue
from ._slot import Slot


@final
class Seat:
    """One place, as one run has it; what the place knows as its host."""

    def __init__(self, seats: Seats, place: Place, *, is_own: bool) -> None:
        """Make it; nothing is opened.

        Args:
            seats: of the run.
            place: which.
            is_own: whether all calls of the runner go there, so that the runner's own number of places
                is what it says it takes.
        """
        self.name = place.name
        self.is_inside = place.is_inside
        self.keepsakes = Keepsakes() if place.keeps_results else None
        self.gates: tuple[Gate, ...] = ()
        # The place, while it is open, if it takes calls that have no task.
        self.sender: SendingPlace | None = None
        self._runner_name = seats.runner_name
        self._backend = seats.backend
        self._seats: Seats | None = seats  # until it is closed
        self._place = place
        self._is_own = is_own
        # Calls that are carried out where they are submitted do not wait in the queue: they wait here.
        self._turns = None if seats.has_queue or place.is_inside else Places(place.capacity)
        if seats.has_queue and not (is_own or place.is_inside):
            # Also without a capacity: the place may come to have one, with calls waiting for it already.
            self.gates = (Gate(f"place {place.name!r}", Limit(place.capacity)),)
        self._open: Any = None  # an OpenPlace
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._opening: Scope | None = None
        self._has_ended = False
        self._opened: Event = seats.backend.make_event()
        self._closing: Event = seats.backend.make_event()

    # For the place ----------------------------------------------------------------------------------

    @property
    def runner_name(self) -> str:
        """Of the runner."""
        return self._runner_name

    @property
    def loop(self) -> str:
        """Which loop it is opened on."""
        return self._backend.name

    @property
    def has_waiting(self) -> bool:
        """Whether calls wait to be handed to this place; if others are there, perhaps those."""
        if self._seats is None:
            return False
        queue = self._seats.queue
        return len(queue) > 0 or bool(queue.sources)

    @protected
    def set_capacity(self, number: int | None) -> None:
        """Be handed so much work at once from now on.

        Raises:
            TypeError: the number is no whole number.
            ValueError: it is less than 1.
        """
        if number is not None:
            check_count("the capacity of a place", number, cure="None means no limit")
        seats = self._seats
        if seats is None:
            return  # it is closed, and nothing will be handed over any more
        if self._is_own:
            seats.set_workers(number)
            return
        if self._turns is not None:
            self._turns.resize(number)
        for gate in self.gates:
            gate.resize(sys.maxsize if number is None else number)
            seats.queue.look_at(gate)
            seats.fetch()

    # For the run ------------------------------------------------------------------------------------

    def ticket(self, call: Call, options: Mapping[str, Any] = NO_OPTIONS) -> Ticket:
        """Let a call run here.

        Args:
            call: as it was submitted; the slots among its arguments may be kept for it here.
            options: what the place is told of it; the place raises what it thinks of them.

        Returns:
            its ticket.
        """
        if options:
            self._place.check_options(options)
        keepsakes = None if self.keepsakes is None else self.keepsakes.wanted_by(call.args)
        ticket = Ticket(self, self.name, call.is_async, options)
        return ticket._replace(keepsakes=keepsakes) if keepsakes else ticket

    @protected
    async def run(self, slot: Slot[Any], call: Call, ticket: Ticket) -> Value[Any] | Error:
        """Have the body of a call run there; in its task, inside its scope.

        Args:
            slot: of the call.
            call: what was submitted.
            ticket: its ticket to this seat.

        Returns:
            what the place gives.

        Raises:
            PlaceFailed: the place has raised, or could not be opened.
        """
        try:
            place = self._open
            if place is None or self._error is not None:
                place = await self.open()
            came: Any
            work: Any
            try:
                work = work_of(slot, call, ticket, self.keepsakes)
            except Exception as exc:  # noqa: BLE001 - its arguments are the call's own affair
                return Error(exc)
            if self.is_inside:
                came = await place.run_inside(slot, work)
            elif self._turns is None:
                came = await place.run(work)
            else:
                await enter(self._backend, self._turns)
                try:
                    came = await place.run(work)
                finally:
                    self._turns.free()
            self._check(came)
        except BaseException as exc:
            cancellation, lost = split(exc, self._backend.cancelled)
            if isinstance(lost, Exception):
                raise PlaceFailed(lost, cancellation) from None
            raise
        else:
            if isinstance(came, Error) and not (self.is_inside or isinstance(came.error, Exception)):
                raise PlaceFailed(came.error)  # over there it may end what it likes, but not this run
            return cast("Value[Any] | Error", came)
        finally:
            came = cancellation = lost = place = work = None
            del self, slot, call, ticket  # what is raised leads back to this frame

    def _check(self, came: object) -> None:
        if not isinstance(came, (Value, Error)):
            msg = f"place {self.name!r} must give an outcome.Value or an outcome.Error, not {came!r}"
            raise TypeError(msg)

    @protected
    async def open(self) -> Any:  # noqa: ANN401 - an OpenPlace, or one of creche's own
        """Open the place, if it is not open, or wait until it is.

        Returns:
            the place, open.

        Raises:
            Exception: what its entry has raised, or what has closed it.
        """
        try:
            if self._opening is None:
                assert self._seats is not None, "no call is left when it is closed"
                self._opening = self._backend.open_scope(shield=True)
                self._seats.start_soon(self._serve)
            await self._opened.wait()
            if self._error is not None:
                # Else it would grow with each call.
                raise self._error.with_traceback(self._traceback)
            return self._open
        finally:
            del self  # what is raised leads back to this frame

    def whereabouts(self, key: Hashable) -> str | None:
        """Where exactly a call is, as the place tells, if it does; for people."""
        tell = getattr(self._open, "whereabouts", None)
        return None if tell is None else cast("str | None", tell(key))

    def close(self) -> None:
        """No call is left: the place is closed, or not opened any further."""
        self._closing.set()
        if self._opening is not None and not self._opened.is_set():
            self._opening.cancel()
        if self._opening is None or self._has_ended:
            self._let_go()

    @protected
    async def _serve(self, _: object) -> None:
        """The body of the task in which the place is open."""
        assert self._opening is not None
        try:
            with self._opening:
                async with self._place.open(self) as self._open:
                    if isinstance(self._open, SendingPlace) and self._turns is None:
                        self.sender = self._open
                    self._opened.set()
                    await self._closing.wait()
        except BaseException as exc:
            self._note(split(exc, self._backend.cancelled)[1])
            if isinstance(exc, self._backend.cancelled):
                raise  # of asyncio's own: it ends this task
        finally:
            self.sender = None
            if self._error is None and not self._closing.is_set():
                msg = f"place {self.name!r} of runner {self.runner_name!r} has closed too early"
                self._error = RuntimeError(msg)
            self._opened.set()
            self._has_ended = True
            if self._closing.is_set():
                self._let_go()
            del self  # what was raised leads back to this frame

    def _note(self, error: BaseException | None) -> None:
        """Something came out of the place, beside cancellation; while it was opened, open or closed."""
        seats = self._seats
        assert seats is not None
        if error is not None and not isinstance(error, Exception):
            seats.note_crash(error, f"place {self.name!r}")
        elif error is not None and self._closing.is_set():
            logger.error(
                "place %r of runner %r failed to close", self.name, self.runner_name, exc_info=error
            )
        elif error is not None:
            self._error, self._traceback = error, error.__traceback__
            if self._opened.is_set():  # whoever asks for it is told, but perhaps nobody does
                logger.error(
                    "place %r of runner %r has closed too early",
                    self.name,
                    self.runner_name,
                    exc_info=error,
                )

    def _let_go(self) -> None:
        """It is closed for good: an error of the place's leads here, and must not lead to the run."""
        self._seats = self._open = self._error = self._traceback = None


@final
class Seats:
    """All the seats of one run."""

    def __init__(
        self,
        runner_name: str,
        backend: Backend,
        queue: Queue,
        place_named: Callable[[str], Place],
        *,
        has_queue: bool,
        set_workers: Callable[[int | None], object],
        fetch: Callable[[], object],
        start_soon: Callable[..., object],
        note_crash: Callable[[BaseException, str], object],
    ) -> None:
        """Make them; none is there yet.

        Args:
            runner_name: of the runner.
            backend: the loop.
            queue: of the run.
            place_named: makes a place for a name of those that there are.
            has_queue: whether all calls wait in the queue until they may start.
            set_workers: sets how many calls run at once.
            fetch: told that something came free.
            start_soon: starts a task of the run's.
            note_crash: told what comes out of a place that is no `Exception`, and of which.
        """
        self.runner_name = runner_name
        self.backend = backend
        self.queue = queue
        self.has_queue = has_queue
        self.set_workers = set_workers
        self.fetch = fetch
        self.note_crash = note_crash
        self._place_named = place_named
        self._start_soon = start_soon
        self._context = copy_context()
        self._by_place: list[tuple[Place, Seat]] = []
        self._by_name: dict[str, Seat] = {}

    def start_soon(self, fn: Callable[..., Any]) -> None:
        """Start the task of a seat; in the context of whoever started the run."""
        self._start_soon(self._context, fn, None, "creche place")

    def take(self, place: Place, *, is_own: bool = False) -> Seat:
        """The seat of a place; that of an equal one, if there is one.

        Args:
            place: which.
            is_own: whether all calls of the runner go there; found by the name of the place, too.

        Returns:
            the seat.

        Raises:
            TypeError: it has no name, or its capacity is no whole number.
            ValueError: its capacity is less than 1.
        """
        for other, seat in self._by_place:
            if other is place or other == place:
                return seat
        _check_place(place)
        seat = Seat(self, place, is_own=is_own)
        self._by_place.append((place, seat))
        if is_own:
            self._by_name[place.name] = seat
        return seat

    def find(self, key: Hashable, place: object) -> Seat:
        """The seat that is meant by what `submit` was given.

        Args:
            key: of the call.
            place: what it was given, neither the loop nor a thread for a plain function.

        Returns:
            the seat.

        Raises:
            TypeError: it is no place, or one without a name or with a capacity that is no number.
            ValueError: there is no place of that name, or its capacity is less than 1.
            ImportError: what the place needs is not installed.
        """
        if isinstance(place, Place):
            return self.take(place)
        if isinstance(place, str) and place in self._by_name:
            return self._by_name[place]
        check_place(place, name_call(key))
        name = cast("str", place)
        seat = self._by_name[name] = self.take(self._place_named(name))
        return seat

    def whereabouts(self, slot: Slot[Any]) -> str | None:
        """Where exactly a call is in its place, for people; `None` if that is not known."""
        told = (seat.whereabouts(slot.key) for _, seat in list(self._by_place))
        return next((where for where in told if where is not None), None)

    def close(self) -> None:
        """No call is left: all of them are closed."""
        for _, seat in self._by_place:
            seat.close()


def _check_place(place: Place) -> None:
    name = getattr(place, "name", None)
    if not isinstance(name, str):
        msg = f"a place must have a name, which is a string; that of {place!r} is {name!r}"
        raise TypeError(msg)
    if place.capacity is not None:
        check_count(f"the capacity of place {name!r}", place.capacity, cure="None means no limit")
