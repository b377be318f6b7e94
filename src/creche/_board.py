"""The board: which slot hangs under which key, and what happens when one settles.

What it is for: claiming keys, looking them up, keeping or forgetting settled slots, counting them.
`settle` here is what calls `Slot.settle`, so that counting, telling and retention follow every
settling, whoever asked for it; only a draft, which was never here, is done with on the quiet.

What it does not know: loops, carriers, the order in which calls run.

Invariant: a key is on the board at most once, and an open slot never leaves it, unless another call
takes its key: then it is kept aside until it settles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, final

from ._announce import Announcer
from ._call import Call, name_of
from ._errors import KeyTaken, NotSettled, UnknownKey
from ._fresh_keys import FreshKeys
from ._home import Carrying, Home
from ._ki import protected
from ._slot import Slot
from ._spelling import spell
from ._states import Origin, State
from ._telling import Teller
from ._unread import Unread

_COMPLETED = State.COMPLETED  # read at each call: an attribute of an Enum takes longer


@final
class Board:
    """The slots of one run.

    Attributes:
        slots: every slot by its key, in the order of claiming.
        announcer: who is told.
        home: of the slots.
        counts: how many calls have ended in each final state, forgotten ones included.
        claimed: how many keys were ever claimed.
        reserved: how many of them are reserved, and not filled or settled yet.
        running: how many calls are running.
        is_telling: whether the end of a call is being told of, and what follows from it must wait.
        when_told: called when it has been.
        unread: the failures that nobody has read.
        retains: whether settled slots stay.
        number: of the run, in this process.
        tell: hands an event of a call to the instruments; see `Teller.tell`.
        tell_begun: the same for the first two of a call of the loop; see there. `tell_claimed`: for one
            that was checked in; see `Teller.tell_submitted`.
        tell_retrying: the same of an attempt that another one will follow.
        aside: open slots whose key is another call's by now.
        free_key: makes a key from a name; `fresh_key`: one with a number in any case; see `FreshKeys`.
    """

    def __init__(
        self,
        home: Home,
        announcer: Announcer,
        now: Callable[[], float],
        *,
        retain: bool,
        submitter: Callable[[], tuple[int, Hashable] | None] = lambda: None,
    ) -> None:
        self.slots: dict[Hashable, Slot[Any]] = {}
        self.announcer = announcer
        self.counts: dict[State, int] = {state: 0 for state in State if state.final}
        self.claimed = 0
        self.reserved = 0
        self.running = 0
        self.is_telling = False
        self.when_told: Callable[[], object] = lambda: None
        self.unread = Unread()
        self.home: Home = home
        self._teller = Teller(announcer, now, submitter)
        self.number = self._teller.number
        self.tell = self._teller.tell
        self.tell_begun = self._teller.tell_begun
        self.tell_claimed = self._teller.tell_submitted
        self.tell_retrying = self._teller.tell_retrying
        self.note_submitter = self._teller.note_submitter
        self.retains = retain
        fresh = FreshKeys(self.slots)
        self.free_key, self.fresh_key = fresh.free, fresh.fresh
        self.aside: dict[Slot[Any], None] = {}

    def claim(
        self,
        key: Hashable,
        call: Call | None,
        title: str | None = None,
        after: Collection[Slot[Any]] = (),
    ) -> Slot[Any]:
        """Hang a new slot under a key, or give a reserved one its call.

        Args:
            key: the key; `None` for a fresh one.
            call: the call; `None` to reserve the key only.
            title: what a fresh key is made from; `None` for the name of the call.
            after: what it waits for; to be told of.

        Returns:
            the slot, pending.

        Raises:
            KeyTaken: the key is there already.
            TypeError: the key cannot be hashed, or is a slot.
        """
        if key is None:
            key = self.fresh_key(title or ("reserved" if call is None else name_of(call.fn)))
        slot = self.look_up(key)
        if slot is None:
            slot = self.hang(Slot(key, self.home, call))
        elif call is not None and slot.reserved:
            self.fill(slot, call)
        else:
            raise KeyTaken(key, slot.state.name, joinable=call is not None)
        if call is not None and self.announcer.hears:
            self.tell_claimed(slot, call, after)
        return slot

    def draft(self, key: Hashable, call: Call, title: str | None = None) -> Slot[Any]:
        """Make a slot that does not hang here yet; see `hang`.

        Args:
            key: the key; `None` for one that is free now.
            call: the call.
            title: what a free key is made from; `None` for the name of the call.

        Returns:
            the slot, pending.
        """
        if key is None:
            key = self.fresh_key(name_of(call.fn)) if title is None else self.free_key(title)
        if self.announcer.hears:
            self.note_submitter(call)
        return Slot(key, self.home, call)

    @protected
    def hang(self, slot: Slot[Any]) -> Slot[Any]:
        """Hang a slot under its key, which is free.

        Args:
            slot: new, or a draft.

        Returns:
            the slot.
        """
        self.slots[slot.key] = slot
        self.claimed += 1
        self.reserved += slot.reserved
        return slot

    @protected
    def fill(self, slot: Slot[Any], call: Call) -> Slot[Any]:
        """Give a reserved slot its call.

        Args:
            slot: reserved.
            call: the call.

        Returns:
            the slot.
        """
        slot.fill(call)
        self.reserved -= 1
        return slot

    def tell_submitted(self, slot: Slot[Any]) -> None:
        """Tell of a draft that hangs here now."""
        call = slot.pending_call
        if call is not None and self.announcer.hears:
            self.tell_claimed(slot, call, ())

    def void(self, slot: Slot[Any]) -> None:
        """Be done with a draft that will not hang here: whoever comes upon it passes over it."""
        slot.settle(State.CANCELLED, ("cancel", "it was not submitted"))

    def look_up(self, key: Hashable) -> Slot[Any] | None:
        """The slot under a key, if there is one.

        Args:
            key: any key.

        Returns:
            the slot, or `None`.

        Raises:
            TypeError: the key cannot be hashed, or is a slot.
        """
        if isinstance(key, Slot):
            msg = f"a slot cannot be a key: {spell(key)}; submit under a key of your own"
            raise TypeError(msg)
        try:
            return self.slots.get(key)
        except TypeError:
            msg = (
                f"a key must be hashable, not {type(key).__name__} {spell(key)}; use a string or a tuple"
            )
            raise TypeError(msg) from None

    def find(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        """The slot that is meant by a key, or by the slot itself.

        Args:
            key: a key that is on the board, or a handle.

        Returns:
            the slot; a handle goes on working when its key has left the board.

        Raises:
            UnknownKey: no slot is under this key.
            TypeError: the key cannot be hashed.
        """
        if isinstance(key, Slot):
            return key
        slot = self.look_up(key)
        if slot is None:
            raise UnknownKey(key)
        return slot

    @protected
    def begin(self, slot: Slot[Any], carrying: Carrying) -> None:
        """A pending call is being carried out from now on.

        Args:
            slot: its slot.
            carrying: who carries it out.
        """
        slot.begin(carrying)
        self.running += 1

    def settle(self, slot: Slot[Any], state: State, payload: object) -> None:
        """Settle a slot, and do what follows from it: count, remember, tell, call back.

        Args:
            slot: an open slot of this board.
            state: how its call ended.
            payload: the value, the exception, or origin and reason.
        """
        place = slot.place
        if place is not None and self.announcer.hears:
            callbacks = self._write_and_tell(slot, state, payload, place)
        else:
            callbacks = self._write(slot, state, payload)
        for fn in callbacks:
            self.announcer.call_back(fn, slot)

    @protected
    def follow_up(self, slot: Slot[Any], callbacks: Iterable[Callable[[Any], object]] | None) -> None:
        """Do what follows from the end of a call, after it was counted, while nobody listens.

        Args:
            slot: settled just now.
            callbacks: what `Slot.end` gave.
        """
        if not self.retains:
            self.discard(slot)
        if self.aside:
            self.aside.pop(slot, None)
        for fn in callbacks or ():
            self.announcer.call_back(fn, slot)

    def _write_and_tell(
        self,
        slot: Slot[Any],
        state: State,
        payload: object,
        place: str,
    ) -> list[Callable[[Any], object]]:
        """The same, and tell of it before what follows from it is told."""
        outermost, self.is_telling = not self.is_telling, True
        try:
            callbacks = self._write(slot, state, payload)
            self.tell("call_finished", slot, place)
        finally:
            self.is_telling = not outermost
        if outermost:
            self.when_told()
        return callbacks

    @protected
    def complete_and_tell(self, slot: Slot[Any], value: object) -> None:
        """As `settle`, for a call of the loop that has returned, and that was told of.

        Args:
            slot: running; it is not tried again.
            value: what the call has returned.
        """
        callbacks = slot.end(_COMPLETED, value)
        self.counts[_COMPLETED] += 1
        self.running -= 1
        if not self.retains:
            self.discard(slot)  # one that is kept aside was cancelled, and ends another way
        # What follows from a completion is that others may start, and that is told of later.
        self._teller.tell_completed(slot, value)
        for fn in callbacks or ():
            self.announcer.call_back(fn, slot)

    @protected
    def _write(self, slot: Slot[Any], state: State, payload: object) -> list[Callable[[Any], object]]:
        """Settle and count, which Ctrl-C must not come between; the done callbacks to call."""
        before, reserved = slot.state, slot.reserved
        if state is State.FAILED or (state is State.CRASHED and isinstance(payload, Exception)):
            # Of the latter, which a place has lost, nobody hears otherwise: it does not end the run.
            # First: a reader in another thread may see it, and say so, before `settle` returns.
            self.unread.remember(slot, keep=self.retains)
        callbacks = slot.settle(state, payload)
        self.counts[state] += 1
        if before is State.RUNNING:
            self.running -= 1
        elif reserved:
            self.reserved -= 1
        if not self.retains:
            self.discard(slot)
        if self.aside:
            self.aside.pop(slot, None)
        return callbacks

    def cancel(self, slot: Slot[Any], origin: Origin, reason: str) -> None:
        """Settle a pending or reserved slot as cancelled.

        Args:
            slot: an open slot whose call is not running.
            origin: where the cancellation comes from.
            reason: why, as a sentence.
        """
        self.settle(slot, State.CANCELLED, (origin, reason))

    @protected
    def remove(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        """Take a settled slot off the board.

        Args:
            key: a key, or a handle.

        Returns:
            the slot, which goes on working.

        Raises:
            UnknownKey: no slot is under this key.
            NotSettled: its call has not ended.
            TypeError: the key cannot be hashed.
        """
        slot = self.find(key)
        if self.slots.get(slot.key) is not slot:
            raise UnknownKey(slot.key, "it has been forgotten already")
        if not slot.done:
            msg = (
                f"call {spell(slot.key)} is {slot.state.name}; only a settled one can leave the board: "
                f"wait for it, or cancel it, first"
            )
            raise NotSettled(msg)
        del self.slots[slot.key]
        slot.mark_read()
        return slot

    def discard(self, slot: Slot[Any]) -> None:
        """Take a slot that was read off the board, if it is still there."""
        key = slot.key
        if self.slots.get(key) is slot:
            del self.slots[key]

    def set_aside(self, slot: Slot[Any]) -> None:
        """Free the key of a slot for another call; an open one stays with the run until it settles."""
        self.discard(slot)
        if slot.done:
            slot.mark_read()
        else:
            self.aside[slot] = None

    def open_slots(self) -> list[Slot[Any]]:
        """Every slot that is not settled, in the order of claiming."""
        if self.claimed == sum(self.counts.values()):
            return []
        return [slot for slot in (*self.aside, *self.slots.values()) if not slot.done]

    def lose_reservations(self, why: str) -> None:
        """Settle what is reserved and was never filled.

        Args:
            why: the run does not wait for it any longer, as a sentence.
        """
        if self.reserved:
            reserved = [slot for slot in list(self.slots.values()) if slot.reserved]
            # Asked again for each: the callback of one may have settled the next.
            for slot in (slot for slot in reserved if not slot.done):
                self.cancel(slot, "lost", f"nothing was submitted under it, and {why}")
