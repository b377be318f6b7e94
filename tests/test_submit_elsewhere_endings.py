"""Submissions on another thread's loop that take their time, or that the end of the run overtakes."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from calls import give, settle_down, swallow
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    RunnerClosed,
    SequentialTaskRunner,
    Slot,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

runners = pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])


async def test_cancelling_a_submit_that_runs_the_call(elsewhere: Any) -> None:
    """A sequential runner's: it does not wait for the end of the call, which is cancelled, too."""
    running, blocked, left = anyio.Event(), threading.Event(), threading.Event()

    async def call() -> None:
        running.set()
        await anyio.sleep_forever()

    async def there() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(runner.submit, "k", call)
            await anyio.to_thread.run_sync(blocked.wait, 10)
            group.cancel_scope.cancel()
        left.set()

    async with SequentialTaskRunner().start() as runner, anyio.create_task_group() as others:
        others.start_soon(elsewhere, there)
        await running.wait()
        blocked.set()
        assert left.wait(10)  # this blocks the loop
        outcome = await runner.wait("k")
        assert outcome is not None
        assert runner.slots["k"].origin == "outer"


async def test_taken_back_before_its_task_has_begun(elsewhere: Any) -> None:
    """The home loop has come to it, and no further: nothing has been submitted."""
    gates = [(threading.Event(), threading.Event()) for _ in range(2)]
    ended = threading.Event()

    def hold(reached: threading.Event, go_on: threading.Event) -> None:
        reached.set()
        assert go_on.wait(10)

    async def submit() -> None:
        await runner.submit("k", give)

    async def there() -> None:
        assert runner._run is not None
        post = runner._run.home.portal.post
        post(partial(hold, *gates[0]))
        gates[0][0].wait(10)
        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await settle_down()
            post(partial(hold, *gates[1]))
            gates[0][1].set()
            await anyio.to_thread.run_sync(gates[1][0].wait, 10)
            await settle_down()
            group.cancel_scope.cancel()
        gates[1][1].set()
        ended.set()

    async with SequentialTaskRunner().start() as runner:
        await elsewhere(there)
        assert ended.is_set()
        assert await (await runner.submit("more", give)) == 1
        assert list(runner.slots) == ["more"]


async def test_a_call_that_swallows_the_cancellation_of_its_submit(elsewhere: Any) -> None:
    """A value beats it."""
    running = threading.Event()

    async def call() -> Any:
        running.set()
        return await swallow(4)

    async def there() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(runner.submit, "k", call)
            await anyio.to_thread.run_sync(running.wait, 10)
            group.cancel_scope.cancel()

    async with SequentialTaskRunner().start() as runner:
        await elsewhere(there)
        assert await runner.result("k") == 4


@runners
@pytest.mark.parametrize("how", ["normal", "raises", "cancelled"])
async def test_the_home_loop_ends_while_it_waits(elsewhere: Any, make: Any, how: str) -> None:
    """A submission that it has not come to is refused, or was made in time; it never waits for ever."""
    waits = threading.Event()
    seen: list[Any] = []

    async def there() -> None:
        waits.set()
        try:
            for n in range(100_000):
                await (await runner.submit(n, give, n))
        except (RunnerClosed, CallCancelled) as exc:
            seen.append(exc)

    async with anyio.create_task_group() as others:
        with anyio.CancelScope() as scope:
            try:
                async with make().start() as runner:
                    others.start_soon(elsewhere, there)
                    await anyio.to_thread.run_sync(waits.wait, 10)
                    if how == "raises":
                        raise LookupError
                    if how == "cancelled":
                        scope.cancel()
            except LookupError:
                pass
    assert len(seen) == 1
    assert all(slot.done for slot in runner.slots.values())


async def test_a_submission_that_waits_when_the_run_is_cancelled(elsewhere: Any) -> None:
    """It is told that the runner is closing."""
    running = anyio.Event()
    seen: list[Any] = []

    async def call() -> None:
        running.set()
        await anyio.sleep_forever()

    async def there() -> None:
        with pytest.raises(RunnerClosed) as caught:
            await runner.submit("k", call)
        seen.append(caught.value)

    async with anyio.create_task_group() as others:
        with anyio.CancelScope() as scope:
            async with SequentialTaskRunner().start() as runner:
                others.start_soon(elsewhere, there)
                await running.wait()
                scope.cancel()
    assert len(seen) == 1
    assert runner.slots["k"].origin == "outer"


@runners
async def test_a_loop_that_a_plain_call_runs(make: Any) -> None:
    """Its place is lent while that loop waits."""

    async def there() -> Any:
        slot = await runner.submit("k", give)
        return await runner.result(slot)

    async with make().start() as runner:
        slot = await runner.submit("plain", lambda: trio.run(there))
        assert await slot == 1


async def test_three_loops_at_once(elsewhere: Any) -> None:
    """Each with many tasks that submit, wait and read."""
    keys = iter(range(10_000))

    async def there() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(work)

    async def work() -> None:
        for _ in range(5):
            key = next(keys)
            slot = await runner.submit(key, give, key)
            assert await slot == key
            async with runner.as_completed([key]) as slots:
                assert [one.key async for one in slots] == [key]

    async with ConcurrentTaskRunner(3).start() as runner:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(elsewhere, there)
        assert runner.statistics().completed == 300


async def test_a_call_of_another_runner_submits(elsewhere: Any) -> None:
    """Its place is lent while it waits for a submission that takes its time: A, B, A, one place each."""

    async def there() -> None:
        async with ConcurrentTaskRunner(1).start() as other:

            async def second() -> int:
                slot: Slot[int] = await runner.submit("third", third, other)
                return await slot

            assert await (await other.submit("second", second)) == 7

    async def third(other: Any) -> Any:
        return await (await other.submit("fourth", give, 7))

    async with SequentialTaskRunner().start() as runner:
        await elsewhere(there)
