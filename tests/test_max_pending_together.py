"""`max_pending` with what submits by itself: `map`, groups, races, task groups, nested calls."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down, start_in
from creche import ConcurrentTaskRunner, RunnerClosed, RunnerFull, SequentialTaskRunner, State
from limiting import running

pytestmark = pytest.mark.anyio


async def test_map_pulls_as_room_comes_free() -> None:
    """Never more items than may run and wait; the board and the memory stay small."""
    runner = ConcurrentTaskRunner(2, 3)
    open_now = most = 0

    class Item:
        """Counts those that are alive."""

        def __init__(self) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)

        def __del__(self) -> None:
            nonlocal open_now
            open_now -= 1

    def items() -> Iterator[Item]:
        for _ in range(500):
            assert len(runner.slots) <= 5
            yield Item()

    async def look(item: Item) -> bool:
        await anyio.lowlevel.checkpoint()
        return isinstance(item, Item)

    async with runner.start():
        assert await runner.map(look, items()) == [True] * 500
    gc.collect()
    assert open_now == 0
    # One is on its way from the iterable, and one or two in frames of those that have just ended.
    assert most <= 10


async def test_map_waits_where_others_have_the_room() -> None:
    """Its calls come in turn with those of others."""
    runner = ConcurrentTaskRunner(1, 1)
    gate = Gate()
    async with anyio.create_task_group() as group, runner.start():
        runner.submit_nowait("a", gate)
        runner.submit_nowait("b", give)
        got: list[Any] = []

        async def mapped() -> None:
            got.extend(await runner.map(give, range(5)))

        await start_in(group, mapped)
        assert list(runner.slots) == ["a", "b"]
        gate.open.set()
        while len(got) < 5:
            await settle_down()
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("outcomes", [False, True])
async def test_a_failure_does_not_wait_for_room(outcomes: bool) -> None:
    """The map whose call fails ends, though the next one of it waits behind others."""
    runner = ConcurrentTaskRunner(2, 0)
    gate = Gate()

    async def fail_when_told(_: int) -> None:
        await gate.open.wait()
        await fail()

    async with runner.start():
        runner.submit_nowait("others", forever)
        async with anyio.create_task_group() as group:

            async def mapped() -> None:
                if outcomes:
                    assert len(await runner.map(fail_when_told, range(2), return_outcomes=True)) == 2
                    return
                with pytest.raises(ValueError, match="b"):
                    await runner.map(fail_when_told, range(2))

            await start_in(group, mapped)
            assert len(running(runner)) == 2
            blocker = Gate()

            async def submit_next() -> None:
                await runner.submit("next", blocker)

            await start_in(group, submit_next)
            gate.open.set()
            await settle_down()
            blocker.open.set()
        runner.cancel("others")
    assert runner.statistics().submitting == 0


async def test_an_async_source_that_never_ends() -> None:
    """It is pulled from as room comes free, and closed when the map is cancelled."""
    runner = ConcurrentTaskRunner(1, 1)
    pulled = 0
    closed = False

    async def source() -> AsyncIterator[int]:
        nonlocal pulled, closed
        try:
            while True:
                pulled += 1
                yield pulled
        finally:
            closed = True

    gate = Gate()
    async with runner.start():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                await start_in(group, runner.map, gate, source())
                assert pulled == 2
                scope.cancel()
        assert closed
        assert len(runner) == 0
        assert len(runner.slots) == 0


async def test_a_group_waits_for_room() -> None:
    """`submit` does, `submit_nowait` refuses; a group that is cancelled has nobody wait."""
    runner = ConcurrentTaskRunner(1, 0)
    refused: list[Exception] = []
    async with anyio.create_task_group() as tasks, runner.start():
        gate = Gate()
        runner.submit_nowait("other", gate)
        async with runner.group() as group:
            with pytest.raises(RunnerFull):
                group.submit_nowait("a", give)

            async def submit(key: str) -> None:
                try:
                    await group.submit(key, give)
                except RunnerClosed as exc:
                    refused.append(exc)

            await start_in(tasks, submit, "a")
            gate.open.set()
            await settle_down()
            assert await group.slots["a"] == 1
            blocker = runner.submit_nowait("other again", forever)
            await start_in(tasks, submit, "b")
            group.cancel("enough")
            await settle_down()
            assert [str(exc) for exc in refused] == [
                "cannot submit 'b' to the group: it takes no more calls (enough)",
            ]
            runner.cancel(blocker)
    assert "b" not in runner
    assert runner.statistics().submitting == 0


async def test_a_race_waits_for_room() -> None:
    """Until somebody has won: then those that still waited are not submitted."""
    runner = ConcurrentTaskRunner(2, 0)
    begun: list[str] = []

    async def compete(name: str, seconds: float) -> str:
        begun.append(name)
        await anyio.sleep(seconds)
        return name

    async with runner.start():
        first: list[Any] = [partial(compete, "slow", 3600), partial(compete, "quick", 0.01)]
        assert await runner.race(*first, partial(compete, "late", 0)) == "quick"
        assert sorted(begun) == ["quick", "slow"]
        assert len(runner.slots) == 0
        many: list[Any] = [
            partial(fail, KeyError(1)),
            partial(fail, KeyError(2)),
            partial(compete, "last", 0),
        ]
        assert await runner.race(*many) == "last"
        with pytest.raises(TypeError):
            await runner.race(give, None)  # type: ignore[arg-type]  # pyright: ignore  # wrong on purpose
        await settle_down()
        closing = runner.submit_nowait("x", forever)
        runner.submit_nowait("y", forever)
        async with anyio.create_task_group() as tasks:

            async def raced() -> None:
                with pytest.raises(RunnerClosed, match="takes no more calls"):
                    await runner.race(give)

            await start_in(tasks, raced)
            assert set(await runner.aclose()) == {"x", "y"}
        assert closing.done


async def test_a_task_group_does_not_wait_but_for_start() -> None:
    """`start_soon` cannot; what it refuses is closed. `start` waits, and names are its own affair."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as tasks, runner.start():
        gate = Gate()
        handles: list[Any] = []
        async with runner.as_task_group() as group:
            group.start_soon(gate, name="child")
            with pytest.raises(RunnerFull, match="child"):
                group.start_soon(give, name="child")

            async def ready(*, task_status: anyio.abc.TaskStatus[str]) -> None:
                task_status.started("ready")

            async def start() -> None:
                handles.append(await group.start(ready, name="child", return_handle=True))

            await start_in(tasks, start)
            await start_in(tasks, start)
            assert handles == []
            # Somebody takes the keys that were free then.
            taken = [runner.reserve(f"child-{number}") for number in range(1, 5)]
            gate.open.set()
            await settle_down()
        assert [handle.start_value for handle in handles] == ["ready"] * 2
        assert len({handle.slot.key for handle in handles}) == 2
        assert {handle.slot.key for handle in handles} == {"child-5", "child-6"}
        for slot in taken:
            runner.cancel(slot)


