"""What is told about a run, and to whom: frozen events, and the instrument that hears them.

What it is for: news travels up as events only. Whatever shows, measures or logs a run (progress,
summary, spans) is an instrument; nothing below an instrument knows that it exists.

What it does not know: how events come about, or what is done with them.

Invariant: the events of one call arrive in the order of the state table: submitted, admitted,
started, finished. A call that ends before it starts leaves out the ones in the middle.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, NamedTuple

from ._states import State

Place = Literal["loop", "thread"]
"""Where the body of a call runs."""


class CallEvent(NamedTuple):
    """Something happened to one call.

    Attributes:
        key: the key of the call.
        time: the home loop's clock, in seconds; only differences mean anything.
        state: the state of the call after what happened.
        place: where its body runs, or would have run.
        attempt: which try of the call this is, from 1.
        origin: for a cancelled call, where the cancellation came from; else `None`.
        reason: for a cancelled call, a sentence for people; else `None`.
        error: for a failed or crashed call, the exception itself; else `None`.
    """

    key: Hashable
    time: float
    state: State
    place: Place = "loop"
    attempt: int = 1
    origin: str | None = None
    reason: str | None = None
    error: BaseException | None = None


class RunnerEvent(NamedTuple):
    """A runner was started, or has closed.

    Attributes:
        name: the name of the runner.
        time: the home loop's clock, in seconds.
        max_workers: how many calls it runs at once; `None` for no limit.
    """

    name: str
    time: float
    max_workers: int | None = None


class Instrument:
    """What an observer of a run may listen to: override what you want to hear, leave the rest.

    A class of your own need not inherit from this one: any object with at least one of these
    methods will do. Each is called on the home loop's thread, in the order in which things happen,
    between two steps of the run: an instrument that blocks, blocks the run. One that raises is
    logged once (logger ``creche``) and taken off, and the run goes on.
    """

    def runner_started(self, event: RunnerEvent) -> None:
        """The runner takes calls from now on."""

    def call_submitted(self, event: CallEvent) -> None:
        """A call was checked in under a key."""

    def call_admitted(self, event: CallEvent) -> None:
        """A place was found for the call; a plain one may still wait for a thread."""

    def call_started(self, event: CallEvent) -> None:
        """The body of the call begins."""

    def call_finished(self, event: CallEvent) -> None:
        """The slot of the call is settled; also of a call that never started."""

    def runner_closed(self, event: RunnerEvent) -> None:
        """Every slot is final, and the runner takes no more calls."""


EVENT_NAMES = (
    "runner_started",
    "call_submitted",
    "call_admitted",
    "call_started",
    "call_finished",
    "runner_closed",
)
"""The methods of an instrument."""
