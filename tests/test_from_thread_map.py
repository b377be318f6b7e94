"""`runner.from_thread.map`: items are pulled in the thread, and bounded; no call is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from outcome import Error, Value

from calls import forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, KeyTaken, RunnerClosed, State
from creche.instruments import CallEvent, Instrument

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


async def picky(n: int) -> int:
    """Fail for 3, and wait for ever after it."""
    if n == 3:
        raise ValueError(n)
    if n > 3:
        await forever()
    return n


async def test_values_in_order() -> None:
    """Of async functions and plain ones; with keys of their own they stay on the board."""

    def there() -> None:
        portal = runner.from_thread
        assert portal.map(give, []) == []
        assert portal.map(give, range(10)) == list(range(10))
        assert portal.map(str, iter([1, 2])) == ["1", "2"]
        assert len(runner.slots) == 0
        assert portal.map(give, [1, 2], key=lambda n: f"item {n}") == [1, 2]
        with pytest.raises(KeyTaken):
            portal.map(give, [3, 1], key=lambda n: f"item {n}")

    for runner in (ConcurrentTaskRunner(2), ConcurrentTaskRunner()):
        async with runner.start():
            await anyio.to_thread.run_sync(there)
            assert list(runner.slots) == ["item 1", "item 2", "item 3"]


async def test_wrong_arguments() -> None:
    """They are refused before an item is pulled."""

    def there() -> None:
        portal: Any = runner.from_thread
        with pytest.raises(TypeError, match="iterable"):
            portal.map(give, 5)
        with pytest.raises(TypeError, match="key"):
            portal.map(give, items, key="name")
        with pytest.raises(TypeError, match="callable"):
            portal.map(5, items)

    items = iter([1])
    async with ConcurrentTaskRunner().start() as runner:
        await anyio.to_thread.run_sync(there)
    assert next(items) == 1


@pytest.mark.parametrize("workers", [2, None])
async def test_the_first_failure(workers: int | None) -> None:
    """It comes out, and the others are cancelled and have ended."""
    pulled: list[int] = []

    def items() -> Iterator[int]:
        for n in range(10):
            pulled.append(n)
            yield n

    def there() -> None:
        with pytest.raises(ValueError, match="3"):
            runner.from_thread.map(picky, items(), key=str)
        assert all(slot.done for slot in runner.slots.values())
        outcomes = runner.from_thread.map(picky, [1, 3], return_outcomes=True)
        assert outcomes[0] == Value(1)
        assert isinstance(outcomes[1], Error)

    async with ConcurrentTaskRunner(workers).start() as runner:
        await anyio.to_thread.run_sync(there)
    assert runner.slots["3"].state is State.FAILED
    if workers is not None:
        assert len(pulled) <= 3 + workers + 1


async def test_it_is_bounded() -> None:
    """An item is pulled when there is room for its call; a failure of the source ends it."""
    ahead: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            ahead.append(len(runner))
            yield n
        raise LookupError

    def there() -> None:
        with pytest.raises(LookupError):
            runner.from_thread.map(give, items())
        assert len(runner.slots) == 0

    async with ConcurrentTaskRunner(3).start() as runner:
        await anyio.to_thread.run_sync(there)
        assert max(ahead) <= 3


async def test_items_are_pulled_in_the_thread() -> None:
    """And so is `key` called: what belongs to a thread stays there."""

    def there() -> None:
        here = threading.get_ident()

        def items() -> Iterator[int]:
            assert threading.get_ident() == here
            yield 1

        def key(n: int) -> int:
            assert threading.get_ident() == here
            return n

        assert runner.from_thread.map(give, items(), key=key) == [1]

    async with ConcurrentTaskRunner().start() as runner:
        await anyio.to_thread.run_sync(there)


@pytest.mark.parametrize("how", ["cancelled", "drained"])
async def test_the_run_ends_meanwhile(how: str) -> None:
    """The map ends with it: by the end of a call, or by a refusal."""
    began = threading.Event()
    seen: list[BaseException] = []

    async def call(n: int) -> None:
        began.set()
        await anyio.sleep_forever()

    def there() -> None:
        with pytest.raises((CallCancelled, RunnerClosed)) as caught:
            runner.from_thread.map(call, range(10))
        seen.append(caught.value)

    async with anyio.create_task_group() as others:
        with anyio.CancelScope() as scope:
            async with ConcurrentTaskRunner(2).start() as runner:
                others.start_soon(anyio.to_thread.run_sync, there)
                await anyio.to_thread.run_sync(began.wait)
                if how == "cancelled":
                    scope.cancel()
                else:
                    await runner.drain(0)
    assert len(seen) == 1
    assert all(slot.done for slot in runner.slots.values())


async def test_a_map_in_a_plain_call() -> None:
    """Its place is lent while it waits."""

    def call() -> list[int]:
        return runner.from_thread.map(give, range(5))

    async with ConcurrentTaskRunner(1).start() as runner:
        assert await runner.submit_nowait("map", call) == [0, 1, 2, 3, 4]


class CancelsAll(Instrument):
    """An instrument that cancels each call of which it is told."""

    def call_submitted(self, event: CallEvent) -> None:
        """Cancel it."""
        self.runner.cancel(event.key)

    runner: Any = None


async def test_a_call_that_ends_before_it_is_listened_to() -> None:
    """It comes all the same."""
    instrument = CancelsAll()

    def there() -> None:
        with pytest.raises(CallCancelled):
            runner.from_thread.map(give, [1])

    async with ConcurrentTaskRunner(instruments=[instrument]).start() as runner:
        instrument.runner = runner
        await anyio.to_thread.run_sync(there)


async def test_an_interrupted_map() -> None:
    """What was submitted is cancelled, and has ended, when the interrupt comes out."""

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyboardInterrupt

    async def call(n: int) -> None:
        await anyio.sleep_forever()

    def there() -> None:
        with pytest.raises(KeyboardInterrupt):
            runner.from_thread.map(call, items(), key=str)
        assert [slot.origin for slot in runner.slots.values()] == ["cancel", "cancel"]

    async with ConcurrentTaskRunner().start() as runner:
        await anyio.to_thread.run_sync(there)
        await settle_down()


async def test_what_is_wished_of_each_call() -> None:
    """As of the runner's own map."""
    runner = ConcurrentTaskRunner(limits={"db": 2})
    inside = most = 0
    two = anyio.Event()

    async def count(n: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 2:
            two.set()
        with anyio.move_on_after(10):
            await two.wait()
        await anyio.sleep(0.001)  # a third would come now
        inside -= 1
        return n

    async def too_long(_: int) -> None:
        await forever()

    def there() -> None:
        portal: Any = runner.from_thread
        assert portal.map(count, range(6), limits=["db"], priority=1) == list(range(6))
        with pytest.raises(TimeoutError, match=r"0\.01 seconds"):
            portal.map(too_long, range(2), timeout=0.01)
        with pytest.raises(ValueError, match="limit 'none'"):
            portal.map(give, [1], limits=["none"])

    async with runner.start():
        await anyio.to_thread.run_sync(there)
    assert most == 2
