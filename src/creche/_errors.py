"""The errors that creche raises by itself.

What it is for: one flat list of errors, each with a parent from the standard library, so that
``except KeyError`` or ``except RuntimeError`` in code that knows nothing of creche keeps working.

What it does not know: runners, slots, loops. There is no common root class on purpose: one that
invited ``except CrecheError`` would catch somebody's bug together with somebody's cancellation.

Invariant: a message is a lower-case sentence that names the key or the option, and the cure.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import final


@final
class CallCancelled(Exception):  # noqa: N818 - named for what happened, as trio.Cancelled is
    """A call was cancelled; raised to whoever asks for its result.

    It is an ordinary `Exception` and not a loop's own ``Cancelled``: that one is only valid
    inside the scope it was raised for, and re-raised elsewhere it crashes a run or silently cancels
    somebody else's nursery. Every reader gets a new one.

    Attributes:
        key: the key of the call that was cancelled.
        origin: where the cancellation came from; see `Origin`.
        reason: a sentence for people.
    """

    def __init__(self, key: Hashable, origin: str, reason: str) -> None:
        super().__init__(key, origin, reason)
        self.key = key
        self.origin = origin
        self.reason = reason

    def __str__(self) -> str:
        return f"call {self.key!r} was cancelled ({self.origin}): {self.reason}"


@final
class KeyTaken(ValueError):  # noqa: N818 - a state of the key, as the message reads
    """A call was submitted, or a key reserved, under a key that the runner already has.

    Attributes:
        key: the key in question.
    """

    def __init__(self, key: Hashable, state: str, *, joinable: bool = True) -> None:
        super().__init__(key, state)
        self.key = key
        self.state = state
        self._joinable = joinable

    def __str__(self) -> str:
        join = "pass on_collision='join' to share the call that is there, "
        return (
            f"key {self.key!r} is taken (its call is {self.state}); choose another key, "
            f"{join if self._joinable else ''}or forget() it once it is settled"
        )


@final
class UnknownKey(KeyError):  # noqa: N818 - a state of the key, as the message reads
    """A key was asked for that the runner does not have.

    Attributes:
        key: the key in question.
    """

    def __init__(self, key: Hashable, hint: str | None = None) -> None:
        super().__init__(key, hint)
        self.key = key
        self._hint = hint

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        hint = self._hint or (
            "submit a call under it first, or reserve() it if it must be waited for before that"
        )
        return f"no call under key {self.key!r}; {hint}"


@final
class NotSettled(RuntimeError):  # noqa: N818 - a state of the slot, as the message reads
    """A slot was read, forgotten or popped before its call had ended."""


@final
class RunnerNotStarted(RuntimeError):  # noqa: N818 - a state of the runner
    """A runner was used before it was started, or on a copy (pickled, duplicated) never started."""


@final
class RunnerClosed(RuntimeError):  # noqa: N818 - a state of the runner
    """A call was submitted to a runner that takes no more calls."""


@final
class RunnerFull(RuntimeError):  # noqa: N818 - a state of the runner
    """A call was submitted without waiting, and `max_pending` calls wait for a place already."""
