"""What is told about a run, and to whom: frozen events, and the instrument that hears them.

What it is for: news travels up as events only. Whatever shows, measures or logs a run (progress,
summary, spans) is an instrument; nothing below an instrument knows that it exists.

What it does not know: how events come about, or what is done with them.

Invariant: the events of one call arrive in the order of the state table: submitted, admitted,
started, finished. A call that ends before it starts leaves out the ones in the middle.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ._rates import Rate
from ._states import State


class CallEvent(NamedTuple):
    """Something happened to one call.

    Attributes:
        key: the key of the call.
        time: the home loop's clock, in seconds; only differences mean anything.
        state: the state of the call after what happened.
        place: where its body runs, or would have run: `"loop"`, `"thread"`, or the name of a place.
        attempt: which try of the call this is, from 1.
        origin: for a cancelled call, where the cancellation came from; else `None`.
        reason: for a cancelled call, a sentence for people; else `None`.
        error: for a failed or crashed call, the exception itself; else `None`. Of `call_retrying`, what
            this attempt has raised.
        run: the number of the run, in this process: one start of one runner.
        call: the number of the call in its run: two calls under one key, one of which makes room for the
            other, are told apart by it.
        after: of `call_submitted`, the keys of the calls that it waits for.
        limits: of `call_submitted`, the names of the limits that it needs.
        tags: of `call_submitted`, the words that it was given for people to find it by.
        parent: of `call_submitted`, the run and the key of the call whose body submitted it, if one has.
        pulled: of `call_submitted`, whether it is of a `map`, which submits when there is room.
        delay: of `call_retrying`, the seconds until the next attempt.
        priority: of `call_submitted`, the one that it was given.
        args: of `call_submitted`, its positional arguments; `None` unless an instrument wants values.
        value: of `call_finished`, what it returned, for an instrument that wants values.
    """

    key: Hashable
    time: float
    state: State
    place: str = "loop"
    attempt: int = 1
    origin: str | None = None
    reason: str | None = None
    error: BaseException | None = None
    run: int = 0
    call: int = 0
    after: tuple[Hashable, ...] = ()
    limits: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    parent: tuple[int, Hashable] | None = None
    pulled: bool = False
    delay: float | None = None
    priority: float = 0
    args: tuple[Any, ...] | None = None
    value: Any = None


class RunnerEvent(NamedTuple):
    """A runner was started, or has closed.

    Attributes:
        name: the name of the runner.
        time: the home loop's clock, in seconds.
        max_workers: how many calls it runs at once; `None` for no limit.
        run: the number of the run, in this process.
        limits: its named limits, and how many calls may hold each of them; infinity where only a rate
            is limited.
        loop: which loop it runs on, `"trio"` or `"asyncio"`.
        rate: how many calls start in a time; `None` for no limit.
        rates: how many of those that need a named limit do, for each limit of a rate.
        ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
    """

    name: str
    time: float
    max_workers: int | None = None
    run: int = 0
    limits: Mapping[str, float] = MappingProxyType({})
    loop: str = ""
    rate: Rate | None = None
    rates: Mapping[str, Rate] = MappingProxyType({})
    ageing: float | None = None


class Instrument:
    """What an observer of a run may listen to: override what you want to hear, leave the rest.

    A class of your own need not inherit from this one: any object with at least one of these
    methods will do. Each is called on the home loop's thread, in the order in which things happen,
    between two steps of the run: an instrument that blocks, blocks the run. One that raises is
    logged once (logger ``creche``) and taken off, and the run goes on.

    Attributes:
        wants_values: whether events shall bear arguments and values, which may be secret, and large.
    """

    wants_values: bool = False

    def runner_started(self, event: RunnerEvent) -> None:
        """The runner takes calls from now on."""

    def call_submitted(self, event: CallEvent) -> None:
        """A call was checked in under a key."""

    def prepare_context(self, event: CallEvent) -> None:
        """Set context variables for a call; after `call_submitted`, with the same event.

        It is called in the context variables that the code of the call will see, on the loop or in a
        thread, and that nobody else does: a copy of those of whoever has submitted it. What it sets is
        there for all attempts. They do not travel to another process.
        """

    def call_admitted(self, event: CallEvent) -> None:
        """A place was found for the call; a plain one may still wait for a thread."""

    def call_started(self, event: CallEvent) -> None:
        """The body of the call begins."""

    def call_retrying(self, event: CallEvent) -> None:
        """An attempt has failed, and there will be another one after a while; then `call_started`."""

    def call_finished(self, event: CallEvent) -> None:
        """The slot of the call is settled; also of a call that never started."""

    def runner_closed(self, event: RunnerEvent) -> None:
        """Every slot is final, and the runner takes no more calls."""


EVENT_NAMES = (
    "runner_started",
    "call_submitted",
    "call_admitted",
    "call_started",
    "call_retrying",
    "call_finished",
    "runner_closed",
)
"""The methods of an instrument that tell of something."""

PREPARES = "prepare_context"
"""The one that does something for a call."""
