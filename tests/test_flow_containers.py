"""Containers among the arguments of tasks: each arrives as what it was, and costs what it holds."""

from __future__ import annotations

import copyreg
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any

import pytest

from creche import allow_failure, flow, task
from flowing import fail


@task
def give(value: Any) -> Any:
    return value


class Named(dict[str, Any]):
    pass


class Numbered(list[Any]):
    pass


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda slot: {slot, 2}, {1, 2}),
        (lambda slot: frozenset([slot]), frozenset([1])),
        (lambda slot: deque([0, slot], maxlen=2), deque([0, 1], maxlen=2)),
        (lambda slot: OrderedDict(b=slot, a=2), OrderedDict(b=1, a=2)),
        (lambda slot: defaultdict(int, b=slot), defaultdict(int, b=1)),
        (lambda slot: Named(b=slot), Named(b=1)),
        (lambda slot: Numbered([slot, 2]), Numbered([1, 2])),
        (lambda slot: (slot, {"a": (slot,)}), (1, {"a": (1,)})),
    ],
)
def test_other_containers(make: Any, expected: Any) -> None:
    """A container arrives as what it was, with the values in it."""

    @flow
    def body() -> None:
        slot = give.submit(1)
        came = give.submit(make(slot)).result()
        assert came == expected
        assert type(came) is type(expected)
        for what in ("default_factory", "maxlen"):
            assert getattr(came, what, None) == getattr(expected, what, None)

    body()


def test_what_was_one_object_is_one_afterwards() -> None:
    """A list that is in two places, and one in `allow_failure`."""

    @flow
    def body() -> None:
        slot, failed = give.submit(1), fail.submit()
        shared = [slot]
        first, second = give.submit([shared, (shared,)]).result()
        assert first is second[0]
        left, right = give.submit([allow_failure([failed]), allow_failure([failed])]).result()
        assert isinstance(left[0], LookupError)
        assert right == left

    body()


def test_deep_broad_and_shared_arguments_cost_what_they_hold() -> None:
    """A thousand thousand numbers, lists in lists, and one list by more ways than could be walked."""

    @flow
    def body() -> None:
        slot = give.submit(1)
        nested: Any = [slot]
        shared: Any = [slot]
        for _ in range(5000):
            nested = [nested]
        for _ in range(60):
            shared = [shared, shared]
        broad = [*range(100_000), slot]
        came: Any = give.submit([nested, shared, broad]).result()
        deep, doubled, numbers = came
        assert numbers[-1] == 1
        for _ in range(5000):
            (deep,) = deep
        assert deep == [1]
        while doubled != [1]:
            assert doubled[0] is doubled[1]
            doubled = doubled[0]

    body()


def test_a_circle_without_slots_beside_a_slot() -> None:
    """It is handed on as it is; one with a slot inside of it is refused, wherever that is."""
    circle: list[Any] = [1]
    circle.append([circle])

    @flow
    def body() -> None:
        slot = give.submit(1)
        came = give.submit([circle, slot]).result()
        assert came[0] is circle
        wrong: list[Any] = []
        wrong.append([slot, wrong])
        with pytest.raises(ValueError, match="part of itself"):
            give.submit(wrong).result()

    body()


@dataclass
class Wrong(Exception):  # noqa: N818 - it is never raised
    left: Any


@dataclass
class Sum(float):
    left: Any = None


@pytest.mark.parametrize("kind", [Wrong, Sum])
def test_a_dataclass_that_is_something_else(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original is left alone, whatever a library makes of copies of exceptions."""

    def shares(given: Any) -> Any:
        raise AssertionError(given)

    monkeypatch.setitem(copyreg.dispatch_table, Wrong, shares)

    @flow
    def body() -> None:
        slot = give.submit(1)
        given = kind([slot]) if kind is Wrong else kind()
        given.left = [slot]
        came = give.submit(given).result()
        assert type(came) is kind
        assert came.left == [1]
        assert given.left[0] is slot

    body()
