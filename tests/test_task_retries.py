"""Tasks that are tried again: in sync and async flows, in line, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from creche import ConcurrentTaskRunner, Retry, SequentialTaskRunner, Slot, State, flow, task
from creche.instruments import CallEvent, Instrument

pytestmark = pytest.mark.anyio


class Retrying(Instrument):
    """Writes down which attempts were followed by another, after which delay."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, int, float | None]] = []

    def call_retrying(self, event: CallEvent) -> None:
        self.heard.append((event.key, event.attempt, event.delay))


class Flaky:
    """Fails some times, and then gives how often it was called."""

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error("not yet")
        return self.calls


def flaky_task(failures: int, *, is_async: bool, **options: Any) -> Any:
    count = Flaky(failures)

    def plain() -> int:
        return count()

    async def on_loop() -> int:
        return count()

    return task(name="load", **options)(on_loop if is_async else plain)


@pytest.mark.parametrize("is_async", [False, True])
async def test_in_an_async_flow(is_async: bool) -> None:
    """Submitted, it waits as any call does; the time is that of the loop."""
    load = flaky_task(2, is_async=is_async, retries=2, retry_delay=0.01)
    heard = Retrying()

    @flow(task_runner=ConcurrentTaskRunner(1, instruments=[heard]))
    async def body() -> tuple[int, int]:
        slot: Slot[int] = load.submit()
        return await slot, slot.attempt

    assert await body() == (3, 3)
    assert heard.heard == [("load[0]", 1, 0.01), ("load[0]", 2, 0.01)]


@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
@pytest.mark.parametrize("is_async", [False, True])
def test_in_a_sync_flow(kind: Any, is_async: bool) -> None:
    """Submitted or called."""
    one = flaky_task(1, is_async=is_async, retries=1, retry_delay=0)
    other = flaky_task(1, is_async=is_async, retries=Retry(1, delay=0))

    @flow(task_runner=kind)
    def body() -> list[int]:
        return [one.submit().result(), other()]

    assert body() == [2, 2]


async def test_in_line() -> None:
    """A plain task that is called in an async flow, too."""
    load = flaky_task(1, is_async=False, retries=1, retry_delay=0)

    @flow
    async def body() -> int:
        return int(load())

    assert await body() == 2


async def test_what_is_not_worth_it() -> None:
    """An exception of another kind, or too many of them: the last one is what the flow sees."""
    kinds = flaky_task(1, is_async=True, retries=3, retry_delay=0, retry_on=(OSError, KeyError))
    tested = flaky_task(
        9, is_async=True, retries=2, retry_delay=0, retry_on=lambda exc: "yet" in str(exc)
    )
    never = flaky_task(1, is_async=True, retries=3, retry_on=KeyError)

    @flow
    async def body() -> tuple[Slot[int], ...]:
        slots = kinds.submit(), tested.submit(), never.submit()
        for slot in slots:
            slot.add_done_callback(lambda slot: slot.state is State.COMPLETED or slot.outcome)
        return slots

    first, second, third = await body()
    assert (first.result(), first.attempt) == (2, 2)
    assert (second.state, second.attempt, third.state, third.attempt) == (
        State.FAILED,
        3,
        State.FAILED,
        1,
    )
    with pytest.raises(ConnectionError):
        third.result()


def test_outside_of_a_flow() -> None:
    """It is just the function."""
    with pytest.raises(ConnectionError):
        flaky_task(1, is_async=False, retries=3)()


def test_options_of_options() -> None:
    """What is left out stays; a policy takes the place of all three; 0 takes them off."""

    @flow
    def body(load: Any) -> int:
        return int(load.submit().result())

    load = flaky_task(1, is_async=False, retries=2, retry_delay=0, retry_on=OSError)
    assert body(load.with_options(name="other")) == 2
    load = flaky_task(1, is_async=False, retries=2, retry_delay=0, retry_on=KeyError)
    assert body(load.with_options(retries=Retry(1, delay=0))) == 2
    load = flaky_task(1, is_async=False, retries=2, retry_delay=0)
    with pytest.raises(ConnectionError):
        body(load.with_options(retries=0))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"retries": -1}, ValueError, "retries must be at least 0"),
        ({"retries": 1.5}, TypeError, "retries must be"),
        ({"retries": True}, TypeError, "retries must be"),
        ({"retry_delay": math.nan}, ValueError, "retry_delay must be 0 or more"),
        ({"retries": 1, "retry_delay": -1}, ValueError, "retry_delay must be 0 or more"),
        ({"retries": 1, "retry_delay": "1"}, TypeError, "retry_delay must be a number"),
        ({"retries": 1, "retry_on": 5}, TypeError, "retry_on must be an exception type"),
        ({"retry_on": int}, TypeError, "retry_on must name types below Exception"),
        ({"retries": 1, "retry_on": KeyboardInterrupt}, TypeError, "retry_on must name types below"),
        ({"retries": Retry(1), "retry_delay": 1}, ValueError, "retry_delay cannot be combined"),
    ],
)
def test_bad_options(options: Any, error: type[Exception], says: str) -> None:
    """Refused at the decoration, with the task and the option."""
    with pytest.raises(error, match=f"task 'load': {says}"):
        flaky_task(0, is_async=False, **options)
    with pytest.raises(error, match=f"task 'load': {says}"):
        flaky_task(0, is_async=False).with_options(**options)
