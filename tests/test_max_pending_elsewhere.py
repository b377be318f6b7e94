"""`max_pending` for submitters of other threads: they wait for room, with a loop or without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, RunnerClosed
from limiting import running

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


async def until(condition: Callable[[], object]) -> None:
    """Other threads take the time that they take."""
    while not condition():  # noqa: ASYNC110 - nothing here is told of it
        await anyio.sleep(0.001)


def submitting(runner: ConcurrentTaskRunner) -> int:
    """How many submits wait for room."""
    return runner.statistics().submitting


async def test_on_another_loop(elsewhere: Any) -> None:
    """It waits for room; cancelled, it has submitted nothing."""
    runner = ConcurrentTaskRunner(1, 0)
    gate = Gate()
    got: list[Any] = []

    async def there() -> None:
        slot = await runner.submit("b", give, 2)
        got.append(await slot)
        await runner.submit("c", forever)
        with anyio.move_on_after(0.01) as scope:
            await runner.submit("d", give)
        got.append(scope.cancelled_caught)
        runner.cancel("c")

    async with anyio.create_task_group() as group, runner.start():
        runner.submit_nowait("a", gate)
        group.start_soon(elsewhere, there)
        await until(lambda: submitting(runner))
        assert got == []
        gate.open.set()
        await until(lambda: len(got) == 2)
    assert got == [2, True]
    assert list(runner.slots) == ["a", "b", "c"]


async def test_in_the_order_of_asking(elsewhere: Any) -> None:
    """Those who have asked while the home loop was blocked have their turns, before who comes later."""
    runner = ConcurrentTaskRunner(1, 0)
    gate = Gate()
    order: list[int] = []
    begun, blocked = threading.Event(), threading.Event()

    async def note(number: int) -> None:
        order.append(number)

    async with anyio.create_task_group() as group, runner.start():
        assert runner._run is not None
        asked = runner._run.home.portal._under_way

        async def submit(number: int) -> None:
            await runner.submit(number, note, number)

        async def there() -> None:
            begun.set()
            await until(blocked.is_set)
            async with anyio.create_task_group() as others:
                for number in range(8):
                    while len(asked) < number:  # noqa: ASYNC110 - nothing here is told of it
                        await anyio.sleep(0.001)
                    others.start_soon(submit, number)

        runner.submit_nowait("first", gate)
        group.start_soon(elsewhere, there)
        await until(begun.is_set)
        blocked.set()
        while len(asked) < 8:
            time.sleep(0.001)  # noqa: ASYNC251 - it is to be blocked
        await until(lambda: submitting(runner) == 8)
        gate.open.set()
        await submit(8)
    assert order == list(range(9))


async def test_taken_back_at_once(elsewhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled when it has applied, and before anybody of the run waits for it: no trace is left."""
    runner = ConcurrentTaskRunner(1, 0)
    gate = Gate()
    kept: list[Any] = []

    async def submit() -> None:
        await runner.submit("b", give)

    async def there() -> None:
        async with anyio.create_task_group() as others:
            others.start_soon(submit)
            await until(lambda: kept)
            others.cancel_scope.cancel()

    async with runner.start():
        assert runner._run is not None
        start_soon = runner._run.start_soon
        monkeypatch.setattr(runner._run, "start_soon", lambda *args: kept.append(args))
        runner.submit_nowait("a", gate)
        await elsewhere(there)
        assert submitting(runner) == 1
        start_soon(*kept[0])
        await settle_down()
        assert submitting(runner) == 0
        gate.open.set()
    assert list(runner.slots) == ["a"]


async def test_on_another_loop_when_the_runner_closes(elsewhere: Any) -> None:
    """It is turned away."""
    runner = ConcurrentTaskRunner(1, 0)

    async def there() -> None:
        with pytest.raises(RunnerClosed, match="takes no more calls"):
            await runner.submit("b", give)

    async with anyio.create_task_group() as group, runner.start():
        runner.submit_nowait("a", forever)
        group.start_soon(elsewhere, there)
        await until(lambda: submitting(runner))
        assert await runner.aclose() == ["a"]


