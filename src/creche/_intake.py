"""The intake of a run: where calls are checked in, under keys, as long as it is open.

What it is for: refusing what comes too late, from the wrong thread, or would run after itself, before
anything is touched; then claiming the key, and sending the call on its way.

What it does not know: the order of closing, who carries calls out, flows.

Invariant: what is refused has left nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from contextvars import Context, copy_context
from functools import partial
from inspect import CO_COROUTINE
from threading import get_ident
from types import FunctionType
from typing import Any, final
from weakref import ref

from ._board import Board
from ._call import NO_WISHES, Call, Wishes, is_same_context, read_call
from ._carriers import Carriers
from ._dependencies import Dependencies, Ready, find_circle
from ._errors import RunnerClosed
from ._halting import Halting
from ._ki import protected
from ._options import OnCollision
from ._queue import Queue
from ._slot import Slot
from ._spelling import spell
from ._waiting_room import Applicant, WaitingRoom

# Of every call that is submitted where none is set. Nobody enters it, see `Call`.
_NO_VARIABLES = Context()


@final
class Intake:
    """The intake of one run; made on the thread of its loop.

    Attributes:
        is_open: whether it takes calls, unless the run is halted.
    """

    def __init__(
        self,
        name: str,
        board: Board,
        queue: Queue,
        dependencies: Dependencies,
        halting: Halting,
        carriers: Carriers,
        now: Callable[[], float],
        *,
        ageing: float | None,
        room: WaitingRoom | None,
        wishes: Callable[[Call], Wishes] | None,
    ) -> None:
        self.is_open = True
        self._name = name
        self._board = board
        self._hears = board.announcer.hears
        self._home = board.home
        self._queue = queue
        self._dependencies = dependencies
        self._halting = halting
        self._carriers = carriers
        self._now = now
        self._ageing = ageing
        self._room = room
        # Of calls that wish nothing themselves; `None` where that is nothing.
        self._wishes = wishes
        self._thread = get_ident()
        # That of the last call, as long as one waits in it.
        self._context: Callable[[], Context | None] = lambda: None

    @protected
    def claim(
        self,
        key: Hashable,
        call: Call | None,
        title: str | None = None,
        after: Sequence[Slot[Any]] = (),
    ) -> Slot[Any]:
        """Check a call in, or reserve its key, while the intake is open.

        Args:
            key: the key; `None` for a fresh one.
            call: the call; `None` to reserve the key only.
            title: what a fresh key is made from; `None` for the name of the call.
            after: what it waits for.

        Returns:
            the pending slot.

        Raises:
            RunnerClosed: the run takes no more calls.
            KeyTaken: the key is there already.
            TypeError: the key cannot be hashed.
        """
        self.check(key)
        return self._board.claim(key, call, title, after)

    def check(self, key: Hashable) -> None:
        """Refuse what comes too late, or from the wrong thread.

        Args:
            key: under which something was to be submitted.

        Raises:
            RunnerClosed: the run takes no more calls.
            RuntimeError: this is not the thread of the run's loop.
        """
        self.check_open(key)  # first: once the run is over, no thread is the wrong one
        self.check_thread(key)

    def check_open(self, key: Hashable) -> None:
        """Refuse what comes too late; from any thread.

        Args:
            key: under which something was to be submitted.

        Raises:
            RunnerClosed: the run takes no more calls.
        """
        if self._halting.halted is not None or not self.is_open:
            raise self._why_closed(key)

    def close(self) -> None:
        """Take no more calls; whoever waits to submit one is told so."""
        self.is_open = False
        self.turn_away()

    def turn_away(self) -> None:
        """Nobody waits to submit any longer: it is closed, or the run is halted."""
        if self._room is None or not self._room.turn_away(self._why_closed):
            return
        if self._halting.halted is None:
            self._carriers.fetch()  # what was kept for them may let others start

    def _why_closed(self, key: Hashable) -> RunnerClosed:
        halted = self._halting.halted
        if halted is not None:
            error = RunnerClosed(f"cannot submit {spell(key)}: the runner is closing ({halted.reason})")
            error._halt = halted  # noqa: SLF001 - for `_exit`, which drops what only follows from it
            return error
        return RunnerClosed(
            f"cannot submit {spell(key)}: the runner takes no more calls; start it again for "
            f"another run",
        )

    def check_thread(self, key: object) -> None:
        """Refuse what would touch the loop from another thread, before anything is touched.

        Args:
            key: of the call that is meant.

        Raises:
            RuntimeError: this is not the thread of the run's loop.
        """
        if get_ident() != self._thread:
            msg = (
                f"runner {self._name!r} lives on another thread's loop, and this thread must not touch "
                f"it (asked for {spell(key)}); submit by 'await runner.submit(...)' on another loop, by "
                f"runner.from_thread.submit(...) in a thread without one; for the rest go through that "
                f"loop: trio.from_thread, anyio.from_thread or asyncio.run_coroutine_threadsafe"
            )
            raise RuntimeError(msg)

    @protected
    def submit(
        self,
        key: Hashable,
        call: Call,
        after: Sequence[Slot[Any]] = (),
        *,
        any_end: Collection[Slot[Any]] = (),
        ready: Ready | None = None,
    ) -> Slot[Any]:
        """Check a call in, and let it wait for a carrier.

        Args:
            key: the key; `None` for a fresh one.
            call: the call.
            after: slots that must have settled before.
            any_end: those of them that may end in any way, and need not complete.
            ready: told when it may run; by default it waits for a place then.

        Returns:
            the slot, pending unless one of the others has failed already.

        Raises:
            RunnerClosed: the run takes no more calls.
            KeyTaken: the key is there already.
            TypeError: the key cannot be hashed.
            ValueError: it would run after itself.
        """
        if after:
            self._check_circle(key, after)
        slot = self.claim(key, call, None, after)
        ready = ready or self.enqueue
        if slot.done:
            return slot  # an instrument that was told of it has cancelled it
        if after:
            self._dependencies.hold(slot, call, after, ready, any_end)
        else:
            ready(slot, call)
        return slot

    @protected
    def submit_plain(  # noqa: C901, PLR0912 - the hot path
        self, key: Hashable, fn: object, args: tuple[object, ...]
    ) -> Slot[Any]:
        """Check a call in that wishes nothing: `submit` in one frame.

        Args:
            key: the key; `None` for a fresh one.
            fn: the call.
            args: its arguments.

        Returns:
            the slot, pending.

        Raises:
            RunnerClosed: the run takes no more calls.
            KeyTaken: the key is there already.
            TypeError: the key cannot be hashed, or the call not be called.
        """
        # Many that wait share one context, as long as nothing changes in it: each would be a sixth of
        # what they need.
        context = copy_context()
        if not context:
            context = _NO_VARIABLES
        elif (last := self._context()) is not None and is_same_context(context, last):
            context = last
        else:
            self._context = ref(context)
        if type(fn) is FunctionType and fn.__code__.co_flags & CO_COROUTINE:
            call = Call(fn, args, True, context)  # noqa: FBT003 - see there
        else:
            call = read_call(fn, args, context)
        if self._wishes is not None:
            call.wishes = self._wishes(call)
        board, queue = self._board, self._queue
        try:
            is_free = key is not None and key not in board.slots and type(key) is not Slot
        except TypeError:
            is_free = False  # it cannot be hashed: refused in its turn
        if not (
            is_free
            and self._halting.halted is None
            and self.is_open
            and get_ident() == self._thread
            and queue.is_simple
        ):
            return self.submit(key, call)
        slot = board.slots[key] = Slot(key, self._home, call)
        board.claimed += 1
        if self._hears:
            board.tell_claimed(slot, call, ())
            if slot.done:
                return slot  # an instrument that was told of it has cancelled it
            if not queue.is_simple:  # or has changed how many may run
                self.enqueue(slot, call)
                return slot
        places = queue.places
        if (
            not call.is_async
            and places is None
            and self._carriers.is_light
            and not queue.waiting
            and call.wishes is NO_WISHES
        ):
            self._carriers.send_at_once(slot, call)
            return slot
        call.queued = True
        queue.waiting.append(slot)
        if places is None or places.has_free:
            self._carriers.fetch()
        return slot

    @protected
    def check_in(self, title: str, call: Call, arrive: Callable[[Slot[Any]], object]) -> Slot[Any]:
        """Check a call in under a fresh key, in nobody's queue; only where nobody listens.

        Args:
            title: what the key is made from.
            call: the call.
            arrive: told of its slot when that settles.

        Returns:
            the slot, pending.

        Raises:
            RunnerClosed: the run takes no more calls.
        """
        if self._halting.halted is not None or not self.is_open:
            raise self._why_closed(title)
        board = self._board
        slots = board.slots
        key = board.fresh_key(title)
        slot = slots[key] = Slot(key, self._home, call)
        slot.attend(partial(arrive, slot))
        board.claimed += 1
        return slot

    def apply(
        self,
        key: Hashable,
        call: Call,
        on_collision: OnCollision,
        again: Callable[[], Slot[Any]] | None,
        *,
        title: str | None = None,
    ) -> Applicant:
        """Let a call that there may be no room for stand in the queue; it may start at once.

        Args:
            key: the key that it asks for; `None` for a fresh one.
            call: the call.
            on_collision: what to do when the key is taken by then.
            again: submits the call, if its key is another call's by then; `None` for a fresh one.
            title: what a fresh key is made from; `None` for the name of the call.

        Returns:
            the applicant, answered already if the call has started.
        """
        assert self._room is not None
        slot = self._board.draft(key, call, title)
        applicant = Applicant(self._room, key, call, slot, on_collision, again, title)
        self._room.take_in(applicant)
        self.enqueue(applicant.slot, call)
        return applicant

    def give_up(self, applicant: Applicant) -> None:
        """The submitter of an applicant does not wait any longer."""
        assert self._room is not None
        self._room.leave(applicant)
        self._carriers.fetch()  # what was kept for it may let another start

    def _check_circle(self, key: Hashable, after: Sequence[Slot[Any]]) -> None:
        there = None if key is None else self._board.look_up(key)
        # Only a reserved key can close one: any other that is there is taken. Nothing runs after what
        # nobody waits for; without this look a chain of reserved keys that is filled from its beginning
        # would be walked back at each step.
        closes = there is not None and there.reserved and there.is_awaited
        circle = find_circle(there, after) if there is not None and closes else ()
        if circle:
            chain = ", which is to run after ".join(spell(slot.key) for slot in circle)
            msg = f"call {spell(key)} cannot run after {chain}: that is a circle; leave one of them out"
            raise ValueError(msg)

    def enqueue(self, slot: Slot[Any], call: Call) -> None:
        """The call waits for nothing but a place from now on.

        Args:
            slot: its slot, pending.
            call: the call.
        """
        priority = call.wishes.priority
        if priority or self._ageing is not None:
            self._queue.push(slot, priority, self._now())
        else:
            self._queue.push(slot)
        self._carriers.fetch()
