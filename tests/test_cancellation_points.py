"""Each async method, cancelled where it waits: the call is untouched, and nothing is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import anyio
import pytest

from calls import Gate, fail, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def first_of(runner: ConcurrentTaskRunner) -> Any:
    async with runner.as_completed() as slots:
        return await anext(slots)


async def await_slot(runner: ConcurrentTaskRunner) -> Any:
    return await runner.slots["k"]


WAITS: dict[str, Callable[[ConcurrentTaskRunner], Awaitable[Any]]] = {
    "wait": lambda runner: runner.wait("k"),
    "wait with a timeout": lambda runner: runner.wait("k", timeout=100),
    "result": lambda runner: runner.result("k"),
    "await slot": await_slot,
    "as_completed": first_of,
    "wait_all": lambda runner: runner.wait_all(),
    "wait_all with a timeout": lambda runner: runner.wait_all(["k"], timeout=100),
}


@pytest.mark.parametrize("name", WAITS)
async def test_a_wait_for_an_open_slot(runner: ConcurrentTaskRunner, name: str) -> None:
    """Cancelled while parked it leaves the slot as it was, and the call goes on."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        await settle_down()
        with anyio.move_on_after(0.01) as scope:
            await WAITS[name](runner)
        assert scope.cancelled_caught
        assert slot.state is State.RUNNING
        assert slot._wakers is None
        gate.open.set()
        assert await slot == 1


@pytest.mark.parametrize("name", WAITS)
async def test_a_wait_in_a_scope_that_is_cancelled_already(
    runner: ConcurrentTaskRunner, name: str
) -> None:
    """It is a cancel point, open slot or settled."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        for settled in (False, True):
            if settled:
                gate.open.set()
                await slot
            with anyio.CancelScope() as scope:
                scope.cancel()
                await WAITS[name](runner)
                raise AssertionError
            assert scope.cancelled_caught
            assert slot._wakers is None


async def test_submit_in_a_scope_that_is_cancelled(runner: ConcurrentTaskRunner) -> None:
    """It has submitted nothing: the key is free."""
    async with runner.start():
        for _ in range(70):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await runner.submit("k", give)
                raise AssertionError
            assert "k" not in runner
        assert await (await runner.submit("k", give, 1)) == 1


@pytest.mark.parametrize("what", ["wait", "result", "await", "submit", "as_completed"])
async def test_a_schedule_point_at_least_every_64th_time(  # noqa: C901 - one loop, five ways
    runner: ConcurrentTaskRunner, what: str
) -> None:
    """A loop over settled waits, or over submits, lets a ready task run within 64 of them."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with runner.start():
        slots = [runner.submit_nowait(("settled", n), give) for n in range(640)]
        for slot in slots:
            await slot.wait(None)
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await anyio.lowlevel.checkpoint()
            turns = 0
            if what == "as_completed":
                async with runner.as_completed(slots) as arrivals:
                    async for _ in arrivals:
                        pass
            for n, slot in enumerate(slots):
                if what == "wait":
                    await runner.wait(slot)
                elif what == "result":
                    await runner.result(slot)
                elif what == "await":
                    await slot
                elif what == "submit":
                    await runner.submit(n, give)
            group.cancel_scope.cancel()
    assert 5 <= turns <= 64, turns


async def test_the_exit_is_a_cancel_point_while_calls_run(runner: ConcurrentTaskRunner) -> None:
    """Cancelled while it waits for a call, `start()` cancels the call and goes on outwards."""
    gate = Gate()
    with anyio.move_on_after(0.2) as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", gate)
    assert scope.cancelled_caught
    assert (slot.origin, gate.inside) == ("outer", 0)


async def test_entering_is_no_checkpoint(runner: ConcurrentTaskRunner) -> None:
    """Neither a cancel point nor a schedule point."""
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        with anyio.CancelScope() as scope:
            scope.cancel()
            started = runner.start()
            await started.__aenter__()
            assert not ran
            await started.__aexit__(None, None, None)


async def test_a_waiter_does_not_cancel_what_it_waits_for(runner: ConcurrentTaskRunner) -> None:
    """Of two waiters one may leave; the other is served."""
    gate = Gate()
    got: list[Any] = []

    async def wait() -> None:
        got.append(await runner.result("k"))

    async with runner.start(), anyio.create_task_group() as staying:
        runner.submit_nowait("k", gate, 7)
        staying.start_soon(wait)
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(wait)
            await settle_down()
            leaving.cancel_scope.cancel()
        gate.open.set()
    assert got == [7]


async def test_joining_a_sequential_call_is_cancelled_alone() -> None:
    """Who joins a call and leaves does not end it."""
    runner = SequentialTaskRunner()
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        with anyio.move_on_after(0.01):
            await runner.submit("k", give, on_collision="join")
        assert slot.state is State.RUNNING
        gate.open.set()


