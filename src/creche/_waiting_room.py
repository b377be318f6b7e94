"""The waiting room: submits that wait until fewer than `max_pending` calls wait for a place.

What it is for: a submit that finds no room has its call stand in the queue all the same, as an
applicant: its key is not claimed, and nobody is told of it. It is admitted in turn, as calls that were
admitted before leave the queue, or when the queue has it start. So what the queue knows of places,
priorities, limits and clocks goes for applicants too, and what starves no call starves no submitter.

What it does not know: how one waits for the answer; what a submit does beside claiming its key.

Invariant: an applicant is answered once, with a slot or an error, unless its submitter leaves first.
Until it has been admitted, its slot is on no board, and seen by nobody.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, final

from ._board import Board
from ._call import Call
from ._ki import protected
from ._options import OnCollision
from ._parking import ParkingForOne
from ._queue import Queue
from ._slot import Slot


@final
class Applicant(ParkingForOne):
    """A submit that waits for room; what its submitter parks on.

    Attributes:
        key: the key that it asks for; `None` for a fresh one.
        call: its call.
        title: what a fresh key is made from; `None` for the name of the call.
        slot: that of the call, if it is admitted; a reserved one, if that was filled.
        on_collision: what to do when the key is taken by then.
        again: submits the call, when its key was taken meanwhile; `None` for a fresh one.
        has_claimed: whether the slot is on the board, with the call.
    """

    __slots__ = (
        "_answer",
        "_room",
        "again",
        "call",
        "has_claimed",
        "key",
        "on_collision",
        "slot",
        "title",
    )

    def __init__(
        self,
        room: WaitingRoom,
        key: Hashable,
        call: Call,
        slot: Slot[Any],
        on_collision: OnCollision,
        again: Callable[[], Slot[Any]] | None,
        title: str | None = None,
    ) -> None:
        super().__init__()
        self._room = room
        self.key = key
        self.title = title
        self.call = call
        self.slot = slot
        self.on_collision = on_collision
        self.again = again
        self.has_claimed = False
        self._answer: Slot[Any] | BaseException | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it waits no longer."""
        return self._answer is not None

    def reply(self, answer: Slot[Any] | BaseException) -> None:
        """Answer it, and wake whoever waits."""
        self._answer = answer
        self._wake_up()

    def answer(self) -> Slot[Any]:
        """The answer.

        Returns:
            the slot in which the outcome will land.

        Raises:
            BaseException: why there is none.
        """
        answer = self._answer
        assert answer is not None, self
        try:
            if isinstance(answer, Slot):
                return answer
            raise answer
        finally:
            del self, answer  # the traceback of the error leads back to this frame

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Let go: the submitter is cancelled, and its call must not start any more."""
        super().withdraw(wake)
        self._room.leave(self)


@final
class WaitingRoom:
    """The applicants of one run; only for one that has a `max_pending`.

    Attributes:
        max_pending: how many calls may wait for a place.
    """

    def __init__(self, board: Board, queue: Queue, max_pending: int) -> None:
        self.max_pending = max_pending
        self._board = board
        self._queue = queue
        # In the order of arrival; the first one leaves a plain dict slowly, see `_places`.
        self._applicants: OrderedDict[Slot[Any], Applicant] = OrderedDict()
        # Those whose key is another call's by now: what that means is for their submit to say.
        self._detours: deque[Applicant] = deque()
        # Those whose admission the instruments have not heard of yet.
        self._untold: deque[Slot[Any]] = deque()
        # The key of a call that is being replaced right now; in a list, since it may be any.
        self._replacing: list[Hashable] = []
        self._is_looking = False
        queue.judge = self.judge

    def __len__(self) -> int:
        """How many submits wait."""
        return len(self._applicants)

    @property
    def has_room(self) -> bool:
        """Whether a call may be submitted now; not while a submit waits, whose call is in the queue."""
        return len(self._queue) < self.max_pending

    @protected
    def take_in(self, applicant: Applicant) -> None:
        """A submit begins to wait; its call is about to be put into the queue."""
        self._applicants[applicant.slot] = applicant

    def judge(self, slot: Slot[Any]) -> Slot[Any] | None:
        """Admit the applicant of a slot, if there is one; for the queue, which is about to start it.

        Nothing of the user's is called from here; `look` sees to the rest.

        Args:
            slot: of a call in the queue.

        Returns:
            the slot that the call has on the board, where it keeps its turn; `None` when it does not
            start, since its key is another call's by now.
        """
        applicant = self._applicants.pop(slot, None)
        if applicant is None:
            return slot
        hung = self._hang(applicant)
        if hung is None:
            self._void(applicant)
            self._detours.append(applicant)
            return None
        if hung is not slot:
            self._queue.swap(slot, hung)
        self._untold.append(hung)
        applicant.slot = hung
        applicant.has_claimed = True
        applicant.reply(hung)
        return hung

    def _hang(self, applicant: Applicant) -> Slot[Any] | None:
        board, draft = self._board, applicant.slot
        there = board.look_up(draft.key)
        if applicant.key is None:
            return board.hang(draft if there is None else self._redraft(applicant))
        if draft.key in self._replacing:
            return None
        if there is None:
            return board.hang(draft)
        if there.reserved:
            return board.fill(there, applicant.call)
        if there.done and applicant.on_collision == "replace":
            board.set_aside(there)
            return board.hang(draft)
        return None

    def _redraft(self, applicant: Applicant) -> Slot[Any]:
        """A slot for an applicant, which does not hang yet; a fresh key is one that is free now."""
        return self._board.draft(applicant.key, applicant.call, applicant.title)

    @protected
    def look(self) -> bool:
        """Admit whom there is room for, and tell of those who were admitted.

        Returns:
            whether somebody has left the queue for that, who may have kept a limit from others.
        """
        has_left = False
        if self._is_looking:  # whoever does goes on until there is nothing more to do
            return has_left
        self._is_looking = True
        try:
            while True:
                if self._untold:
                    self._board.tell_submitted(self._untold.popleft())
                elif self._detours:
                    has_left = True
                    self._submit_again(self._detours.popleft())
                elif self._applicants and len(self._queue) - len(self) < self.max_pending:
                    self.judge(next(iter(self._applicants)))
                else:
                    return has_left
        finally:
            self._is_looking = False

    @contextmanager
    def keep(self, key: Hashable) -> Iterator[None]:
        """Keep a key, and the room of the call under it, for the one that takes its place right now.

        Args:
            key: of a call that is about to end, and of the one that is about to be submitted.
        """
        before, self._is_looking = self._is_looking, True
        self._replacing.append(key)
        try:
            yield
        finally:
            self._replacing.pop()
            self._is_looking = before

    @protected
    def leave(self, applicant: Applicant) -> None:
        """A submitter does not wait any longer: its call leaves the queue without a trace.

        Args:
            applicant: nothing happens if it has been admitted, or has left.
        """
        if self._applicants.pop(applicant.slot, None) is not None:
            self._void(applicant)

    @protected
    def turn_away(self, why: Callable[[Hashable], BaseException]) -> bool:
        """The intake is closed: nobody waits any longer.

        Args:
            why: the error for a key.

        Returns:
            whether somebody did.
        """
        did = bool(self._applicants)
        while self._applicants:
            applicant = next(iter(self._applicants.values()))
            self.leave(applicant)
            applicant.reply(why(applicant.key))
        return did

    def _void(self, applicant: Applicant) -> None:
        self._queue.withdraw(applicant.call)
        self._board.void(applicant.slot)
        self._queue.tidy(applicant.call)

    @staticmethod
    def _submit_again(applicant: Applicant) -> None:
        assert applicant.again is not None, applicant.key
        try:
            applicant.slot = applicant.again()
        except BaseException as exc:  # noqa: BLE001 - it is the submitter's
            applicant.reply(exc)
        else:
            applicant.has_claimed = True
            applicant.reply(applicant.slot)


def room_for(board: Board, queue: Queue, max_pending: int | None) -> WaitingRoom | None:
    """The waiting room of a run; `None` if nobody ever has to wait."""
    return None if max_pending is None else WaitingRoom(board, queue, max_pending)
