"""`map`: a function over items, in order, with a bound, and an end at the first failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from outcome import Error, Value

from calls import Gate, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, KeyTaken, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def later(n: int) -> int:
    """The bigger, the sooner."""
    await anyio.sleep((10 - n) / 100)
    return n * n


async def count_async(n: int) -> AsyncIterator[int]:
    for value in range(n):
        await anyio.lowlevel.checkpoint()
        yield value


@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_values_come_in_the_order_of_the_items(kind: Any) -> None:
    """Whatever order the calls end in; from an iterable and from an async one."""
    runner = kind()
    async with runner.start():
        assert await runner.map(later, range(10)) == [n * n for n in range(10)]
        assert await runner.map(later, count_async(10)) == [n * n for n in range(10)]
        assert await runner.map(len, ["a", "bb"]) == [1, 2]
        assert await runner.map(give, []) == []
        assert await runner.map(give, count_async(0)) == []


async def test_fresh_keys_leave_the_board_and_given_ones_stay(runner: ConcurrentTaskRunner) -> None:
    """Without `key` the calls leave no trace; with it they can be asked for."""
    async with runner.start():
        await runner.map(give, range(3))
        assert dict(runner.slots) == {}
        await runner.map(give, range(3), key=lambda n: f"k{n}")
        assert list(runner.slots) == ["k0", "k1", "k2"]
        with pytest.raises(KeyTaken):
            await runner.map(give, range(3), key=lambda n: f"k{n}")


async def test_the_first_failure_in_time_ends_it(runner: ConcurrentTaskRunner) -> None:
    """It is raised when the other calls have been cancelled and have ended."""
    ended: list[int] = []

    async def work(n: int) -> int:
        if n:
            await anyio.sleep(n / 100)
            raise LookupError(n)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append(n)
        raise AssertionError

    async with runner.start():
        with pytest.raises(LookupError, match="1"):
            await runner.map(work, [0, 2, 1], key=str)
        assert ended == [0]
        assert [runner.slots[key].state for key in ("0", "2", "1")] == [
            State.CANCELLED,
            State.CANCELLED,
            State.FAILED,
        ]
        assert "'1'" in str(runner.slots["0"].reason)


async def test_a_call_that_is_cancelled_ends_it(runner: ConcurrentTaskRunner) -> None:
    """A call that did not complete is a failure, too."""
    async with runner.start():

        async def cancel_it() -> None:
            await settle_down()
            runner.cancel("1")

        runner.submit_nowait("c", cancel_it)
        with pytest.raises(CallCancelled):
            await runner.map(lambda n: forever(), [1, 2], key=str)


async def test_outcomes(runner: ConcurrentTaskRunner) -> None:
    """With `return_outcomes` nothing ends it, and each failure is in its place."""

    async def odd_fails(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n

    async with runner.start():
        outcomes = await runner.map(odd_fails, range(4), return_outcomes=True)
    assert [type(outcome) for outcome in outcomes] == [Value, Error, Value, Error]
    assert outcomes[2] == Value(2)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_it_pulls_only_as_places_come_free(asynchronous: bool) -> None:
    """No item is taken for which there is no place, so memory is bounded."""
    runner = ConcurrentTaskRunner(max_workers=3)
    pulled, ended, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal pulled, most
        for n in range(200):
            pulled += 1
            most = max(most, pulled - ended)
            yield n

    async def aitems() -> AsyncIterator[int]:
        for n in items():
            yield n

    async def work(n: int) -> int:
        nonlocal ended
        await anyio.lowlevel.checkpoint()
        ended += 1
        return n

    async with runner.start():
        assert await runner.map(work, aitems() if asynchronous else items()) == list(range(200))
    assert most <= 3


async def test_an_iterable_that_raises(runner: ConcurrentTaskRunner) -> None:
    """Its error comes out, and the calls that were submitted are cancelled and have ended."""

    def items() -> Iterator[int]:
        yield 1
        raise OSError("source")

    async def aitems() -> AsyncIterator[int]:
        yield 2
        raise OSError("source")

    def no_key(n: int) -> int:
        raise OSError("key")

    gate = Gate()
    async with runner.start():
        for source, key in ((items(), str), (aitems(), str), ([3], no_key)):
            with pytest.raises(OSError, match="source|key"):
                await runner.map(gate, source, key=key)
        assert all(slot.done for slot in runner.slots.values())
        assert list(runner.slots) == ["1", "2"]
        assert gate.inside == 0


async def test_cancelled_midway(runner: ConcurrentTaskRunner) -> None:
    """Its calls are cancelled, and have ended when it raises."""
    gate = Gate()
    async with runner.start():
        with anyio.move_on_after(0.05) as scope:
            await runner.map(gate, range(5), key=str)
        assert scope.cancelled_caught
        assert [slot.origin for slot in runner.slots.values()] == ["cancel"] * 5
        assert gate.inside == 0
        assert await runner.map(give, [1]) == [1]


async def test_a_failure_does_not_wait_for_a_slow_source(runner: ConcurrentTaskRunner) -> None:
    """A source that stalls is interrupted, and closed."""
    closed: list[bool] = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async def fail_later(n: int) -> None:
        await anyio.sleep(0.01)
        raise LookupError(n)

    async with runner.start():
        with pytest.raises(LookupError):
            await runner.map(fail_later, source())
    assert closed == [True]


async def test_wrong_arguments(runner: ConcurrentTaskRunner) -> None:
    """They are refused before anything is pulled or submitted, also when there is no item."""
    async with runner.start():
        with pytest.raises(TypeError, match="iterable"):
            await runner.map(give, 5)  # type: ignore[call-overload]  # wrong on purpose
        with pytest.raises(TypeError, match="callable"):
            await runner.map("give", [])  # type: ignore[call-overload]  # wrong on purpose
        with pytest.raises(TypeError, match="key must be a function"):
            await runner.map(give, [], key="k")  # type: ignore[call-overload]  # wrong on purpose
        with pytest.raises(TypeError, match="awaitable"):
            await runner.map(give(1), [])  # type: ignore[call-overload]  # wrong on purpose
    assert dict(runner.slots) == {}


async def test_a_plain_function_that_raises_stop_iteration(
    runner: ConcurrentTaskRunner, real_time: None
) -> None:
    """It fails like any other; it does not end the iteration early."""

    def stop(n: int) -> int:
        raise StopIteration(n)

    async with runner.start():
        outcomes = await runner.map(stop, [1, 2], return_outcomes=True)
    assert [type(outcome.error) for outcome in outcomes if isinstance(outcome, Error)] == [
        StopIteration
    ] * 2


async def test_a_runner_that_keeps_nothing() -> None:
    """With `retain=False` a map gives the same values, and leaves the board as empty."""
    async with ConcurrentTaskRunner(2, retain=False).start() as runner:
        assert await runner.map(give, range(5)) == [0, 1, 2, 3, 4]
        assert dict(runner.slots) == {}


async def test_a_failure_among_many_items_that_never_wait() -> None:
    """It is seen while items are still being pulled, and ends that."""
    pulled: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1000):
            pulled.append(n)
            yield n

    async def fail_at_first(n: int) -> None:
        if n == 0:
            raise LookupError(n)

    async with ConcurrentTaskRunner().start() as runner:
        with pytest.raises(LookupError):
            await runner.map(fail_at_first, items())
    assert len(pulled) < 200


async def test_a_failure_that_arrives_together_with_another_settling(
    runner: ConcurrentTaskRunner,
) -> None:
    """It is not overlooked while the map goes on to its source, which may be quiet for an hour."""

    async def fail_at(n: int) -> int:
        await anyio.sleep(0.001)
        if n == 20:
            raise ValueError(n)
        return n

    async def quiet_in_the_end() -> AsyncIterator[int]:
        for n in range(1000):
            await anyio.sleep(0 if n < 22 else 3600)
            yield n

    with anyio.fail_after(60):
        async with ConcurrentTaskRunner(2).start() as started:
            with pytest.raises(ValueError, match="20"):
                await started.map(fail_at, quiet_in_the_end())


async def test_what_is_wished_of_each_call() -> None:
    """A timeout, a priority, limits: as of `submit`; a wrong one is refused before an item is pulled."""
    runner = ConcurrentTaskRunner(limits={"db": 2})
    gate = Gate()
    items = iter(range(5))

    async def open_later() -> None:
        await settle_down()
        gate.open.set()

    async with anyio.create_task_group() as group, runner.start():
        group.start_soon(open_later)
        assert await runner.map(gate, range(5), limits=["db"]) == [0, 1, 2, 3, 4]
        assert gate.most == 2
        with pytest.raises(TimeoutError, match=r"0\.01 seconds"):
            await runner.map(forever_for, range(2), timeout=0.01)
        for options, error in (
            ({"timeout": -1}, ValueError),
            ({"priority": "high"}, TypeError),
            ({"limits": ["none"]}, ValueError),
            ({"limits": "db"}, TypeError),
        ):
            wrong: Any = options
            with pytest.raises(error, match=next(iter(wrong))[:5]):
                await runner.map(give, items, **wrong)
        assert next(items) == 0


async def test_a_map_with_priority() -> None:
    """Its calls come before others that wait."""
    runner = ConcurrentTaskRunner(1)
    order: list[Any] = []

    async def note(name: Any) -> None:
        order.append(name)

    async with runner.start():
        runner.submit_nowait("running", note, "running")
        runner.submit_nowait("other", note, "other")
        await runner.map(note, [1, 2], priority=1)
    assert order.index(1) < order.index("other")
    assert sorted(map(str, order)) == ["1", "2", "other", "running"]


async def forever_for(_: int) -> None:
    """Wait until cancelled."""
    await forever()