async def test_in_threads() -> None:
    """They block in turn; each is through when there is room for it."""
    runner = ConcurrentTaskRunner(1, 1)
    gate = Gate()

    def there(number: int) -> int:
        return int(runner.from_thread.submit(number, give, number).result(10))

    got: list[int] = []

    async def thread(number: int) -> None:
        got.append(await anyio.to_thread.run_sync(there, number))

    async with runner.start():
        async with anyio.create_task_group() as group:
            runner.submit_nowait("a", gate)
            for number in range(4):
                group.start_soon(thread, number)
                await until(lambda n=number: len(runner.slots) - 1 + submitting(runner) == n + 1)  # type: ignore[misc]  # the default binds the number
            assert submitting(runner) == 3
            gate.open.set()
        assert sorted(got) == [0, 1, 2, 3]
        assert list(runner.slots) == ["a", 0, 1, 2, 3]


async def test_a_plain_call_lends_its_place() -> None:
    """At one worker and no room, a call in a thread that submits three more has them run."""
    runner = ConcurrentTaskRunner(1, 0)

    def parent(depth: int) -> int:
        if depth == 0:
            return 1
        slots = [runner.from_thread.submit(None, parent, depth - 1) for _ in range(2)]
        return sum(slot.result(10) for slot in slots)

    async with runner.start():
        assert await runner.submit_nowait("root", parent, 3) == 8


async def test_map_in_a_thread() -> None:
    """Its calls wait in turn with those of others."""
    runner = ConcurrentTaskRunner(1, 1)
    gate = Gate()
    got: list[Any] = []

    async def mapped() -> None:
        got.extend(await anyio.to_thread.run_sync(lambda: runner.from_thread.map(give, range(5))))

    async with anyio.create_task_group() as group, runner.start():
        runner.submit_nowait("a", gate)
        runner.submit_nowait("b", give)
        group.start_soon(mapped)
        await until(lambda: submitting(runner))
        gate.open.set()
        await until(lambda: got)
    assert got == [0, 1, 2, 3, 4]
    assert set(runner.slots) == {"a", "b"}


@pytest.mark.parametrize("how", ["fails", "outcomes", "closes"])
async def test_map_in_a_thread_is_cut_while_it_waits(how: str) -> None:
    """By a call of its own that fails, without waiting for room; by the end of the intake."""
    runner = ConcurrentTaskRunner(2, 0)
    gate = Gate()
    ended = threading.Event()
    pulled: list[int] = []

    async def fail_when_told(number: int) -> None:
        await gate.open.wait()
        if number == 0:
            await fail()

    def items() -> Any:
        for number in range(3):
            pulled.append(number)
            yield number

    def there() -> None:
        portal = runner.from_thread
        if how == "fails":
            with pytest.raises(ValueError, match="b"):
                portal.map(fail_when_told, items())
        elif how == "closes":
            with pytest.raises((RunnerClosed, CallCancelled)):
                portal.map(forever_for, items())
        else:
            assert len(portal.map(fail_when_told, items(), return_outcomes=True)) == 3
        ended.set()

    async def forever_for(_: int) -> None:
        await forever()

    async with anyio.create_task_group() as group, runner.start():
        other = runner.submit_nowait("other", forever)
        group.start_soon(anyio.to_thread.run_sync, there)
        await until(lambda: submitting(runner) and len(running(runner)) == 2)
        assert pulled == [0, 1]
        if how == "closes":
            await runner.aclose()
            await until(ended.is_set)
        else:
            gate.open.set()
            await until(ended.is_set)
            assert not other.done
            runner.cancel("other")
        await settle_down()
    assert list(runner.slots) == ["other"]
    assert submitting(runner) == 0


async def test_an_executor_does_not_wait_for_room() -> None:
    """Its `submit` never blocks: the call waits; it can be cancelled meanwhile, and turned away."""
    runner = ConcurrentTaskRunner(1, 0)
    gate = Gate()
    async with runner.start():
        executor: Any = runner.as_executor()
        first = executor.submit(gate, 1)
        await until(lambda: len(runner.slots))
        second, third, fourth = (executor.submit(give, number) for number in (2, 3, 4))
        assert submitting(runner) == 3
        assert third.cancel()
        assert submitting(runner) == 2
        gate.open.set()
        await until(second.done)
        await until(fourth.done)
        assert (first.result(), second.result(), fourth.result()) == (1, 2, 4)
        assert third.cancelled()
        blocker = executor.submit(forever)
        await until(lambda: len(running(runner)))
        late, cut = executor.submit(give, 5), executor.submit(give, 6)
        executor.shutdown(wait=False, cancel_futures=True)
        assert late.cancelled()
        assert cut.cancelled()
        other: Any = runner.as_executor()
        closing = other.submit(give, 7)
        await runner.aclose()
        assert blocker.cancelled()
        with pytest.raises(RunnerClosed):
            closing.result(0)
    assert submitting(runner) == 0
