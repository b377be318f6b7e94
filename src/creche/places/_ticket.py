"""A call on its way to a worker process and back.

What it is for: a task parks on it until the call is answered, lost, or wanted back. Or none does: then
it is put beside others that have ended, for its owner to be told of.

What it does not know: workers, sockets, loops.

Invariant: it is settled at most once, with an answer or with a crash, and stays so.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, final

from creche._errors import CallCrashed, StopCall
from creche._far._frames import wrap
from creche._far._pickling import Part
from creche._parking import ParkingForOne

from ._answers import CANCELLED_THERE, open_answer


@final
class Ticket(ParkingForOne):
    """One call.

    Attributes:
        key: of the call.
        number: under which it is sent.
        pieces: what is sent.
        size: of that, in bytes.
        turn: those with a lower one go first; 0 for none.
        worker: which has it; `None` while none has.
        is_dropped: whether nobody wants it any more; it is passed over where it waits.
        is_to_stop: whether it was cancelled.
        owner: whose it is, if no task waits for it.
        pool: which tells of it then; `None` if a task waits.
        answer: that came; `None` while none has.
        crash: why none will; `None` while there is hope.
    """

    __slots__ = (
        "answer",
        "crash",
        "is_dropped",
        "is_to_stop",
        "key",
        "number",
        "owner",
        "pieces",
        "pool",
        "size",
        "turn",
        "worker",
    )

    def __init__(self, key: Hashable, number: int, parts: Sequence[Part], turn: int = 0) -> None:
        self._wake = None
        self.key = key
        self.turn = turn
        self.number = number
        self.pieces = pieces = wrap(number, 0.0, parts)
        self.size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        self.worker: Any = None  # a Worker, which is above
        self.is_dropped = self.is_to_stop = False
        self.owner: Any = None
        self.pool: Any = None  # a Pool, which is above
        self.answer: list[Part] | None = None
        self.crash: BaseException | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of it."""
        return self.answer is not None or self.crash is not None

    def settle(self, answer: list[Part] | None) -> None:
        """The answer has come, or (`None`) will not."""
        self.answer = answer
        self.worker = None
        self.pieces = []
        if self.pool is None:
            self._wake_up()
        else:
            self.pool.ended_alone.append(self)

    def lose(self, kind: str, detail: str, exit_code: int | None, cause: BaseException | None) -> None:
        """There will be no answer."""
        self.crash = CallCrashed(self.key, kind, detail, exit_code)
        self.crash.__cause__ = cause
        self.settle(None)

    def cancel(self) -> bool:
        """Have the call not run, or not any more; see `creche._place.Sent`."""
        if self.is_settled:
            return False
        self.is_to_stop = True
        return bool(self.pool.drop(self))

    def outcome(self) -> tuple[bool, Any] | None:
        """What became of the call; asked once, see `creche._place.Sent`."""
        if self.answer is None:
            if self.is_to_stop:
                return None
            assert self.crash is not None
            raise self.crash
        answer, self.answer = self.answer, []
        try:
            return open_answer(self.key, answer)
        except StopCall:
            if self.is_to_stop:
                return None
            raise
        except CallCrashed as crash:
            if self.is_to_stop and crash.kind == CANCELLED_THERE:
                return None
            raise