@pytest.mark.parametrize("name", ["wait", "wait with a timeout", "result", "await slot"])
async def test_a_wait_for_a_reserved_key(runner: ConcurrentTaskRunner, name: str) -> None:
    """Cancelled while nothing is submitted yet, it leaves the reservation to be filled."""
    async with runner.start():
        slot = runner.reserve("k")
        with anyio.move_on_after(0.01) as scope:
            await WAITS[name](runner)
        assert scope.cancelled_caught
        assert (slot.reserved, slot._wakers) == (True, None)
        assert runner.submit_nowait("k", give, 1) is slot
        assert await slot == 1


async def test_a_wait_that_times_out_leaves_nothing(runner: ConcurrentTaskRunner) -> None:
    """The waiter has left the slot, and the call goes on."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        for timeout in (0, 0.01):
            assert await runner.wait("k", timeout=timeout) is None
            assert slot._wakers is None
        gate.open.set()
        assert await slot == 1


@pytest.mark.parametrize("settled", [False, True])
async def test_a_join_in_a_scope_that_is_cancelled(settled: bool) -> None:
    """Cancelled, it has changed nothing: the call that is there is its owner's."""
    runner = SequentialTaskRunner()
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        if settled:
            gate.open.set()
            await slot
        with anyio.CancelScope() as scope:
            scope.cancel()
            await runner.submit("k", give, on_collision="join")
            raise AssertionError
        assert scope.cancelled_caught
        gate.open.set()
        assert await slot == 1


@pytest.mark.parametrize("items", [[], [1], range(1_000)], ids=["none", "one", "many"])
async def test_map_in_a_scope_that_is_cancelled(
    runner: ConcurrentTaskRunner, items: Iterable[int]
) -> None:
    """Its first checkpoint comes before its first item, also when there is none."""
    async with runner.start():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await runner.map(give, items, key=str)
            raise AssertionError
        assert scope.cancelled_caught
        assert dict(runner.slots) == {}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("workers", [None, 2])
async def test_map_where_it_waits_for_calls(workers: int | None, asynchronous: bool) -> None:
    """Cancelled while it waits for room, or for the last calls, it has ended its own calls only."""
    runner = ConcurrentTaskRunner(max_workers=workers)
    gate = Gate()

    async def aitems() -> AsyncIterator[int]:
        for n in range(5):
            yield n

    async with runner.start():
        other = runner.submit_nowait("other", gate, "untouched")
        await settle_down()
        with anyio.move_on_after(0.01) as scope:
            await runner.map(forever_for, aitems() if asynchronous else range(5), key=str)
        assert scope.cancelled_caught
        assert other.state is State.RUNNING
        mine = [slot for key, slot in runner.slots.items() if key != "other"]
        assert len(mine) == (workers or 5)
        assert {slot.origin for slot in mine} == {"cancel"}
        for slot in mine:
            runner.forget(slot)
        gate.open.set()
        assert await other == "untouched"
        assert await runner.map(give, [1], key=str) == [1]


async def test_map_where_it_waits_for_an_item(runner: ConcurrentTaskRunner) -> None:
    """Cancelled while its source is slow, it closes the source and ends its calls."""
    closed = False

    async def source() -> AsyncIterator[int]:
        nonlocal closed
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed = True

    async with runner.start():
        with anyio.move_on_after(0.01) as scope:
            await runner.map(forever_for, source(), key=str)
        assert scope.cancelled_caught
        assert closed
        assert runner.slots["1"].origin == "cancel"


async def test_map_while_it_ends_its_calls(runner: ConcurrentTaskRunner) -> None:
    """A cancellation that comes while it waits for cancelled calls does not hurry it."""
    ended: list[int] = []

    async def slow_to_end(n: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            ended.append(n)

    async with runner.start():
        with anyio.move_on_after(0.03) as outer:
            with anyio.move_on_after(0.01):
                await runner.map(slow_to_end, range(3))
        assert outer.cancel_called
        assert sorted(ended) == [0, 1, 2]


async def test_as_completed_with_nothing_left(runner: ConcurrentTaskRunner) -> None:
    """Its end is a cancel point, too."""
    async with runner.start(), runner.as_completed([]) as slots:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(slots, None)
            raise AssertionError
        assert scope.cancelled_caught
        assert await anext(slots, None) is None


async def test_the_exit_cancelled_after_the_calls_have_ended(runner: ConcurrentTaskRunner) -> None:
    """A scope that is cancelled while nothing runs changes no outcome."""
    with anyio.CancelScope() as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", give, 1)
            await slot
            scope.cancel()
    assert slot.result() == 1
    assert not runner.is_started


async def test_a_submit_that_is_cancelled_does_not_say_closed() -> None:
    """Being cancelled comes before being refused: a failure's group holds no `RunnerClosed`."""
    runner = SequentialTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            for n in range(3):
                await runner.submit(n, fail)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def forever_for(n: int) -> None:
    """One call of many that never end by themselves."""
    del n
    await anyio.sleep_forever()
