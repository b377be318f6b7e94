"""What has happened, put together from records of events: runs, their calls, and what became of each.

What it is for: everything that looks at a run afterwards (reports, traces, graphs, simulations) looks at
this, and at no event file.

What it does not know: files (`_reading` does), how a record is written (`_records` does), what is done
with the history.

Invariant: each value in it is of the type that is promised, and each time is a number; a record that has
anything else is refused, and so is an event of a call that cannot have it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from creche._rates import Rate
from creche._states import State

from ._fields import (
    read_count,
    read_error,
    read_list,
    read_number,
    read_positive,
    read_priority,
    read_rate,
    read_rates,
    read_text,
)


@dataclass(slots=True)
class Attempt:
    """One try of a call.

    Attributes:
        number: which, from 1.
        started: when its body began, in seconds since the history begins.
        ended: when it ended; `None` while it runs.
        error: what it raised: `type`, `message` and `traceback`; `None` if nothing, or not known yet.
        delay: the seconds until the next one, if there is to be one.
        first: which event it began with, counted in the history: of what has happened at one time, it
            says what was first.
        last: which it ended with.
    """

    number: int
    started: float
    ended: float | None = None
    error: dict[str, str] | None = None
    delay: float | None = None
    first: int = 0
    last: int = 0


@dataclass(slots=True, eq=False)
class CallRecord:
    """One call. Times are in seconds since the history begins.

    Attributes:
        run: the number of its run.
        key: its key; of one that is no string, what it looks like.
        key_type: the type of the key.
        place: where its body runs, or was to run.
        state: as far as is known.
        submitted: when it was checked in.
        admitted: when a place was found for it.
        attempts: the tries; the last one is the one that counts.
        finished: when its slot was settled; `None` if that is not known.
        origin: of a cancellation.
        reason: of a cancellation.
        error: of a failure or a crash: `type`, `message` and `traceback`.
        after: the calls that it was to wait for, as far as they are in the history.
        limits: the named limits that it needs.
        tags: words to find it by.
        parent: the call whose body submitted it, if it is one.
        args: its arguments, by their `repr`, if they were asked for.
        value: what it returned, likewise.
        pulled: whether a `map` submitted it when there was room for it.
        priority: the one that it was given.
        first: which event, counted in the history, it was submitted with.
    """

    run: int
    key: str
    key_type: str
    place: str
    submitted: float
    state: State = State.PENDING
    admitted: float | None = None
    attempts: list[Attempt] = field(default_factory=list)
    finished: float | None = None
    origin: str | None = None
    reason: str | None = None
    error: dict[str, str] | None = None
    after: list[CallRecord] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    parent: CallRecord | None = None
    args: list[str] | None = None
    value: str | None = None
    pulled: bool = False
    priority: float = 0
    first: int = 0

    @property
    def started(self) -> float | None:
        """When its body first began; `None` if it has not."""
        return self.attempts[0].started if self.attempts else None

    @property
    def seconds(self) -> float | None:
        """From the beginning of its body to its end; `None` without either."""
        if not self.attempts or self.finished is None:
            return None
        return self.finished - self.attempts[0].started


@dataclass(slots=True, eq=False)
class RunRecord:
    """One start of one runner. Times are in seconds since the history begins.

    Attributes:
        number: of the run, in its process.
        name: of the runner.
        max_workers: how many calls it runs at once; `None` for no limit.
        limits: its named limits, and their sizes; `None` where only a rate is limited.
        loop: which it runs on.
        started: when it was started.
        closed: when it was closed; `None` if that is not known.
        rate: how many calls start in a time; `None` for no limit.
        rates: how many of those that need a named limit do, for each limit of a rate.
        ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
    """

    number: int
    name: str
    max_workers: int | None
    limits: dict[str, float | None]
    loop: str
    started: float
    closed: float | None = None
    rate: Rate | None = None
    rates: dict[str, Rate] = field(default_factory=dict)
    ageing: float | None = None


@final
class History:
    """What is known of the runs of an event file; filled by `HistoryReader`.

    Attributes:
        runs: in the order of their starts.
        calls: in the order in which they were submitted.
        began: when the history begins, in seconds since the epoch; 0 while it is empty.
        ended: when the last thing happened, in seconds since the history begins.
        is_closed: whether the log was closed after it; else its writer was killed, or writes still.
    """

    def __init__(self) -> None:
        self.runs: list[RunRecord] = []
        self.calls: list[CallRecord] = []
        self.began: float = 0.0
        self.ended: float = 0.0
        self.is_closed = False
        self._runs: dict[int, RunRecord] = {}
        self._count = 0
        # What is to be added to the clock of each run.
        self._shifts: dict[int, float] = {}
        self._open: dict[object, CallRecord] = {}
        self._last: dict[tuple[int, str, str], CallRecord] = {}

    @property
    def is_whole(self) -> bool:
        """Whether all runs have been closed, so that nothing is missing at the end."""
        return all(run.closed is not None for run in self.runs)

    def find(self, key: str, run: int | None = None) -> CallRecord | None:
        """The last call under a key.

        Args:
            key: as it is shown.
            run: of which run; `None` for any.

        Returns:
            the call, if there is one.
        """
        for call in reversed(self.calls):
            if call.key == key and run in (None, call.run):
                return call
        return None

    def shift_of(self, run: int) -> float:
        """What is to be added to a time of a run's clock.

        Args:
            run: its number.

        Returns:
            the seconds that make it one since the history begins.
        """
        return self._shifts[run]

    def add(self, record: dict[str, Any]) -> CallRecord | RunRecord:
        """Take a record in.

        Args:
            record: of an event.

        Returns:
            the call or the run that it is of.

        Raises:
            KeyError: it lacks something.
            ValueError: something in it is of the wrong type or not known, or the call is not there.
        """
        self._count += 1
        name, number = read_text(record, "event"), read_count(record, "run")
        if name == "runner_started":
            return self._start(number, record)
        run = self._runs.get(number)
        if run is None:
            raise ValueError(f"an event of run {number}, which has not started")
        if name == "runner_closed":
            run.closed = self._time(record)
            return run
        if name == "call_submitted":
            return self._submit(number, record)
        return self._step(name, record)

    def _step(self, name: str, record: dict[str, Any]) -> CallRecord:
        """Something has become of a call."""
        ident = _call_ident(record)
        call = self._open.get(ident)
        if call is None:
            raise ValueError(f"{name} of a call that was not submitted, or has ended")
        when = self._time(record)
        if name == "call_admitted":
            call.state = State.RUNNING
            if call.admitted is None:  # before its first attempt, not a later one
                call.admitted = when
        elif name == "call_started":
            call.state = State.RUNNING
            call.attempts.append(self._attempt(record, when))
        elif name == "call_retrying":
            error, delay = read_error(record), read_number(record, "delay")
            if not call.attempts or call.attempts[-1].ended is not None:  # its body was not begun
                call.attempts.append(self._attempt(record, when))
            tried = call.attempts[-1]
            tried.ended, tried.error, tried.delay, tried.last = when, error, delay, self._count
        elif name == "call_finished":
            _finish(call, record, when, self._count)
            del self._open[ident]
        else:
            raise ValueError(f"no such event: {name!r}")
        return call

    def _attempt(self, record: dict[str, Any], when: float) -> Attempt:
        return Attempt(read_count(record, "attempt", 1), when, first=self._count)

    def _time(self, record: dict[str, Any]) -> float:
        when = read_number(record, "time") + self._shifts[record["run"]]
        self.ended = max(self.ended, when)
        return when

    def _start(self, number: int, record: dict[str, Any]) -> RunRecord:
        if number in self._runs:
            raise ValueError(f"run {number} starts twice")
        wall, limits = read_number(record, "wall"), record["limits"]
        if not isinstance(limits, dict):
            raise ValueError(f"limits is {limits!r}")  # noqa: TRY004 - of a file, not of an argument
        workers = None if record["max_workers"] is None else read_count(record, "max_workers")
        if workers == 0:
            raise ValueError("max_workers is 0, with which nothing can run")
        sizes = {name: None if limits[name] is None else read_number(limits, name) for name in limits}
        if not self.runs:
            self.began = wall
        # Of two that start at once in two threads the later one may come first.
        self._shifts[number] = max(0.0, wall - self.began) - read_number(record, "time")
        started = self._time(record)
        run = RunRecord(
            number, read_text(record, "name"), workers, sizes, read_text(record, "loop"), started
        )
        run.rate, run.rates = read_rate(record), read_rates(record, sizes)
        run.ageing = read_positive(record, "ageing") if "ageing" in record else None
        self._runs[number] = run
        self.runs.append(run)
        return run

    def _submit(self, number: int, record: dict[str, Any]) -> CallRecord:
        ident = _call_ident(record)
        if ident in self._open:
            raise ValueError("it was submitted before, and has not ended")
        key, parent = _ident(number, record["key"]), record.get("parent")
        after = [_ident(number, one) for one in read_list(record, "after")]
        if parent is not None and not isinstance(parent, dict):
            raise ValueError(f"parent is {parent!r}")
        above = None if parent is None else _ident(read_count(parent, "run"), parent["key"])
        call = CallRecord(
            number,
            key[1],
            key[2],
            read_text(record, "place"),
            self._time(record),
            after=[self._last[one] for one in after if one in self._last],
            limits=[str(one) for one in read_list(record, "limits")],
            tags=[str(one) for one in read_list(record, "tags")],
            parent=self._last.get(above) if above else None,
            args=[str(one) for one in read_list(record, "args")] if "args" in record else None,
            pulled=record.get("pulled") is True,
            priority=read_priority(record),
            first=self._count,
        )
        self.calls.append(call)
        self._last[key] = call
        self._open[ident] = call
        return call


def _finish(call: CallRecord, record: dict[str, Any], when: float, count: int) -> None:
    state = read_text(record, "state")
    if state not in State.__members__ or not State[state].final:
        raise ValueError(f"no state that a call ends in: {state!r}")
    call.state, call.finished = State[state], when
    call.place = read_text(record, "place")
    call.origin, call.reason, call.value = (
        read_text(record, field) if field in record else None for field in ("origin", "reason", "value")
    )
    call.error = read_error(record)
    if call.attempts and call.attempts[-1].ended is None:
        call.attempts[-1].ended, call.attempts[-1].last = when, count
        call.attempts[-1].error = call.error


def _call_ident(record: dict[str, Any]) -> object:
    """The number of a call; a file that somebody else has written may have keys only."""
    if "call" in record:
        return record["run"], read_count(record, "call")
    return _ident(record["run"], record["key"])


def _ident(run: int, key: object) -> tuple[int, str, str]:
    if isinstance(key, str):
        return run, key, "str"
    if not isinstance(key, dict):
        raise ValueError(f"{key!r} is no key")  # noqa: TRY004 - of a file, not of an argument
    return run, read_text(key, "repr"), read_text(key, "type")
