"""A session once more, with other workers and limits: in virtual time, on a real runner.

What it is for: who is admitted when is decided by the runner that decides it in earnest: its queue, its
limits, dependencies, the lending of places. A copy of its rules would differ from them some day.

What it does not know: histories, and how causes are inferred; what is made of the result.

Invariant: one thing happens at a time, and of two that are due at the same time the one that was first
in the history is first; so the same causes and numbers give the same result always.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, final

import trio
import trio.abc

from creche._keyed import DEFAULT_THREADS
from creche._limits import Limit
from creche._slot import Slot
from creche.instruments import CallRecord
from creche.runners._concurrent import ConcurrentTaskRunner

from ._causes import Node, Session, Step, is_sequential

# Seconds: times in event files are rounded.
_AT_ONE_TIME = 5e-6

Workers = Sequence[int | None]
Limits = Sequence[Mapping[str, Limit]] | None


class Replayed(NamedTuple):
    """What has come out of it.

    Attributes:
        seconds: until all had ended; `None` if that would never have come.
        most: how many calls ran at once, at most, without those that waited for others.
        path: the calls that each began when the one before it ended, up to the last one.
        stuck: why it never ended; else `None`.
    """

    seconds: float | None
    most: int
    path: tuple[Node, ...]
    stuck: str | None = None


def replay(session: Session, workers: Workers, limits: Limits) -> Replayed:
    """Replay a session.

    Args:
        session: what there is to do.
        workers: of each of its runs; `None` for no limit.
        limits: of each of its runs, by their names; `None` for no limits at all, not even of threads,
            and for no rates.

    Returns:
        how long it took, and why.
    """
    clock = _Clock()
    return trio.run(_Replay(session, workers, limits, clock).run, clock=clock)


@final
class _Clock(trio.abc.Clock):
    """The time of a replay, by which runners measure their rates, and how long calls have waited."""

    def __init__(self) -> None:
        self.now = 0.0
        self._awaited: trio.Event | None = None

    def start_clock(self) -> None:
        """It does not go by itself."""

    def current_time(self) -> float:
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """For ever, as far as trio is concerned: it is told when the time has come."""
        if deadline <= self.now:
            return 0.0
        awaited, self._awaited = self._awaited, None
        if awaited is None:
            return math.inf
        awaited.set()
        return 0.0

    async def rest(self) -> None:
        """Wait until all tasks wait for others, or for the time; for one task only.

        Trio asks how long it may sleep when it has none to run, and no other thread is here that might
        hand it something. What `trio.testing` has for this imports pytest, where that is installed.
        """
        self._awaited = trio.Event()
        await self._awaited.wait()


@final
class _Script:
    """Who carries out a script: a call, or what is around the calls of a run.

    Attributes:
        node: the call, if it is one.
        threads: what it has a thread of, if it needs one.
        cause: the last call that it had to wait for.
    """

    def __init__(self, node: Node | None = None, threads: trio.Semaphore | None = None) -> None:
        self.node = node
        self.threads = threads
        self.cause: Node | None = None


@final
class _Replay:
    """One replay of a session."""

    def __init__(self, session: Session, workers: Workers, limits: Limits, clock: _Clock) -> None:
        self._session = session
        self._clock = clock
        self._limits = [{} for _ in session.runs] if limits is None else list(limits)
        self._numbers = {run.number: number for number, run in enumerate(session.runs)}
        # Without a number of workers it is for threads that plain calls wait.
        self._threads = [
            trio.Semaphore(DEFAULT_THREADS) if size is None and limits is not None else None
            for size in workers
        ]
        self._runners = [
            ConcurrentTaskRunner(
                max_workers=size,
                limits=has,
                rate=None if limits is None else run.rate,
                ageing=run.ageing,
                on_error="cancel",
            )
            for run, size, has in zip(session.runs, workers, self._limits, strict=True)
        ]
        # Sequential runs as they were. What ran inside of its submit had none of their places.
        self._as_it_was = [
            is_sequential(run) and limits is not None and size == run.max_workers
            for run, size in zip(session.runs, workers, strict=True)
        ]
        self._inside = ConcurrentTaskRunner(on_error="cancel")
        # Where a place is all that any call may wait for, a further attempt asks for it as those do
        # that have lent theirs; elsewhere it stands in the queue once more.
        wishful = {
            one.call.run for one in session.nodes if one.call.priority or self._limits_of(one.call)
        }
        self._returns = [
            run.ageing is None and (run.rate is None or limits is None) and run.number not in wishful
            for run in session.runs
        ]
        self._has_rates = limits is not None and any(
            run.rates or run.rate is not None for run in session.runs
        )
        # In which calls wait for nothing but the time, with their places lent.
        self._timer = ConcurrentTaskRunner(retain=False)
        self._due: list[tuple[float, int, int, trio.Event]] = []
        self._asked = 0
        self._nursery: trio.Nursery
        self._slots: dict[Node, Slot[Any]] = {}
        self._ended: dict[Node, float] = {}
        # Whose end let a call begin; and whose let it end, if it waited.
        self._before: dict[Node, Node | None] = {}
        self._last: dict[Node, Node | None] = {}
        # How many scripts have not ended; how many calls run.
        self._open = self._running = self._most = 0
        self._stuck: str | None = None

    async def run(self) -> Replayed:
        """From the first to the last."""
        async with AsyncExitStack() as stack:
            scope = stack.enter_context(trio.CancelScope())
            for runner in (self._timer, self._inside, *self._runners):
                await stack.enter_async_context(runner.start())
            self._nursery = await stack.enter_async_context(trio.open_nursery())
            for number, begins in enumerate(self._session.begins):
                self._open += 1
                self._nursery.start_soon(self._around, number, begins)
            await self._clock.rest()
            # One thing, and the next one when all have done what has come of it.
            while self._stuck is None and self._advance():
                await self._clock.rest()
            if self._open and self._stuck is None:
                self._stuck = "calls would wait for each other for ever"
            if self._stuck is not None:
                scope.cancel()
        if self._stuck is not None:
            return Replayed(None, self._most, (), self._stuck)
        return Replayed(self._clock.now, self._most, tuple(self._path()))

    def _advance(self) -> bool:
        """Go on to when the next thing is due; False if nothing is."""
        clock = self._clock
        due = self._due[0][0] if self._due else math.inf
        timed = math.inf
        if self._has_rates:  # a runner waits for its rate, or for that of a limit
            timed = clock.now + trio.lowlevel.current_statistics().seconds_to_next_deadline
            timed += self._session.late
        if timed < math.inf and timed <= due:
            clock.now = timed
        elif self._due:
            clock.now, _, _, event = heapq.heappop(self._due)
            event.set()
        else:
            return False
        return True

    async def _pass(self, seconds: float, order: int) -> None:
        """Let time pass."""
        event = trio.Event()
        self._asked += 1
        heapq.heappush(self._due, (self._clock.now + seconds, order, self._asked, event))
        await event.wait()

    async def _around(self, number: int, begins: float) -> None:
        """What there is around the calls of a run."""
        await self._pass(begins, 0)
        session = self._session
        scripts = session.waiting if self._as_it_was[number] else session.scripts
        await self._follow(_Script(), scripts[number])

    async def _follow(self, script: _Script, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.before:
                await self._pass(step.before, step.order)
            if step.waits:
                await self._wait(script, step.waits)
            if step.seconds or step.waits:
                await self._pass(step.seconds, step.order)
            if step.submits is not None:
                self._before[step.submits] = script.node if script.cause is None else script.cause
                self._submit_attempt(step.submits, 0)
        self._open -= 1

    async def _wait(self, script: _Script, nodes: Sequence[Node]) -> None:
        begun = self._clock.now
        if script.node is not None:
            self._running -= 1
        if script.threads is not None:
            script.threads.release()
        for node in nodes:
            try:
                await self._slot(node)
            except RuntimeError as exc:  # the runner sees that this would never end
                self._stuck = str(exc)
                await trio.sleep_forever()
        if script.threads is not None:
            await script.threads.acquire()
        if script.node is not None:
            self._count()
        last = max(nodes, key=self._ended.__getitem__)
        if self._ended[last] > begun:
            script.cause = last

    def _count(self) -> None:
        self._running += 1
        self._most = max(self._most, self._running)

    def _slot(self, node: Node) -> Slot[Any]:
        """Where a call ends; it may not have been submitted yet.

        Whoever waits for it waits for its last attempt, which may be long to come.
        """
        if node not in self._slots:
            number = self._numbers[node.call.run]
            last = 0 if self._returns[number] else len(node.attempts) - 1
            self._slots[node] = self._runner_of(node).reserve((node.number, last))
        return self._slots[node]

    def _runner_of(self, node: Node) -> ConcurrentTaskRunner:
        number = self._numbers[node.call.run]
        return self._inside if node.is_inside and self._as_it_was[number] else self._runners[number]

    def _limits_of(self, call: CallRecord) -> list[str]:
        return [name for name in call.limits if name in self._limits[self._numbers[call.run]]]

    def _submit_attempt(self, node: Node, attempt: int) -> None:
        self._open += 1
        self._slot(node)
        self._runner_of(node).submit_nowait(
            (node.number, attempt),
            self._carry_out,
            node,
            attempt,
            # A further attempt has its place before any call that has not begun.
            priority=math.inf if attempt else node.call.priority,
            limits=self._limits_of(node.call),
            after=[] if attempt else [self._slot(one) for one in node.after],
        )

    async def _carry_out(self, node: Node, attempt: int) -> None:
        """The body of each call."""
        if attempt == 0:
            before = self._before[node]
            earliest = -1.0 if before is None else self._ended.get(before, -1.0)
            self._before[node] = max(
                (before, *(one for one in node.after if self._ended[one] >= earliest)),
                key=lambda one: -1.0 if one is None else self._ended.get(one, -1.0),
            )
        run = self._numbers[node.call.run]
        threads = self._threads[run] if node.call.place == "thread" else None
        await self._try(node, attempt, threads)
        while attempt + 1 < len(node.attempts):
            attempt += 1
            if not self._returns[run]:
                self._open += 1
                self._nursery.start_soon(self._try_again, node, attempt)
                return
            self._open += 1
            await self._timer.submit_nowait(None, self._delay, node, attempt)
            await self._try(node, attempt, threads)

    async def _try(self, node: Node, attempt: int, threads: trio.Semaphore | None) -> None:
        if threads is not None:
            await threads.acquire()
        self._count()
        script = _Script(node, threads)
        await self._follow(script, node.attempts[attempt][0])
        self._running -= 1
        if threads is not None:
            threads.release()
        self._ended[node] = self._clock.now
        self._last[node] = script.cause

    async def _delay(self, node: Node, attempt: int) -> None:
        """Let the time pass before a further attempt."""
        seconds, now = node.attempts[attempt - 1][1], node.call.attempts[attempt]
        before = node.call.attempts[attempt - 1]
        order = now.first
        if now.started - (before.ended or 0.0) - seconds < _AT_ONE_TIME:
            # It was back before whatever else has happened at that time, or that did not matter to it.
            order -= sys.maxsize
        await self._pass(seconds, order)

    async def _try_again(self, node: Node, attempt: int) -> None:
        await self._delay(node, attempt)
        self._submit_attempt(node, attempt)
        self._open -= 1

    def _path(self) -> list[Node]:
        """From the call that ended last back to the first one, each because of the one before it."""
        found: dict[Node, None] = {}
        node = max(self._ended, key=self._ended.__getitem__, default=None)
        while node is not None:
            if node in found:  # its call has led back to it
                node = self._before[node]
                continue
            found[node] = None
            node = self._before[node] if self._last[node] is None else self._last[node]
        return list(reversed(found))
