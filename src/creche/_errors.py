"""The errors that creche raises by itself.

What it is for: one flat list of errors, each with a parent from the standard library, so that
``except KeyError`` or ``except RuntimeError`` in code that knows nothing of creche keeps working.

What it does not know: runners, slots, loops. There is no common root class on purpose: one that
invited ``except CrecheError`` would catch somebody's bug together with somebody's cancellation.

Invariant: a message is a lower-case sentence that names the key or the option, and the cure.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, final

from ._spelling import spell, spell_some


def _short_repr(error: BaseException) -> str:
    """As that of any exception, but short, whatever its key is."""
    return f"{type(error).__name__}({', '.join(map(spell, error.args))})"


@final
class CallCancelled(Exception):  # noqa: N818 - named for what happened, as trio.Cancelled is
    """A call was cancelled; raised to whoever asks for its result.

    It is an ordinary `Exception` and not a loop's own ``Cancelled``: that one is only valid
    inside the scope it was raised for, and re-raised elsewhere it crashes a run or silently cancels
    somebody else's nursery. Every reader gets a new one. Where the call was to run after another one
    that did not complete (origin `upstream`), the exception of the call in which that began is the
    `__cause__`, and the reason names its key.

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

    def __repr__(self) -> str:
        return _short_repr(self)

    def __str__(self) -> str:
        return f"call {spell(self.key)} was cancelled ({self.origin}): {self.reason}"


def cancelled(key: Hashable, origin: str, reason: str, root: Any = None) -> CallCancelled:  # noqa: ANN401 - an exception, or nothing
    """The error for one reader of a cancelled call.

    Args:
        key: the key of the call.
        origin: where the cancellation came from.
        reason: a sentence for people.
        root: for origin `upstream`, the slot of the call in which it began; it counts as read.

    Returns:
        a new error, caused by what became of the root.
    """
    error = CallCancelled(key, origin, reason)
    if root is not None:
        error.__cause__ = root.outcome.error
    return error


@final
class KeyTaken(ValueError):  # noqa: N818 - a state of the key, as the message reads
    """A call was submitted, or a key reserved, under a key that the runner already has.

    Attributes:
        key: the key in question.
    """

    def __init__(
        self, key: Hashable, state: str, *, joinable: bool = True, cure: str | None = None
    ) -> None:
        super().__init__(key, state)
        self.key = key
        self.state = state
        self._joinable = joinable
        self._cure = cure

    def __repr__(self) -> str:
        return _short_repr(self)

    def __str__(self) -> str:
        if self._cure is not None:
            return f"key {spell(self.key)} is taken (its call is {self.state}): {self._cure}"
        join = "pass on_collision='join' to share the call that is there, "
        return (
            f"key {spell(self.key)} is taken (its call is {self.state}); choose another key, "
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

    def __repr__(self) -> str:
        return _short_repr(self)

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        hint = self._hint or (
            "submit a call under it first, or reserve() it if it must be waited for before that"
        )
        return f"no call under key {spell(self.key)}; {hint}"


@final
class NotSettled(RuntimeError):  # noqa: N818 - a state of the slot, as the message reads
    """A slot was read, forgotten or popped before its call had ended."""


@final
class RunnerNotStarted(RuntimeError):  # noqa: N818 - a state of the runner
    """A runner was used before it was started, or on a copy (pickled, duplicated) never started."""


@final
class RunnerClosed(RuntimeError):  # noqa: N818 - a state of the runner
    """A call was submitted to a runner that takes no more calls."""

    _halt: object = None
    """Of a run that was ending, and so refused it: what had ended it."""


@final
class RunnerFull(RuntimeError):  # noqa: N818 - a state of the runner
    """A call was submitted without waiting, and `max_pending` calls wait for a place already."""


@final
class FlowTimedOut(TimeoutError):  # noqa: N818 - named for what happened
    """A flow has not ended within its `timeout`, and what was left of it has been cancelled.

    Attributes:
        flow: the name of the flow.
        timeout: the seconds that it had.
        keys: of the calls that had not ended then, in the order of their submission.
    """

    def __init__(self, flow: str, timeout: float, keys: tuple[Hashable, ...]) -> None:
        super().__init__(flow, timeout, keys)
        self.flow = flow
        self.timeout = timeout
        self.keys = keys

    def __repr__(self) -> str:
        return _short_repr(self)

    def __str__(self) -> str:
        cut = f"cut off: {spell_some(self.keys)}" if self.keys else "no call of it was left"
        return f"flow {self.flow!r} has not ended within its timeout of {self.timeout} seconds; {cut}"


@final
class CallCrashed(Exception):  # noqa: N818 - named for what happened, as CallCancelled is
    """A call was lost, and its own code is not to blame; raised to whoever asks for its result.

    Attributes:
        key: the key of the call.
        kind: what happened: `"worker-died"`, `"exit"`, `"serialize"`, `"deserialize"`,
            `"scheduler-lost"`, `"dask"`; a place of your own may have others.
        detail: a sentence for people.
        exit_code: of a worker that died, as `subprocess` has it: negative for a signal; for `"exit"` the
            code that was asked for; else `None`.
    """

    def __init__(self, key: Hashable, kind: str, detail: str, exit_code: int | None = None) -> None:
        super().__init__(key, kind, detail, exit_code)
        self.key = key
        self.kind = kind
        self.detail = detail
        self.exit_code = exit_code

    def __repr__(self) -> str:
        return _short_repr(self)

    def __str__(self) -> str:
        return f"call {spell(self.key)} crashed ({self.kind}): {self.detail}"


@final
class RemoteError(Exception):
    """Stands for an exception that was raised elsewhere and cannot be rebuilt here.

    Attributes:
        type_name: module and name of its class.
        message: what it said.
        traceback: the text of its traceback, over there.
    """

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


@final
class RemoteTraceback(Exception):  # noqa: N818 - it is no error, but shows where one came from
    """Hung as `__cause__` on an exception that was raised elsewhere: the text of its traceback there.

    Attributes:
        text: the traceback, as `traceback.format_exc` gives it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


@final
class StopCall(BaseException):
    """What `check_cancelled` raises: the call is cancelled, and is to unwind; creche catches it.

    As a loop's own ``Cancelled``, it is no `Exception`, so that ``except Exception`` lets it through.
    """


# Tracebacks name the public place, also where nobody has asked that for anything yet.
for _error in list(globals().values()):
    if isinstance(_error, type) and issubclass(_error, BaseException):
        _error.__module__ = "creche"
