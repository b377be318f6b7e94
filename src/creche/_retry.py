"""Retries: whether a call that has failed is tried again, and after how long; pure arithmetic.

What it is for: `Retry` is what a user writes, and answers one question. Whoever carries calls out asks
it after each attempt that has failed.

What it does not know: clocks, randomness, waiting: the seconds that have passed and a random number are
arguments. What the call is.

Invariant: a policy that was made is valid. There are never more than `retries` delays, none of them is
longer than `cap`, and none ends after `deadline`.

The defaults are those that people know from stamina, as far as they fit: a tenth of a second, doubled
each time, and random. All of the delay is random, not a part added to it: calls that have failed
together because somebody was overloaded then come back spread over the whole time.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal, final

from ._checks import check_choice, check_count

RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]

DELAY = 0.1
CAP = 30.0


@final
@dataclass(frozen=True)
class Retry:
    """How often a call that fails is tried again, on what, and after how long.

    Before the second attempt it waits up to `delay` seconds, before each further one up to `factor`
    times as long as before, and never longer than `cap`. With `jitter="full"` each delay is a random
    part of that, with `jitter="none"` it is the whole. ``random.seed(…)`` makes the delays repeatable.

    Policies that are equal behave equally; `dataclasses.replace` makes one of another.

    Attributes:
        retries: how many attempts there are at most beside the first.
        delay: the first delay, in seconds, before it is made random.
        factor: by which it grows from one to the next; 1 for equal delays.
        cap: the longest delay, in seconds.
        jitter: `"full"` or `"none"`.
        deadline: how many seconds after the first attempt began another one may begin at the latest;
            `None` for no limit. It stops no attempt that has begun: that is what `timeout=` of the call
            is for, which is of each attempt.
        on: which exceptions are worth another attempt: a type of them, a tuple of types, or a function
            that is given the exception, and says so.

    Raises:
        TypeError: a number is none, or `on` is neither exception types nor a plain function.
        ValueError: a number is negative, NaN or infinite, `factor` is less than 1, `delay` is more than
            `cap`, `deadline` is 0, `jitter` is neither of the two, or `on` is an empty tuple.
    """

    retries: int
    _: KW_ONLY
    delay: float = DELAY
    factor: float = 2.0
    cap: float = CAP
    jitter: Literal["full", "none"] = "full"
    deadline: float | None = None
    on: RetryOn = Exception

    def __post_init__(self) -> None:
        """Check it."""
        check_count("retries", self.retries, least=0, cure="0 means that there is one attempt")
        _check_number("delay", self.delay, cure="0 means at once")
        _check_number("factor", self.factor, least=1, cure="1 means equal delays")
        _check_number("cap", self.cap, cure="it is the longest delay, in seconds")
        if self.delay > self.cap:
            msg = (
                f"delay must not be more than cap, {self.cap!r} seconds, and is {self.delay!r}; set cap="
            )
            raise ValueError(msg)
        check_choice("jitter", self.jitter, ("full", "none"))
        if self.deadline is not None:
            _check_number("deadline", self.deadline, cure="None means no limit")
            if self.deadline == 0:
                msg = "deadline must be more than 0 seconds: no other attempt could begin; use retries=0"
                raise ValueError(msg)
        _check_on("on", self.on)

    def delay_after(self, attempt: int, elapsed: float, error: Exception, draw: float) -> float | None:
        """How long to wait before the next attempt.

        Args:
            attempt: which one has failed, from 1.
            elapsed: how many seconds ago the first one began.
            error: what it has failed with.
            draw: a random number of at least 0, and less than 1.

        Returns:
            seconds; `None` if there is to be no other attempt.

        Raises:
            BaseException: whatever `on` raises, if it is a function.
        """
        if attempt > self.retries or not self._is_on(error):
            return None
        try:
            longest = min(self.cap, self.delay * float(self.factor) ** (attempt - 1))
        except OverflowError:
            longest = self.cap if self.delay else 0.0
        delay = longest * draw if self.jitter == "full" else longest
        if self.deadline is not None and elapsed + delay > self.deadline:
            return None
        return delay

    def _is_on(self, error: Exception) -> bool:
        on = self.on
        if isinstance(on, (type, tuple)):
            return isinstance(error, on)
        return bool(on(error))


def read_retry(given: object, option: str = "retry") -> Retry | None:
    """Check what was passed as a call's retries.

    Args:
        given: a number of retries, a `Retry`, or `None`.
        option: its name.

    Returns:
        the policy; `None` if there is one attempt only.

    Raises:
        TypeError: it is none of these.
        ValueError: the number is negative.
    """
    if given is None:
        return None
    if not isinstance(given, Retry):
        cure = "or a Retry, or None for none"
        given = Retry(check_count(option, given, least=0, cure=cure))
    return given if given.retries else None


def read_retries(
    retries: object,
    delay: object = None,
    on: object = None,
) -> Retry | None:
    """Check the retries of a task, which says in three options what a policy says in one.

    Args:
        retries: a number, or a whole policy.
        delay: seconds between any two attempts, each time the same; `None` for delays that grow.
        on: as `Retry.on`; `None` for every `Exception`.

    Returns:
        the policy; `None` if there is one attempt only.

    Raises:
        TypeError: one of them is of the wrong type.
        ValueError: a number is negative, NaN or infinite, or a policy comes with a delay or an `on`
            beside it.
    """
    policy = read_retry(retries, "retries")
    if isinstance(retries, Retry):
        for own, value in (("delay", delay), ("on", on)):
            if value is not None:
                msg = (
                    f"retry_{own} cannot be combined with a policy as retries; write "
                    f"retries=Retry(..., {own}={value!r})"
                )
                raise ValueError(msg)
        return policy
    wanted: RetryOn = Exception if on is None else _check_on("retry_on", on)
    if delay is None:
        return None if policy is None else Retry(policy.retries, on=wanted)
    seconds = _check_number("retry_delay", delay, cure="leave it out for delays that grow")
    if policy is None:
        return None
    cap = max(seconds, CAP)
    return Retry(policy.retries, delay=seconds, factor=1, cap=cap, jitter="none", on=wanted)


def _check_on(option: str, given: object) -> RetryOn:
    """Check what says which exceptions are worth another attempt.

    Args:
        option: its name.
        given: what was passed.

    Returns:
        the same.

    Raises:
        TypeError: it is no exception type below `Exception`, no tuple of such, and no plain function.
        ValueError: it is an empty tuple.
    """
    types = given if isinstance(given, tuple) else (given,) if isinstance(given, type) else None
    if types is None:
        if not callable(given) or inspect.iscoroutinefunction(given):
            msg = (
                f"{option} must be an exception type, a tuple of them, or a plain function of the "
                f"exception that says whether to try again, not {given!r}"
            )
            raise TypeError(msg)
        return given
    if not types:
        msg = f"{option} must name an exception type at least, not {given!r}; use retries=0 for none"
        raise ValueError(msg)
    for one in types:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            msg = (
                f"{option} must name types below Exception, not {one!r}: cancellation, Ctrl-C and "
                f"SystemExit are never retried; use Exception for everything else"
            )
            raise TypeError(msg)
    return types


def _check_number(option: str, given: object, *, cure: str, least: float = 0) -> float:
    """Check a number that is not negative, and finite.

    Raises:
        TypeError: it is no number.
        ValueError: it is less than `least`, NaN or infinite.
    """
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        msg = f"{option} must be a number, not {given!r}; {cure}"
        raise TypeError(msg)
    if not least <= given <= sys.float_info.max:  # NaN is not, either
        msg = f"{option} must be {least} or more, and finite, not {given!r}; {cure}"
        raise ValueError(msg)
    return given