async def test_a_start_that_is_cancelled_while_it_waits() -> None:
    """Its coroutine is closed, and the block does not wait for it."""
    runner = ConcurrentTaskRunner(1, 0)
    begun = False

    async def never(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        nonlocal begun
        begun = True
        task_status.started()

    async with runner.start():
        blocker = runner.submit_nowait("blocker", forever)
        async with runner.as_task_group() as group:
            with anyio.move_on_after(0.01):
                await group.start(never)
        assert not begun
        assert list(runner.slots) == ["blocker"]
        runner.cancel(blocker)


async def test_the_block_waits_for_a_start_that_waits_for_room() -> None:
    """It is a child already, though its call is not there yet."""
    runner = ConcurrentTaskRunner(1, 0)
    ended = False

    async def child(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        nonlocal ended
        task_status.started()
        await settle_down()
        ended = True

    async with anyio.create_task_group() as tasks, runner.start():
        gate = Gate()
        runner.submit_nowait("other", gate)
        async with runner.as_task_group() as group:
            await start_in(tasks, group.start, child)
            tasks.start_soon(_open_later, gate)
        assert ended


async def _open_later(gate: Gate) -> None:
    await settle_down()
    gate.open.set()


async def test_a_sequential_runner_has_none() -> None:
    """A submit is through when its call has ended."""
    with pytest.raises(TypeError, match="max_pending"):
        SequentialTaskRunner(max_pending=1)  # type: ignore[call-arg]  # pyright: ignore  # wrong on purpose


async def test_settings_travel() -> None:
    """A duplicate has it, too."""
    runner = ConcurrentTaskRunner(1, max_pending=0).duplicate()
    async with runner.start():
        slot = runner.submit_nowait("a", give)
        with pytest.raises(RunnerFull):
            runner.submit_nowait("b", give)
        assert await slot == 1
    assert slot.state is State.COMPLETED


async def test_a_change_of_workers_makes_room() -> None:
    """Waiting submitters are admitted when more may run at once."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group, runner.start():
        gate = Gate()
        runner.submit_nowait("a", gate)
        for key in "bc":
            await start_in(group, runner.submit, key, gate)
        runner.set_max_workers(2)
        await settle_down()
        assert running(runner) == ["a", "b"]
        runner.set_max_workers(None)
        await settle_down()
        assert running(runner) == ["a", "b", "c"]
        gate.open.set()


async def test_a_submit_that_is_cancelled_as_it_is_admitted(anyio_backend_name: str) -> None:
    """On asyncio both may come in one step: then its call is cancelled, and its key is free."""
    runner = ConcurrentTaskRunner(1, 0)
    gate = Gate()
    tasks: list[Any] = []

    async def submit() -> None:
        if anyio_backend_name == "asyncio":
            tasks.append(asyncio.current_task())
        await runner.submit("b", gate)

    async with runner.start():
        runner.submit_nowait("a", gate)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                await start_in(group, submit)
                runner.set_max_workers(2)
                slot = runner.slots["b"]
                if anyio_backend_name == "trio":
                    scope.cancel()
                else:
                    tasks[0].cancel()
        if anyio_backend_name == "trio":  # what has been woken is not cancelled there
            assert runner.slots["b"] is slot
        else:
            assert "b" not in runner
            await settle_down()
            assert (slot.state, slot.origin) == (State.CANCELLED, "cancel")
            assert slot.reason == "its submit was cancelled"
        gate.open.set()
