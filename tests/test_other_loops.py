"""Waiting for slots, and cancelling calls, on the event loop of another thread."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from outcome import Value

from calls import Gate, fail, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, Slot, State
from creche._waiting import AsCompleted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


async def test_waiting(elsewhere: Any) -> None:
    """`wait`, `result`, `await slot` and `as_completed`, of what is settled and of what is not."""
    go = anyio.Event()

    async def later(value: int) -> int:
        await go.wait()
        return value

    async def there() -> None:
        assert await runner.wait("old") == Value(1)
        assert await runner.wait(slots[0], timeout=0.01) is None
        assert await runner.wait(slots[0], timeout=0) is None
        runner.cancel("start", reason="from elsewhere")
        assert await runner.result(0) == 0
        assert await slots[1] == 1
        async with runner.as_completed([*slots, "bad", "old"]) as arrivals:
            found = {slot.key async for slot in arrivals}
        assert found == {0, 1, 2, "bad", "old"}
        with pytest.raises(ValueError, match="b"):
            await runner.result("bad")
        with pytest.raises(CallCancelled, match="from elsewhere"):
            await runner.result("start")

    async def start() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            go.set()

    async with ConcurrentTaskRunner().start() as runner:
        await runner.submit_nowait("old", give)
        runner.submit_nowait("start", start)
        slots = [runner.submit_nowait(n, later, n) for n in range(3)]
        runner.submit_nowait("bad", fail)
        await elsewhere(there)


async def test_while_the_home_loop_is_blocked(elsewhere: Any) -> None:
    """They wait without it, and are answered when it is free; `cancel` does not wait."""
    blocked, asked = threading.Event(), threading.Event()
    seen: list[Any] = []

    async def there() -> None:
        blocked.wait(10)
        assert runner.cancel("open") is True
        asked.set()
        seen.append(await runner.wait("open"))

    async with anyio.create_task_group() as group, ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("open", forever)
        await settle_down()
        group.start_soon(elsewhere, there)
        await settle_down()
        blocked.set()
        assert asked.wait(10)  # this blocks the loop
        assert not runner.slots["open"].done
    assert isinstance(seen[0].error, CallCancelled)
    assert runner.cancel("open") is False


async def test_cancelling_the_waiter(elsewhere: Any) -> None:
    """It is immediate, and leaves the call alone, though the home loop does nothing meanwhile."""
    ended = threading.Event()

    async def there() -> None:
        with anyio.move_on_after(0.01) as scope:
            await runner.wait("open")
        assert scope.cancelled_caught
        with anyio.move_on_after(0.01) as scope:
            async with runner.as_completed() as slots:
                await anext(slots)
        assert scope.cancelled_caught
        ended.set()

    async with anyio.create_task_group() as group, ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("open", forever)
        await settle_down()
        group.start_soon(elsewhere, there)
        await settle_down()
        assert ended.wait(10)  # this blocks the loop
        assert runner.slots["open"].state is State.RUNNING
        runner.cancel("open")


async def test_news_that_comes_too_late(elsewhere: Any) -> None:
    """The waiter was cancelled, or its block left, in the moment in which the slot settled."""
    settled, waits = threading.Event(), threading.Event()

    async def there() -> None:
        async with runner.as_completed([slot]):
            with anyio.move_on_after(0.05):
                async with anyio.create_task_group() as group:
                    group.start_soon(slot.wait, None)
                    await anyio.sleep(0.01)
                    waits.set()
                    settled.wait(10)  # the news is under way now, and this loop has not seen it
                    group.cancel_scope.cancel()
        await anyio.sleep(0.01)

    async with anyio.create_task_group() as group, ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", forever)
        await settle_down()
        group.start_soon(elsewhere, there)
        await anyio.to_thread.run_sync(waits.wait, 10)
        runner.cancel("k")
        await settle_down()
        settled.set()
    assert slot.done


async def test_the_home_loop_ends(elsewhere: Any) -> None:
    """The waiter gets the final outcome, and can go on reading."""
    waits = threading.Event()
    seen: list[Any] = []
    runner = ConcurrentTaskRunner()

    async def there() -> None:
        waits.set()
        seen.append(await runner.wait("k"))
        seen.append(await runner.wait("k"))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with runner.start():
                runner.submit_nowait("k", forever)
                await settle_down()
                group.start_soon(elsewhere, there)
                await anyio.to_thread.run_sync(waits.wait, 10)
                scope.cancel()
    assert [outcome.error.origin for outcome in seen] == ["outer", "outer"]


async def test_the_other_loop_ends_first() -> None:
    """Whoever settles has nobody to wake any more, and does not mind."""
    inside, may_end = threading.Event(), threading.Event()

    async def there(runner: ConcurrentTaskRunner) -> None:
        # Entered and never left: what an abandoned generator does.
        await runner.as_completed(["k"]).__aenter__()

    def run(runner: ConcurrentTaskRunner) -> None:
        trio.run(there, runner)
        inside.set()
        may_end.wait(10)

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", forever)
        await settle_down()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, partial(run, runner))
            await anyio.to_thread.run_sync(inside.wait, 10)
            runner.cancel("k")
            await runner.wait("k")
            may_end.set()
    assert slot.done


async def test_many_waiters(elsewhere: Any) -> None:
    """None is forgotten."""
    keys = range(50)

    async def there() -> None:
        async with anyio.create_task_group() as group:
            for key in keys:
                group.start_soon(check, key)

    async def check(key: int) -> None:
        assert await runner.result(key) == key

    async with ConcurrentTaskRunner(4).start() as runner:
        for key in keys:
            runner.submit_nowait(key, give, key)
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(elsewhere, there)


async def test_a_block_that_is_left_before_the_news(elsewhere: Any) -> None:
    """A slot has settled, and the reader's loop has not seen it when the block is left."""
    inside, settled = threading.Event(), threading.Event()

    async def there() -> None:
        async with runner.as_completed([slot]):
            inside.set()
            settled.wait(10)  # this blocks the reader's loop
        await anyio.sleep(0.01)
        async with runner.as_completed([slot]) as slots:
            assert [one async for one in slots] == [slot]

    async with anyio.create_task_group() as group, ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", forever)
        group.start_soon(elsewhere, there)
        await anyio.to_thread.run_sync(inside.wait, 10)
        runner.cancel("k")
        await runner.wait("k")
        settled.set()


async def test_arrivals_are_noted_on_the_loop_of_the_reader(
    elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever settles a slot says so there, and touches nothing of that loop from here."""
    threads: list[tuple[int, int]] = []
    arrive = AsCompleted._arrive
    gate = Gate()

    def note(self: AsCompleted[Any], slot: Slot[Any]) -> None:
        threads.append((reader[0], threading.get_ident()))
        arrive(self, slot)

    monkeypatch.setattr(AsCompleted, "_arrive", note)
    reader: list[int] = []

    async def there() -> None:
        reader.append(threading.get_ident())
        with anyio.fail_after(5):
            async with runner.as_completed(slots) as arrivals:
                runner._run.home.hand_over(gate.open.set)  # type: ignore[union-attr]  # there is one
                assert {slot.key async for slot in arrivals} == {0, 1, 2}

    async with ConcurrentTaskRunner().start() as runner:
        slots = [runner.submit_nowait(number, gate) for number in range(3)]
        await settle_down()
        await elsewhere(there)
    assert threads == [(reader[0], reader[0])] * 3
