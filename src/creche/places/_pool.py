"""Which call goes to which worker process: an open place for processes.

What it is for: a call goes to an idle worker; else a worker is started for it; else, if calls are short,
it is sent ahead to one that is busy. A worker that has nothing to do takes over what others have not
begun.

What it does not know: how a worker is started, read from and ended; admission, keys.

Invariant: a call is in the queue, or in flight with one worker, or settled. It is begun at most once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple, final

from outcome import Error, Value

from creche._backend import Backend, Nursery
from creche._errors import CallCrashed
from creche._far._pickling import Part
from creche._ki import protected
from creche._parking import Doorbell
from creche._place import Host, SendingPlace, Work

from ._crew import Crew, told
from ._depth import Depth
from ._requests import Named, pack
from ._ticket import Ticket
from ._worker import Worker

SMALL = 65_536
"""Bytes of a call up to which it is sent ahead, so that the socket takes it at once."""

PATIENCE = 8
"""Workers in a row that die, of nobody knows what, before they are ready; then each costs a call."""


class Terms(NamedTuple):
    """What the settings of the place say to an open one.

    Attributes:
        most: workers at once.
        max_calls: that a worker carries out; `None` for no limit.
        grace: seconds between asking a call to stop, and killing its worker.
        batch: calls at hand, or `"auto"`.
        variables: the context variables that travel with each call.
    """

    most: int
    max_calls: int | None
    grace: float
    batch: int | str
    variables: Sequence[Named]


@final
class Pool(SendingPlace):
    """An open place.

    Attributes:
        crew: its workers.
        ended_alone: the calls that have ended, that no task waits for, and that nobody was told of.
    """

    def __init__(
        self,
        host: Host,
        backend: Backend,
        nursery: Nursery,
        terms: Terms,
        settings: Callable[[], list[Part]],
    ) -> None:
        self._host = host
        self._at = host.runner_name, "process"
        self._backend = backend
        self._park = backend.park
        self._terms = terms
        self._depth = Depth(terms.batch)
        self._numbers = count(1)
        self._queue: deque[Ticket] = deque()
        self._turn = 0  # the latest that was sent
        self._bell = Doorbell()
        self.ended_alone: list[Ticket] = []
        self._tell: Callable[[list[Ticket]], object] = lambda _: None
        self._is_telling = False
        self._failed_starts = 0
        self.crew = Crew(backend, nursery, self, settings)
        nursery.start_soon(self._tend, name="creche process place")
        host.set_capacity(terms.most * self._depth.current)

    async def prewarm(self, number: int) -> None:
        """Start workers, and wait until they are ready.

        Raises:
            BaseException: what the initializer raised in one of them.
            RuntimeError: the initializer, or one of them, exited.
            OSError: the system does not let us start them.
        """
        workers = [self.crew.start() for _ in range(number)]
        for worker in workers:
            await worker.started.wait()
        for worker in workers:
            if not worker.is_ready:
                raise _why_not_ready(worker)

    @protected
    async def run(self, work: Work) -> Value[Any] | Error:
        """Have a call done by a worker process; part of the protocol of a place."""
        ticket = self._pack(work)
        self._take(ticket)
        try:
            await self._park(ticket)
        except BaseException:
            ticket.is_to_stop = True
            if not ticket.is_settled:
                with self._backend.open_scope(shield=True):
                    await self._stop(ticket)
            came = ticket.outcome()
            if came is None:
                raise
        else:
            came = ticket.outcome()
            assert came is not None, "it was not cancelled"
        return Value(came[1]) if came[0] else Error(came[1])

    def send(self, work: Work, owner: object, tell: Callable[[list[Any]], object]) -> Ticket:
        """The same for a call that no task waits for; see `SendingPlace`."""
        ticket = self._pack(work)
        ticket.owner, ticket.pool, self._tell = owner, self, tell
        self._take(ticket)
        return ticket

    def _pack(self, work: Work) -> Ticket:
        parts = pack(work, self._host.loop, self._terms.variables, at=self._at)
        return Ticket(work.key, next(self._numbers), parts, work.turn)

    def _take(self, ticket: Ticket) -> None:
        self._line_up(ticket)
        if self._depth.current == 1:
            self._assign_next()
        elif not self._is_telling:
            # Together with those that are handed over in the same turn of the loop.
            self._bell.ring()

    def whereabouts(self, key: Hashable) -> str | None:
        """Which worker has a call, for people."""
        for ticket in list(self._queue):
            if ticket.key == key:
                return "waits for a worker process"
        for worker in list(self.crew.workers):
            if any(ticket.key == key for ticket in list(worker.flight.values())):
                return f"in process {worker.process.pid}"
        return None

    def _line_up(self, ticket: Ticket) -> None:
        """Put a call into the queue, before those that came earlier and have a later turn."""
        queue, turn = self._queue, ticket.turn
        at = len(queue)
        while at and queue[at - 1].turn > turn > 0:
            at -= 1
        queue.insert(at, ticket)

    def drop(self, ticket: Ticket) -> bool:
        """Have a call not run, or not any more.

        Args:
            ticket: of the call, which is not settled.

        Returns:
            whether it has not begun, and never will; else it is settled when it has stopped.
        """
        worker: Worker | None = ticket.worker
        if worker is None or worker.take_one_back(ticket):
            ticket.worker = None
            ticket.is_dropped = True
            return True
        self._requeue(worker.take_back())
        self.crew.collect(worker, all_of_them=True)  # else it may be another that is stopped
        if not ticket.is_settled:
            grace = self._terms.grace
            if grace and not worker.is_ending:
                self.crew.stop(worker, ticket, grace)
            else:
                self.crew.kill(worker)
        return False

    async def _stop(self, ticket: Ticket) -> None:
        """The same, and wait until it has stopped."""
        worker: Worker | None = ticket.worker
        if self.drop(ticket) or ticket.is_settled:
            return
        assert worker is not None
        if worker.is_ending:
            await worker.gone.wait()
        else:
            await self._park(ticket)

    def answered(self, worker: Worker, seconds: list[float]) -> None:
        """A worker has answered calls, or is ready."""
        if worker.is_ready:
            self._failed_starts = 0
        depth = self._depth
        if seconds and depth.learn(seconds, waits=bool(self._queue) or self._host.has_waiting):
            self._host.set_capacity(self._terms.most * depth.current)
            if depth.current == 1:
                self._call_back()
        self._tell_of_ended()
        if worker.flight or worker.is_ending:
            return
        worker.is_barred = False
        if self._room(worker) == 0:
            self.crew.retire(worker)
        if depth.current == 1 and self._queue and not self.crew.starting:
            self._assign_next()
        elif self._queue or any(len(one.flight) > one.is_ready for one in self.crew.workers):
            self._bell.ring()  # those that come in the same turn of the loop may go first

    def _tell_of_ended(self) -> None:
        """Tell of the calls that have ended without a task; others may come for them, and are sent."""
        if not self.ended_alone:
            return
        ended = self.ended_alone[:]
        self.ended_alone.clear()
        was_telling, self._is_telling = self._is_telling, True
        self._tell(ended)
        self._is_telling = was_telling
        if self._queue and not was_telling:
            latest = _latest(self._queue)
            if self._are_all_here(latest):
                self._assign(latest)
            else:
                self._bell.ring()

    def ended(self, worker: Worker, back: list[Ticket]) -> None:
        """A worker has ended; these calls of its have not begun."""
        if worker.failure is not None:
            self._lose(back, f"the initializer failed in a new worker: {worker.failure!r}", worker)
            return
        if not worker.is_ready and not worker.is_ending:
            self._failed_starts += 1
            if self._failed_starts > PATIENCE:
                why = f"{self._failed_starts} worker processes in a row ended before they were ready"
                # One at a time: the others may have been sent ahead to it when all was well, and one
                # death costs one call.
                self._lose(back[:1], why, worker)
                back = back[1:]
        self._requeue(back)
        self._tell_of_ended()

    def _lose(self, tickets: list[Ticket], why: str, worker: Worker) -> None:
        for ticket in tickets:
            ticket.lose("worker-died", why, worker.exit_code, worker.failure)
        self._tell_of_ended()
        self._bell.ring()

    def lose_rest(self) -> None:
        """The place is closed, and calls are here still; a run has none by then."""
        while self._queue:
            self._queue.popleft().lose("worker-died", "its place was closed", None, None)
        self._tell_of_ended()

    def _call_back(self) -> None:
        """Have nothing at hand anywhere: calls are long, and what is behind one would wait for it."""
        back = [ticket for worker in self.crew.workers for ticket in worker.take_back()]
        self._requeue(sorted(back, key=lambda ticket: ticket.turn))

    def _requeue(self, tickets: list[Ticket]) -> None:
        self._queue.extendleft(reversed(tickets))
        self._bell.ring()

    @protected
    async def _tend(self) -> None:
        """See to what can wait until others have had their turn."""
        while True:
            await self._park(self._bell)
            latest = _latest(self._queue)
            # Whoever has an earlier turn comes within this turn of the loop, if only after this task; or
            # within the next one, if its task had to change its context.
            for _ in range(2):
                if self._are_all_here(latest):
                    break
                await self._backend.shielded_checkpoint()
            self._bell.has_rung = False
            self._assign(latest)
            self._tell_of_ended()
            if not self._queue:
                self._share()
            elif self._queue[0].turn > latest:
                self._bell.ring()

    def _are_all_here(self, latest: int) -> bool:
        """Whether nobody with a turn up to this one is missing; those of other places are, too."""
        here = sum(self._turn < ticket.turn <= latest for ticket in self._queue)
        return here >= latest - self._turn

    def _assign_next(self) -> None:
        """Send what is next in turn; with what is not, whoever comes between may still come first."""
        self._assign(0)
        if self._queue and self._queue[0].turn > self._turn + 1:
            self._bell.ring()

    def _assign(self, latest: int) -> None:
        """Send what waits, as far as there is somebody to send it to, and its turn is no later one.

        Or it is the very next.
        """
        queue = self._queue
        # Of what waits now. A share of what is left each time would be half, a quarter, an eighth.
        share = -(-len(queue) // self._terms.most)
        while queue:
            ticket = queue[0]
            if ticket.is_dropped:
                queue.popleft()
                continue
            if ticket.turn > max(latest, self._turn + 1):
                return
            worker = self._choose(ticket)
            if worker is None:
                return
            # A large one only as the first of an idle worker: `_choose` sees to that.
            batch = [queue.popleft()]
            most = min(self._room(worker), share)
            while queue and len(batch) < most and queue[0].size <= SMALL and queue[0].turn <= latest:
                ticket = queue.popleft()
                if not ticket.is_dropped:
                    batch.append(ticket)
            self._give(worker, batch)

    def _give(self, worker: Worker, tickets: list[Ticket]) -> None:
        worker.give(tickets)
        self._turn = max(self._turn, tickets[-1].turn)
        if worker.out:
            self.crew.write_rest(worker)

    def _room(self, worker: Worker) -> int:
        room = self._depth.current - len(worker.flight)
        if self._terms.max_calls is not None:
            room = min(room, self._terms.max_calls - worker.given)
        return max(room, 0)

    def _choose(self, ticket: Ticket) -> Worker | None:
        """An idle worker, else a new one, else the one with the fewest calls that has room."""
        found: Worker | None = None
        for worker in self.crew.workers:
            if worker.is_barred or not self._room(worker):
                continue
            if not worker.flight:
                if worker.is_ready:
                    return worker
                found = worker
            elif found is None or 0 < len(worker.flight) < len(found.flight):
                found = worker
        if found is not None and not found.flight:
            return found
        if len(self.crew.workers) < self._terms.most:
            try:
                return self.crew.start()
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is told to whoever asks for it
                if not self.crew.workers:
                    self._queue.popleft()
                    ticket.lose("worker-died", f"no worker process could be started: {exc}", None, exc)
                    self._bell.ring()
                    return None
        return found if ticket.size <= SMALL else None

    def _share(self) -> None:
        """Give an idle worker what a busy one has not begun."""
        for worker in self.crew.workers:
            if worker.flight or worker.is_barred or not worker.is_ready or not self._room(worker):
                continue
            fullest = max(self.crew.workers, key=lambda other: len(other.flight))
            ahead = len(fullest.flight) - fullest.is_ready
            back = fullest.take_back(min(max(1, ahead // 2), self._room(worker))) if ahead > 0 else []
            if not back:
                return
            self._give(worker, back)


def _latest(queue: Iterable[Ticket]) -> int:
    return max((ticket.turn for ticket in queue), default=0)


def _why_not_ready(worker: Worker) -> BaseException:
    failure = worker.failure
    if failure is None:
        return RuntimeError(
            f"a worker process ended before it was ready ({told(worker.exit_code)}); an initializer "
            "must return"
        )
    if not isinstance(failure, CallCrashed):
        return failure  # what the user's own code raised
    error = RuntimeError(f"the initializer of a worker process did not return: {failure.detail}")
    error.__cause__ = failure.__cause__
    return error
