"""`Retry`: the arithmetic of delays, and what is refused where it is written. No loop, no clock."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest

from creche import CallCrashed, Retry
from creche._retry import read_retries, read_retry

ERROR = ValueError("flaky")


def delays(policy: Retry, draw: float = 1.0) -> list[float | None]:
    """What it says after each attempt, as if they took no time, until it says no."""
    found: list[float | None] = []
    elapsed = 0.0
    while True:
        delay = policy.delay_after(len(found) + 1, elapsed, ERROR, draw)
        found.append(delay)
        if delay is None:
            return found
        elapsed += delay


def test_the_delays_grow_up_to_the_cap() -> None:
    """Each `factor` times the one before, and none longer than `cap`."""
    policy = Retry(5, delay=1, factor=3, cap=10, jitter="none")
    assert delays(policy) == [1, 3, 9, 10, 10, None]
    assert delays(Retry(2, delay=4, factor=1, jitter="none")) == [4, 4, None]
    assert delays(Retry(2, delay=0)) == [0, 0, None]
    assert delays(Retry(0)) == [None]


def test_the_defaults() -> None:
    """A tenth of a second, doubled, random, on every `Exception`."""
    assert Retry(3) == Retry(3, delay=0.1, factor=2, cap=30, jitter="full", deadline=None, on=Exception)
    assert delays(Retry(3)) == pytest.approx([0.1, 0.2, 0.4, None])


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.999])
def test_full_jitter_takes_a_random_part(draw: float) -> None:
    """Of all of the delay, which has been capped before."""
    policy = Retry(3, delay=1, factor=8, cap=10)
    assert delays(policy, draw) == [draw * 1, draw * 8, draw * 10, None]
    assert delays(dataclasses.replace(policy, jitter="none"), draw) == [1, 8, 10, None]


def test_a_delay_beyond_all_numbers_is_the_cap() -> None:
    """Also where the power is more than a float can hold, and where there is no delay at all."""
    assert Retry(10_000, jitter="none").delay_after(9_999, 0, ERROR, 0) == 30
    assert Retry(10_000, delay=0).delay_after(9_999, 0, ERROR, 1) == 0


def test_no_attempt_begins_after_the_deadline() -> None:
    """It is counted from when the first began, and the delay counts."""
    policy = Retry(9, delay=1, factor=1, jitter="none", deadline=5)
    assert policy.delay_after(1, 4, ERROR, 0) == 1
    assert policy.delay_after(1, 4.001, ERROR, 0) is None
    assert delays(policy) == [1, 1, 1, 1, 1, None]


@pytest.mark.parametrize(
    ("on", "retried"),
    [
        (Exception, [ValueError, OSError, ConnectionError, CallCrashed]),
        (OSError, [OSError, ConnectionError]),
        ((ConnectionError, ValueError), [ValueError, ConnectionError]),
        (lambda error: isinstance(error, ValueError), [ValueError]),
        (lambda error: error.args, []),
    ],
)
def test_on_what(on: Any, retried: list[type[Exception]]) -> None:
    """A type, a tuple of types, or a function that says so."""
    policy = Retry(1, on=on)
    errors = [ValueError(), OSError(), ConnectionError(), CallCrashed.__new__(CallCrashed)]
    assert [type(error) for error in errors if policy.delay_after(1, 0, error, 0) is not None] == retried


def test_a_function_is_not_asked_in_vain() -> None:
    """When there are no attempts left, it is not called."""
    policy = Retry(1, on=lambda _: pytest.fail("it was asked"))
    assert policy.delay_after(2, 0, ERROR, 0) is None


def test_policies_are_values() -> None:
    """Equal ones are equal, none can be changed, and one is made of another."""
    policy = Retry(3, on=(OSError, ValueError))
    assert policy == Retry(3, on=(OSError, ValueError)) != Retry(4)
    assert hash(policy) == hash(Retry(3, on=(OSError, ValueError)))
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert dataclasses.replace(policy, retries=4).retries == 4
    assert Retry.__module__ == "creche"
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.retries = 4  # type: ignore  # pyright: ignore  # wrong on purpose
    with pytest.raises(TypeError):
        Retry(3, 0.5)  # type: ignore  # pyright: ignore  # wrong on purpose


async def never(_: Exception) -> bool:
    """No plain function."""
    return False


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"retries": -1}, ValueError, "retries must be at least 0, not -1"),
        ({"retries": 1.0}, TypeError, "retries must be a whole number"),
        ({"retries": True}, TypeError, "retries must be a whole number"),
        ({"retries": None}, TypeError, "retries must be a whole number"),
        ({"delay": -1}, ValueError, "delay must be 0 or more, and finite, not -1"),
        ({"delay": math.nan}, ValueError, "delay must be 0 or more, and finite, not nan"),
        ({"delay": math.inf}, ValueError, "delay must be 0 or more, and finite, not inf"),
        ({"delay": 10**400}, ValueError, "delay must be 0 or more, and finite"),
        ({"delay": "1"}, TypeError, "delay must be a number, not '1'"),
        ({"delay": False}, TypeError, "delay must be a number, not False"),
        ({"delay": 31}, ValueError, r"delay must not be more than cap, 30\.0 .* is 31; set cap="),
        ({"factor": 0.5}, ValueError, r"factor must be 1 or more, and finite, not 0\.5; 1 means"),
        ({"factor": math.nan}, ValueError, "factor must be 1 or more"),
        ({"cap": math.inf}, ValueError, "cap must be 0 or more, and finite, not inf"),
        ({"cap": None}, TypeError, "cap must be a number, not None"),
        ({"jitter": "half"}, ValueError, "jitter must be 'full' or 'none', not 'half'"),
        ({"jitter": None}, ValueError, "jitter must be 'full' or 'none', not None"),
        ({"deadline": 0}, ValueError, "deadline must be more than 0 seconds.* use retries=0"),
        ({"deadline": -1}, ValueError, "deadline must be 0 or more"),
        ({"deadline": math.nan}, ValueError, "deadline must be 0 or more.* None means no limit"),
        ({"deadline": "soon"}, TypeError, "deadline must be a number, not 'soon'"),
        ({"on": int}, TypeError, "on must name types below Exception, not <class 'int'>"),
        ({"on": BaseException}, TypeError, "on must name types below Exception.*Ctrl-C"),
        ({"on": KeyboardInterrupt}, TypeError, "never retried; use Exception for everything else"),
        ({"on": (OSError, "x")}, TypeError, "on must name types below Exception, not 'x'"),
        ({"on": ()}, ValueError, r"on must name an exception type at least, not \(\)"),
        ({"on": "ValueError"}, TypeError, "on must be an exception type, .* not 'ValueError'"),
        ({"on": None}, TypeError, "on must be an exception type"),
        ({"on": [OSError]}, TypeError, "a tuple of them"),
        ({"on": ValueError()}, TypeError, "on must be an exception type"),
        ({"on": never}, TypeError, "a plain function of the exception"),
    ],
)
def test_what_is_refused(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    """By a sentence that names the option, and says what to write."""
    with pytest.raises(kind, match=said):
        Retry(**{"retries": 3, **options})


def test_reading_a_calls_option() -> None:
    """A number, a policy, or nothing; none that allows no retry is left."""
    policy = Retry(2, delay=1)
    assert read_retry(policy) is policy
    assert read_retry(2) == Retry(2)
    assert read_retry(None) is read_retry(0) is read_retry(Retry(0)) is None


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (-1, ValueError, "retry must be at least 0, not -1; or a Retry"),
        (True, TypeError, "retry must be a whole number .* not True; or a Retry, or None"),
        ("3", TypeError, "retry must be a whole number .* not '3'; or a Retry"),
        (Retry, TypeError, "retry must be a whole number"),
    ],
)
def test_a_calls_option_that_is_refused(given: Any, kind: type[Exception], said: str) -> None:
    """It is named."""
    with pytest.raises(kind, match=said):
        read_retry(given)


def test_reading_a_tasks_options() -> None:
    """A delay that is given is the same each time, and not random; otherwise they grow."""
    assert read_retries(3) == Retry(3)
    assert read_retries(3, on=OSError) == Retry(3, on=(OSError,))
    assert read_retries(3, 2.5) == Retry(3, delay=2.5, factor=1, jitter="none")
    assert read_retries(3, 3600) == Retry(3, delay=3600, factor=1, cap=3600, jitter="none")
    assert read_retries(0, 3600, OSError) is read_retries(None) is read_retries(0) is None
    policy = Retry(2, delay=1)
    assert read_retries(policy) is policy


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ((-1,), ValueError, "retries must be at least 0"),
        ((3, math.nan), ValueError, "retry_delay must be 0 or more, and finite, not nan; leave it out"),
        ((0, -1), ValueError, "retry_delay must be 0 or more"),
        ((3, None, int), TypeError, "retry_on must name types below Exception"),
        ((0, None, "x"), TypeError, "retry_on must be an exception type"),
        ((Retry(3), 1), ValueError, r"retry_delay cannot be .*write retries=Retry\(..., delay=1\)"),
        ((Retry(3), None, OSError), ValueError, "retry_on cannot be combined with a policy as retries"),
    ],
)
def test_a_tasks_options_that_are_refused(
    options: tuple[Any, ...], kind: type[Exception], said: str
) -> None:
    """The option is called what it is called there."""
    with pytest.raises(kind, match=said):
        read_retries(*options)
