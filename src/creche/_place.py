"""What a place is: where the body of a call runs when it runs neither on the loop nor in a thread.

What it is for: a place is handed a piece of work and answers with an outcome. Admission, slots, time
limits, cancellation and instruments know nothing of what is behind it; whoever writes a place knows
nothing of them.

What it does not know: any place there is; runners, keys, slots.

Invariant: what `OpenPlace.run` returns is what became of the user's code, and what it raises is the
fault of the place. So a call whose code raised has FAILED, and one that its place lost has CRASHED.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from outcome import Error, Value

PlaceOptions = Mapping[str, Any]
"""What a place may be told of one call."""

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Keepsake:
    """Where a place may leave a handle on a result that other calls take as an argument.

    It lives as long as one of those calls that were submitted by then has not ended.

    Attributes:
        left: whatever it likes; `None` for nothing.
    """

    __slots__ = ("__weakref__", "left")

    def __init__(self) -> None:
        self.left: Any = None


Feed = Callable[[Callable[[Keepsake, Any], Any]], tuple[Any, tuple[Any, ...]]]
"""Makes the function and the arguments of a piece of work again: with what it is given in the place of
the results of other calls, from the keepsake and the value of each."""


class Work(NamedTuple):
    """What a place is handed: `fn(*args)`, and what it may want to know of the call.

    Attributes:
        key: of the call; for names and messages.
        fn: the callable.
        args: its positional arguments; the results of slots are there in the place of these.
        is_async: whether calling it gives a coroutine, which is to be awaited over there.
        context: the submitter's context variables. Nobody enters it: run code in a copy.
        options: what `submit` was given as `place_options`.
        keepsake: for a place that keeps results: gives the keepsake of this work, if one is wanted.
        feed: for the same: its arguments again, if there are results of other calls among them.
        turn: what has a lower one was to start before it; 0 if nothing is known of that. Work that is
            handed over at the same time may come in another order: its tasks are woken in any.
        attempt: which try of the call it is, from 1.
        flow: the name of the flow whose call it is; empty if it is of none.
    """

    key: Hashable
    fn: Any
    args: tuple[Any, ...]
    is_async: bool
    context: Context
    options: Mapping[str, Any] = NO_OPTIONS
    keepsake: Callable[[], Keepsake | None] | None = None
    feed: Feed | None = None
    turn: int = 0
    attempt: int = 1
    flow: str = ""


class Host(Protocol):
    """What a place is told of the run that it is opened for, and may ask of it."""

    @property
    def runner_name(self) -> str:
        """Of the runner, for names and messages."""
        ...

    @property
    def loop(self) -> str:
        """`"trio"` or `"asyncio"`: the loop that it is opened on."""
        ...

    @property
    def has_waiting(self) -> bool:
        """Whether calls wait to be handed to this place."""
        ...

    def set_capacity(self, number: int | None) -> None:
        """Be handed so much work at once from now on; `None` for no limit.

        Args:
            number: at least 1. Work that has been handed over already stays.

        Raises:
            TypeError: the number is no whole number.
            ValueError: it is less than 1.
        """
        ...


class OpenPlace(Protocol):
    """A place while a run is open."""

    async def run(self, work: Work) -> Value[Any] | Error:
        """Have a piece of work done over there. Runs in a task of its own, on the loop of the run.

        Cancelled (the call was cancelled, its time has passed, the run is closing), it stops the work,
        waits behind a shield until that is stopped, and lets the cancellation through. If the work had
        ended before it could be stopped, it returns what came of it all the same.

        Args:
            work: what to do.

        Returns:
            what the user's code returned or raised. One that has raised what is no `Exception`
            (`SystemExit`) over there has crashed: raise `CallCrashed`, kind `exit`.

        Raises:
            CallCrashed: the place could not carry it through, this once: a worker died, something could
                not be sent. The call is CRASHED with it, and nothing else is touched.
            StopCall: nothing but a cancellation came out of the user's code, and nobody here had asked
                for it. The call is CANCELLED, `foreign`.
            Exception: the same, and what is raised is what the call is CRASHED with.
        """
        ...


class Sent(Protocol):
    """A piece of work on its way, for which no task waits.

    Attributes:
        owner: what `send` was given.
    """

    owner: Any

    def cancel(self) -> bool:
        """Have it not done, or not any more; does not wait.

        Returns:
            True when it has not begun, never will, and is not told of; False when it is told of as soon
            as it has stopped, or has ended.
        """
        ...

    def outcome(self) -> tuple[bool, Any] | None:
        """What became of it, asked once, when it was told of.

        Returns:
            whether the user's code has returned, and the value, or what it raised; `None` when it was
            cancelled, and has stopped.

        Raises:
            Exception: what `OpenPlace.run` raises.
        """
        ...


class SendingPlace(abc.ABC):
    """What an open place may be beside: one that takes work without a task that waits for it.

    A call that needs nothing but such a place costs a fraction of what a task does. All others, and
    those of any other place, come by `OpenPlace.run`.
    """

    @abc.abstractmethod
    def send(self, work: Work, owner: object, tell: Callable[[list[Any]], object]) -> Sent:
        """Have a piece of work done over there; on the loop of the run, and without waiting.

        Args:
            work: what to do.
            owner: to be found in what this gives.
            tell: to be called on the loop with what this gives once the work has ended, many at a time,
                but not before this has returned; the same one for all work of a run. It does not raise,
                and may send and cancel.

        Returns:
            the work on its way.

        Raises:
            Exception: it cannot be sent; as of `OpenPlace.run`.
        """


class Place(abc.ABC):
    """The settings of a place; opened anew by each run that uses it.

    It is compared by its settings, pickled with its runner, and one object may serve many runners.

    Attributes:
        name: what events and messages call it: `"process"`, `"dask"`.
        capacity: how much work it is handed at once, until it says otherwise; `None` for no limit.
    """

    name: str
    capacity: int | None = None
    is_inside = False  # only for those of creche's own that are in this very process
    keeps_results = False  # whether it makes use of keepsakes

    def check_options(self, options: Mapping[str, Any]) -> None:  # noqa: B027 - may be left as it is
        """Look at the `place_options` of a call when it is submitted; by default they are as they are.

        Args:
            options: what the submit was given.

        Raises:
            TypeError: one is of the wrong type.
            ValueError: there is no such option, or its value is not allowed.
        """

    @abc.abstractmethod
    def open(self, host: Host) -> AbstractAsyncContextManager[OpenPlace]:
        """Open it for a run: entered before the first work is handed over, left after the last.

        It is entered and left in one task, which no cancellation reaches: what was begun is cancelled
        piece by piece before it is left. What its entry raises is raised to whoever starts the
        runner, or is what the calls are CRASHED with that asked for the place by name.

        Args:
            host: the run that it is opened for.

        Returns:
            an async context manager that gives the open place.
        """


class PlaceFailed(Exception):  # noqa: N818 - it carries an error, and is none that anybody sees
    """On its way to the slot of a call: what the place has raised that the call was handed to.

    Attributes:
        error: what the call is CRASHED with.
        cancellation: what came with it, which may have to travel on.
    """

    def __init__(self, error: BaseException, cancellation: BaseException | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.cancellation = cancellation


class Ticket(NamedTuple):
    """To where a call runs elsewhere.

    Attributes:
        seat: of the run, which runs the call.
        place: its name.
        is_async: whether its function is async.
        options: what the place was given for it.
        prepare: makes the function and the arguments that travel of those that were submitted, just
            before they do, with what it is told to in the place of each slot; `None` if these do.
        keepsakes: of slots among its arguments, kept for it as long as it has not ended.
    """

    seat: Any
    place: str
    is_async: bool
    options: Mapping[str, Any] = NO_OPTIONS
    prepare: (
        Callable[[Any, tuple[Any, ...], Callable[[Any], Any]], tuple[Any, tuple[Any, ...]]] | None
    ) = None
    keepsakes: Mapping[Any, Keepsake] = MappingProxyType({})


PLACES = ("loop", "thread", "process", "dask")
"""The places that have names."""


def check_place(given: object, who: str) -> None:
    """Refuse a place that is none.

    Args:
        given: what was passed as `place`, and not `None`.
        who: asks for it, as words for the middle of a sentence.

    Raises:
        TypeError: it is neither a name nor a place.
        ValueError: there is no place of that name.
    """
    if not isinstance(given, (str, Place)):
        msg = f"the place of {who} must be a name or a Place object, not {given!r}"
        raise TypeError(msg)
    if isinstance(given, str) and given not in PLACES:
        known = f"{', '.join(map(repr, PLACES))}, and any Place object"
        msg = f"{who} asks for place {given!r}, which is not there; there are {known}"
        raise ValueError(msg)


def check_place_options(given: object, who: str) -> None:
    """Refuse options of a place that are no mapping.

    Args:
        given: what was passed as `place_options`.
        who: passes them, as words for the middle of a sentence.

    Raises:
        TypeError: they are neither a mapping nor `None`.
    """
    if not (given is None or isinstance(given, Mapping)):
        msg = f"place_options of {who} must be a mapping of options of its place, not {given!r}"
        raise TypeError(msg)
