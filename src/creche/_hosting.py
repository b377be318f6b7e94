"""One run of a runner, from the nursery's opening to the last slot's settling.

What it is for: a run is what `start()` begins. It puts the board, the queue and the carriers together
around a nursery, and knows the order of closing: stop the intake, drop what is pending, cancel, wait,
sweep; then it decides what comes out of ``async with``.

What it does not know: what `submit` means to a runner, retries, flows.

Invariant: when `close` is through, however it ends, every slot of the run is final.

What comes out of it in the end is decided in `_exit`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from types import MappingProxyType
from typing import Any, TypeVar, final

from ._announce import Announcer
from ._backend import Backend
from ._board import Board
from ._capture import leaves, split
from ._carriers import Carriers
from ._dependencies import Dependencies
from ._errors import UnknownKey
from ._events import RunnerEvent
from ._exit import log_unread, raise_what_is_due
from ._grace import Grace
from ._halting import SCOPE_CANCELLED, Guest, Halt, Halting
from ._intake import Intake
from ._ki import protected
from ._limits import open_gates
from ._options import Options
from ._performing import Performer
from ._queue import Queue
from ._slot import Slot
from ._states import Origin, State
from ._statistics import Statistics
from ._waiting import LoopHome
from ._waiting_room import room_for

T = TypeVar("T")


@final
class Run:
    """One run: opened by `open`, closed by `close`, readable ever after.

    Attributes:
        backend: the loop it runs on.
        board: its slots.
        queue: its pending calls that wait for a place.
        room: its submits that wait to be among those; `None` if none ever does.
        dependencies: its pending calls that wait for others.
        home: through which its slots are waited for.
        slots: a read-only view of the board.
        workers: how many calls may run at once; `None` for no limit.
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
    ) -> None:
        self.backend = backend
        self.home = LoopHome(backend)
        self._announcer = Announcer(options.instruments, self._note_crash)
        self.board = Board(
            self.home,
            self._announcer,
            backend.current_time,
            retain=options.retain,
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
        self._name = name
        self._options = options
        self.workers = workers
        self._threads = threads
        self.is_plain = self.room is None and options.ageing is None and not self._announcer.hears
        self._manager: AbstractAsyncContextManager[Any, bool | None] = backend.open_nursery()
        self._nursery: Any = None
        self._grace: Grace | None = None
        self._native = backend.native_cancels()

    @protected
    async def open(self) -> None:
        """Open the nursery. Not a checkpoint."""
        self._nursery = await self._manager.__aenter__()
        self.halting = Halting(self._nursery, self.board, self.queue, self.dependencies)
        if self._options.grace > 0:
            self._grace = Grace(self.backend, self.halting, self._options.grace)
            self.halting.when_cut = self._grace.end
            self._grace.watch_in(self._nursery)
        self.performer = Performer(
            self.backend,
            self.board,
            self.halting,
            threads=self._threads,
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
        )
        self.halting.when_halted = self.intake.turn_away

    @property
    def window(self) -> int | None:
        """How many calls of one `map` may be open at once; `None` for no limit."""
        return None if self.workers is None else self.workers + (self._options.max_pending or 0)

    def announce(self) -> None:
        """Tell the instruments that the run is open; by now somebody sees to its closing.

        Raises:
            BaseException: Ctrl-C or the like out of an instrument; the run has not begun then.
        """
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
        if slot.done:
            return False
        if slot.state is State.RUNNING:
            slot.cancel_body(origin, reason)
            return True
        call = slot.pending_call
        self.board.cancel(slot, origin, reason)
        if call is not None:
            self.queue.withdraw(call)
            self.dependencies.discard(slot)
            if self.room is not None or not self.queue.is_simple:
                self.carriers.fetch()  # what was kept for it may let another start
        return True

    @protected
    def set_workers(self, number: int | None) -> None:
        """Let so many calls run at once from now on."""
        self.workers = number
        self.carriers.resize(number)

    @protected
    def set_limit(self, name: str, size: int) -> None:
        """Let so many calls have a named limit at once from now on.

        Args:
            name: of the limit.
            size: checked already.

        Raises:
            ValueError: there is no such limit, or it is a limiter object.
        """
        (gate,) = self.queue.find_gates(None, [name])
        if gate.limiter is not None:
            msg = f"limit {name!r} is a limiter object, which others use, too; set its total_tokens"
            raise ValueError(msg)
        gate.resize(size)
        self.queue.look_at(gate)
        self.carriers.fetch()

    @protected
    async def call(self, slot: Slot[T]) -> T:
        """Wait for a call as for a function: cancelled, it cancels the call and waits for its end.

        Args:
            slot: a slot of this run.

        Returns:
            what the call returned.

        Raises:
            BaseException: what the call raised.
        """
        try:
            return await slot
        except BaseException:
            if not slot.done:
                self.cancel(slot, "cancel", "the code that called it was cancelled")
                with self.backend.open_scope(shield=True):
                    await slot.wait(None)
            raise
        finally:
            del slot  # a raised exception must not hold the slot that holds it

    def own(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        """The slot that is meant, if it is this run's.

        Args:
            key: a key, or a handle.

        Returns:
            the slot.

        Raises:
            UnknownKey: no slot is under the key, or the handle is open in another run.
            TypeError: the key cannot be hashed.
        """
        slot = self.board.find(key)
        if not slot.done and slot.home is not self.home:
            raise UnknownKey(slot.key, "this slot belongs to another runner; ask that one")
        return slot

    def open_count(self) -> int:
        """How many slots are not settled."""
        return self.board.claimed - sum(self.board.counts.values())

    def statistics(self) -> Statistics:
        """How the run stands, in numbers."""
        counts, running = self.board.counts, self.board.running
        reserved = self.board.reserved
        return Statistics(
            reserved=reserved,
            pending=self.open_count() - running - reserved,
            running=running,
            completed=counts[State.COMPLETED],
            failed=counts[State.FAILED],
            cancelled=counts[State.CANCELLED],
            crashed=counts[State.CRASHED],
            max_workers=self.workers,
            carriers=self.carriers.live,
            carriers_idle=self.carriers.idle,
            submitting=0 if self.room is None else len(self.room),
        )

    def is_innermost(self) -> bool:
        """Whether nothing that was opened inside this run, in the same task, is still open."""
        return self.backend.is_innermost(self._nursery)

    @protected
    async def close(self, exc: BaseException | None) -> bool:
        """Leave the run: wait for all calls, or cancel them when the body raised.

        Args:
            exc: what the body raised, if it did.

        Returns:
            whether `exc` is nothing but the run's own cancelling of its body, and must not come out.

        Raises:
            BaseException: what `_exit` finds due.
        """
        cut = self.halting.has_cancelled
        if exc is not None:
            self.halting.halt(*self._why_halt(exc))
        self.carriers.leave()
        came = [] if self._grace is None else await self._grace.wait()
        escaped: BaseException | None = None
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseException as caught:  # noqa: BLE001 - sorted below, and what is due is raised
            escaped = caught
        finally:
            self.intake.close()
            self._sweep()
            self.home.leave()
        self._tell("runner_closed")
        if came:
            escaped = BaseExceptionGroup("", came if escaped is None else [*came, escaped])
        try:
            raise_what_is_due(self.performer, self.backend.cancelled, exc, escaped)
        finally:
            del escaped, came
            log_unread(self._name, self.board)
        if exc is None and self.halting.halted is not None:
            # Calls were dropped because a scope around us was cancelled: that goes on outwards.
            await self.backend.checkpoint_if_cancelled()
        return (
            cut
            and exc is not None
            and split(exc, self.backend.cancelled)[1] is None
            and self.backend.current_effective_deadline() != -math.inf
            and self.backend.native_cancels() <= self._native
        )

    def _why_halt(self, exc: BaseException) -> tuple[Origin, str]:
        _, rest = split(exc, self.backend.cancelled)
        interrupt = next((one for one in leaves(exc) if isinstance(one, KeyboardInterrupt)), None)
        if self._grace is not None:
            # What the body makes of a cancellation does not end the grace of the calls.
            seen = self.halting.halted
            if seen is None and self.backend.current_effective_deadline() == -math.inf:
                seen = Halt("outer", SCOPE_CANCELLED)
            if seen is not None:
                if interrupt is not None and interrupt not in self.performer.crashes:
                    self._grace.end()  # the user has pressed the keys once more
                return seen
        if rest is None:
            return "outer", "the body of the runner was cancelled"
        if interrupt is not None:
            return "outer", "the body of the runner was interrupted"
        return "closed", f"the body of the runner raised {type(exc).__name__}"

    def _note_crash(self, exc: BaseException) -> None:
        """Code of the user's that we called raised Ctrl-C or the like: end the run, raise it then."""
        self.performer.note_crash(exc, "a callback or an instrument")

    def _give_up_reservations(self) -> None:
        """Nothing is left at the exit but calls that wait: what they wait for will not come."""
        self.board.lose_reservations("the run has ended")

    def _note_drained(self) -> None:
        self.intake.close()
        if self._grace is not None:
            self._grace.let_go()

    def _sweep(self) -> None:
        self._give_up_reservations()
        # Asked again for each: the callback of one may have settled the next.
        for slot in (slot for slot in self.board.open_slots() if not slot.done):
            self.board.cancel(slot, "lost", "it did not get to run, and the run has ended")

    def _tell(self, name: str) -> None:
        if self._announcer.hears:
            event = RunnerEvent(self._name, self.backend.current_time(), self.workers)
            self._announcer.tell(name, event)
