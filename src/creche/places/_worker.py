"""A worker process as its parent sees it.

What it is for: calls are sent to it, some ahead of time, and those that it has not begun are taken back.

What it does not know: the other workers, loops; who waits for a call.

Invariant: for each call in flight that has not begun there is one token in the pipe, in the order of
the calls. What the pipe does not hold has begun: all of it is answered, but for one call at most.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, final

from creche._far._frames import TOKEN, Inbox
from creche._far._pickling import Part
from creche._far._worker import END

from ._spawning import Spawned
from ._ticket import Ticket

_TOGETHER = 65_536
"""Bytes up to which pieces are joined before they are sent."""

_AT_ONCE = 1 << 20
_READ_MOST = 1 << 16


@final
class Worker:
    """One worker process, from outside.

    Attributes:
        process: itself.
        link: the socket.
        flight: the calls that were sent and are not answered, by number, in the order they were sent.
        given: how many calls it was given, without those taken back.
        is_ready: whether it has said that it is.
        is_barred: whether it is to be given no call now: one of its calls is asked to stop.
        is_ending: whether it was told to end, or killed.
        failure: what its initializer raised; it carries out nothing then.
        exit_code: of the process, once it has ended.
        gone: an event of the loop: it has ended, and all its calls are settled or elsewhere.
        started: one: it is ready, or has failed.
        nursery: of the tasks that belong to it; `None` before the first of them, and after its end.
        later: what is to begin in there as soon as there is one.
        out: what could not be sent yet.
        is_writing: whether a task sends it.
    """

    __slots__ = (
        "_spawned",
        "exit_code",
        "failure",
        "flight",
        "given",
        "gone",
        "inbox",
        "is_barred",
        "is_ending",
        "is_ready",
        "is_writing",
        "later",
        "link",
        "nursery",
        "out",
        "process",
        "started",
    )

    def __init__(self, spawned: Spawned, gone: Any, started: Any) -> None:  # noqa: ANN401 - events of a loop
        self._spawned = spawned
        self.process = spawned.process
        self.link = spawned.link
        self.inbox = Inbox(spawned.link)
        self.flight: dict[int, Ticket] = {}
        self.given = 0
        self.is_ready = self.is_barred = self.is_ending = self.is_writing = False
        self.failure: BaseException | None = None
        self.exit_code: int | None = None
        self.gone = gone
        self.started = started
        self.nursery: Any = None
        self.later: list[Callable[[], object]] = []
        self.out: deque[memoryview] = deque()

    def give(self, tickets: Sequence[Ticket]) -> None:
        """Send calls; what the socket does not take now is left in `out`."""
        pieces: list[Part] = []
        numbers, flight, size = [], self.flight, 0
        for ticket in tickets:
            ticket.worker = self
            number = ticket.number
            numbers.append(number)
            flight[number] = ticket
            pieces += ticket.pieces
            size += ticket.size
        self.given += len(numbers)
        self.send(pieces, size)
        self._put(numbers)

    def send(self, pieces: Sequence[Part], size: int) -> None:
        """Send bytes; what the socket does not take now is left in `out`."""
        if size <= _TOGETHER:
            pieces = [b"".join(pieces)]
        was_stuck = bool(self.out)
        self.out += [memoryview(piece) for piece in pieces if len(piece)]
        if not was_stuck:
            self.push()

    def push(self) -> None:
        """Send what is left in `out`, as far as the socket takes it."""
        out = self.out
        try:
            while out:
                count = self.link.send(out[0][:_AT_ONCE])
                if count == len(out[0]):
                    out.popleft()
                else:
                    out[0] = out[0][count:]
        except BlockingIOError:
            return
        except OSError:
            out.clear()  # it has died; whoever waits for its end sees to its calls

    def _put(self, numbers: Sequence[int]) -> None:
        # Never full: fewer calls are in flight than it holds. Never without a reader: we have one.
        os.write(self._spawned.give, b"".join(map(TOKEN.pack, numbers)))

    def take_back(self, most: int | None = None) -> list[Ticket]:
        """Take calls back that have not begun, the oldest first.

        Args:
            most: how many at most; `None` for all.

        Returns:
            the calls, which are nobody's now.
        """
        size = _READ_MOST if most is None else most * TOKEN.size
        try:
            tokens = os.read(self._spawned.take, size)
        except BlockingIOError:
            return []
        back = [self.flight.pop(number) for (number,) in TOKEN.iter_unpack(tokens) if number != END]
        self.given -= len(back)
        for ticket in back:
            ticket.worker = None
        return back

    def take_one_back(self, ticket: Ticket) -> bool:
        """Take one call back; False when it has begun."""
        waiting = self.take_back()
        back = ticket in waiting
        for other in waiting:
            if other is not ticket:
                other.worker = self
                self.flight[other.number] = other
                self.given += 1
        self._put([other.number for other in waiting if other is not ticket])
        return back

    def tell_to_end(self) -> None:
        """Let it end by itself; it has no calls."""
        self.is_ending = True
        self._put([END])

    def kill(self) -> None:
        """End it, whatever it does."""
        self.is_ending = True
        self.process.kill()

    def close(self) -> None:
        """Close the ways to it, after its end."""
        self.out.clear()
        self._spawned.close()
