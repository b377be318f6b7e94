"""The opening of a run: its parts, put together around a nursery.

What it is for: which part is made of which, what each is told by the others, and what of it goes on as
long as the run is open.

What it does not know: how a run is closed; what `submit` means to a runner, retries, flows.

Invariant: until `open` has returned nothing has begun; from then on somebody must see to the closing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from types import MappingProxyType
from typing import Any, TypeVar

from ._announce import Announcer
from ._backend import Backend
from ._board import Board
from ._call import Call, Wishes
from ._carriers import Carriers
from ._dependencies import Dependencies
from ._events import RunnerEvent
from ._grace import Grace
from ._halting import Guest, Halting
from ._intake import Intake
from ._ki import protected
from ._lending import submitter_here
from ._limits import open_gates
from ._lingering import Lingering
from ._live import LIVE
from ._options import Options
from ._performing import Performer
from ._place import Place
from ._queue import Queue
from ._rates import Rate
from ._seats import Seats
from ._slot import Slot
from ._states import Origin, State
from ._waiting import LoopHome
from ._waiting_room import room_for

T = TypeVar("T")

_RUNNING = State.RUNNING


class OpenRun:
    """One run, as far as its opening goes.

    Attributes:
        backend: the loop it runs on.
        board: its slots.
        queue: its pending calls that wait for a place.
        room: its submits that wait to be among those; `None` if none ever does.
        dependencies: its pending calls that wait for others.
        clock: tells the time of the loop, in any thread.
        home: through which its slots are waited for.
        seats: its places other than the loop and threads.
        place: where calls run that do not say; see `Options`.
        needs: the limits that every call needs.
        window: how many calls of one `map` may be open at once; `None` for no limit.
        slots: a read-only view of the board.
        workers: how many calls may run at once; `None` for no limit.
        instruments: who is told what happens.
        has_wishes: whether a call that wishes nothing has wishes all the same, those of its runner.
        lingering: warns of calls in threads that hold up the end.
        when_drained: called when no call runs or waits any more at the exit, and none will.
        is_announced: whether the instruments know of it: not if its place has failed to open.
        is_plain: whether a call that wishes nothing has nothing to be asked but whether its key is free.
    """

    halting: Halting
    performer: Performer
    carriers: Carriers
    intake: Intake

    def __init__(
        self,
        name: str,
        options: Options,
        backend: Backend,
        *,
        workers: int | None,
        threads: int,
        place_named: Callable[[str], Place],
        has_queue: bool = True,
    ) -> None:
        """Put it together, on the loop; nothing is opened.

        Args:
            name: of the runner.
            options: of the runner.
            backend: the loop.
            workers: how many calls may run at once; `None` for no limit.
            threads: how many of those that have no place may be in threads.
            place_named: makes a place for a name of those that there are.
            has_queue: whether all calls wait in the queue until they may start.
        """
        self.backend = backend
        self.home = LoopHome(backend)
        self.clock = backend.clock()
        self._announcer = Announcer(options.instruments, self._note_crash)
        self.board = Board(
            self.home,
            self._announcer,
            self.clock,
            retain=options.retain,
            submitter=self._submitter,
        )
        self.queue = Queue(
            workers,
            ageing=options.ageing,
            rate=options.rate,
            gates=open_gates(options.limits, backend.adopt_limiter),
        )
        self.room = room_for(self.board, self.queue, options.max_pending)
        self.dependencies = Dependencies(self.board, self)
        self.slots = MappingProxyType(self.board.slots)
        self.seats = Seats(
            name,
            backend,
            self.queue,
            place_named,
            has_queue=has_queue,
            set_workers=self._set_capacity,
            fetch=self._fetch,
            start_soon=self.start_soon,
            note_crash=self._note_crash_of,
        )
        self.needs = self.queue.find_gates(None, options.needs)
        if isinstance(options.place, Place):
            self.seats.take(options.place, is_own=True)
        self.place = options.place
        self.has_wishes = self.place is not None or bool(self.needs)
        self.when_drained: Callable[[], object] = lambda: None
        self.lingering = Lingering(name, self._in_threads)
        self.is_announced = False
        self._usual: dict[bool, Wishes] = {}
        self._name = self.home.runner_name = name
        self._options = options
        self.instruments = options.instruments
        self.workers = workers
        self.window: int | None = None
        self._widen(workers)
        self._threads = threads
        self.is_plain = (
            self.room is None
            and options.ageing is None
            and (options.place is None or isinstance(options.place, Place))
            and not self.needs
        )
        self._manager: AbstractAsyncContextManager[Any, bool | None] = backend.open_nursery()
        self._nursery: Any = None
        self._grace: Grace | None = None
        self._native = backend.native_cancels()

    @protected
    async def open(self) -> None:
        """Open the nursery. Not a checkpoint."""
        self._nursery = await self._manager.__aenter__()
        self.home.settle_in(self.backend)
        self.halting = Halting(
            self._nursery, self.board, self.queue, self.dependencies, self.backend.is_cut_from
        )
        if self._options.grace > 0:
            self._grace = Grace(self.backend, self.halting, self._options.grace)
            self.halting.when_cut = self._grace.end
            self._grace.watch_in(self._nursery)
        self.performer = Performer(
            self.backend,
            self.board,
            self.halting,
            threads=self._threads,
            abandons=self._options.abandon_on_cancel,
            cancel_on_failure=self._options.on_error == "cancel",
            grace=self._grace,
        )
        self.carriers = Carriers(
            self.backend,
            self._nursery,
            self.board,
            self.queue,
            self.halting,
            self.performer,
            self.room,
            when_drained=self._note_drained,
            when_stalled=self._give_up_reservations,
        )
        self.intake = Intake(
            self._name,
            self.board,
            self.queue,
            self.dependencies,
            self.halting,
            self.carriers,
            self.backend.current_time,
            ageing=self._options.ageing,
            room=self.room,
            wishes=self._usual_wishes if isinstance(self.place, Place) else None,
        )
        self.halting.when_halted = self._note_halted
        LIVE[self] = None

    @protected
    def _note_halted(self) -> None:
        self.intake.turn_away()
        self.lingering.watch()

    def _in_threads(self) -> list[Hashable]:
        """The calls whose threads are waited for, whatever becomes of the calls; from any thread."""
        if self.performer.guards.abandons:
            return []
        return [
            slot.key
            for slot in self.board.open_slots()
            if slot.state is State.RUNNING and slot.place == "thread"
        ]

    def is_wide(self, number: int) -> bool:
        """Whether so many calls of one `map` are as many as may be open at once."""
        return self.window is not None and number >= self.window

    def _usual_wishes(self, call: Call) -> Wishes:
        """What a call of a run with a place of its own wishes that says nothing: to run there."""
        assert isinstance(self.place, Place)
        usual = self._usual.get(call.is_async)
        if usual is None:
            seat = self.seats.take(self.place)
            usual = Wishes(math.inf, ticket=seat.ticket(call))
            if seat.keepsakes is None:  # else it depends on the arguments
                self._usual[call.is_async] = usual
        return usual

    def _widen(self, capacity: int | None) -> None:
        """So many calls are carried out at once: more than there are workers, if they are batched."""
        self.window = None if capacity is None else capacity + (self._options.max_pending or 0)

    async def open_place(self) -> None:
        """Open the place that all calls go to, if there is one; by now somebody sees to its closing.

        Raises:
            Exception: what its entry has raised.
        """
        if isinstance(self.place, Place):
            await self.seats.take(self.place).open()

    def announce(self) -> None:
        """Tell the instruments that the run is open; by now somebody sees to its closing.

        Raises:
            BaseException: Ctrl-C or the like out of an instrument; the run has not begun then.
        """
        self.is_announced = True
        self._tell("runner_started")
        if self.performer.crashes:
            raise self.performer.crashes[0]

    def hand_over(self, fn: Callable[[], object]) -> None:
        """From any thread: have a function called on the loop of this run, while that goes on."""
        self.home.hand_over(fn)

    def start_soon(
        self, context: Context, fn: Callable[[Any], Awaitable[Any]], arg: object, name: str
    ) -> None:
        """Start a task of this run's; on its loop, while it takes calls."""
        self.backend.start_soon(self._nursery, context, fn, arg, name)

    def hold_open(self, guest: Guest) -> None:
        """Let the exit wait for something that goes on outside the nursery."""
        self.carriers.hold_open(guest)

    def let_go(self, guest: Guest) -> None:
        """It has ended."""
        self.carriers.let_go(guest)

    @protected
    def cancel(self, slot: Slot[Any], origin: Origin, reason: str) -> bool:
        """Cancel a call: a pending one never starts, a running one is cancelled where it stands.

        Args:
            slot: the slot of the call.
            origin: where the cancellation comes from.
            reason: why, as a sentence.

        Returns:
            False when the call had ended already, and nothing was done.
        """
        if slot.state is _RUNNING:
            slot.work.cancel(origin, reason)  # type: ignore[union-attr]  # who carries it out
            return True
        if slot.done:
            return False
        call = slot.pending_call
        if call is not None:
            self.queue.withdraw(call)
        self.board.cancel(slot, origin, reason)
        if call is not None:
            self.queue.tidy(call)
            self.dependencies.discard(slot)
            if self.room is not None or not self.queue.is_simple:
                self.carriers.fetch()  # what was kept for it may let another start
        return True

    @protected
    def _set_capacity(self, number: int | None) -> None:
        """The place that all calls go to takes so many at once from now on."""
        self._widen(number)
        self.carriers.resize(number)

    @protected
    def set_workers(self, number: int | None) -> None:
        """Let so many calls run at once from now on."""
        if isinstance(self.place, Place):
            msg = (
                f"all calls of runner {self._name!r} run in place {self.place.name!r}, which has its "
                f"own number of workers; make another runner with another number"
            )
            raise RuntimeError(msg)  # noqa: TRY004 - it is about the runner, not about an argument
        self.workers = number
        self._set_capacity(number)

    def _note_crash_of(self, error: BaseException, what: str) -> None:
        self.performer.note_crash(error, what)

    def _note_crash(self, exc: BaseException) -> None:
        """Code of the user's that we called raised Ctrl-C or the like: end the run, raise it then."""
        self.performer.note_crash(exc, "a callback or an instrument")

    def _fetch(self) -> None:
        self.carriers.fetch()

    def _give_up_reservations(self) -> None:
        """Nothing is left at the exit but calls that wait: what they wait for will not come."""
        self.board.lose_reservations("the run has ended")

    def _note_drained(self) -> None:
        self.intake.close()
        self.seats.close()
        if self._grace is not None:
            self._grace.let_go()
        self.when_drained()

    def _tell(self, name: str) -> None:
        if self._announcer.hears:
            options = self._options
            event = RunnerEvent(
                self._name,
                self.backend.current_time(),
                self.workers,
                self.board.number,
                {one: gate.size for one, gate in self.queue.gates.items()},
                self.backend.name,
                options.rate,
                {one: limit.rate for one, limit in options.limits if isinstance(limit.rate, Rate)},
                options.ageing,
            )
            self._announcer.tell(name, event)

    def _submitter(self) -> tuple[int, Hashable] | None:
        """The run and the key of the call whose code runs here, if it was told of."""
        return submitter_here(self.backend)
