"""Keys: taken, shared, fresh, reserved, unknown, forgotten; and the numbers of a run."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import (
    ConcurrentTaskRunner,
    KeyTaken,
    NotSettled,
    RunnerNotStarted,
    SequentialTaskRunner,
    State,
    Statistics,
    UnknownKey,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_a_taken_key(runner: ConcurrentTaskRunner) -> None:
    """It is refused, whatever its call is doing, and the first call is untouched."""
    async with runner.start():
        slot = runner.submit_nowait("k", give, 1)
        for _ in range(2):
            with pytest.raises(KeyTaken, match="key 'k' is taken.*on_collision='join'") as caught:
                runner.submit_nowait("k", give, 2)
            assert isinstance(caught.value, ValueError)
            with pytest.raises(KeyTaken):
                await runner.submit("k", give, 2)
            with pytest.raises(KeyTaken):
                runner.reserve("k")
            assert await slot == 1


async def test_joining_a_taken_key(runner: ConcurrentTaskRunner) -> None:
    """With `join` one call is shared: pending, running and settled alike."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        assert runner.submit_nowait("k", gate, 2, on_collision="join") is slot
        await settle_down()
        assert await runner.submit("k", gate, 3, on_collision="join") is slot
        gate.open.set()
        assert await slot == 1
        assert runner.submit_nowait("k", gate, 4, on_collision="join") is slot
        new = runner.submit_nowait("new", gate, 5, on_collision="join")
        assert await new == 5
        reserved = runner.reserve("r")
        assert runner.submit_nowait("r", gate, 6, on_collision="join") is reserved
        assert await reserved == 6
    assert gate.begun == 3


async def test_joining_in_a_sequential_runner() -> None:
    """The slot that is handed back is final, too."""
    runner = SequentialTaskRunner()
    async with runner.start():
        slot = runner.submit_nowait("k", give, 1)
        assert await runner.submit("k", give, 2, on_collision="join") is slot
        assert slot.result() == 1


async def test_fresh_keys(runner: ConcurrentTaskRunner) -> None:
    """`None` asks for a key that is not there, named after the function."""
    async with runner.start():
        runner.submit_nowait("give-1", give, 0)
        slots = [runner.submit_nowait(None, give, n) for n in range(3)]
        assert len({slot.key for slot in slots}) == 3
        assert all(str(slot.key).startswith("give-") for slot in slots)
        assert runner.reserve(None).key in runner
        assert [await slot for slot in slots] == [0, 1, 2]


async def test_a_reservation(runner: ConcurrentTaskRunner) -> None:
    """It may be waited for before its call is submitted, and cancelled instead of filled."""
    async with runner.start():
        reserved = runner.reserve("r")
        got: list[Any] = []

        async def wait() -> None:
            got.append(await reserved)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await settle_down()
            assert runner.submit_nowait("r", give, 7) is reserved
        assert got == [7]
        dropped = runner.reserve("d")
        assert runner.cancel("d", "not needed") is True
        assert (dropped.state, dropped.origin) == (State.CANCELLED, "cancel")
        with pytest.raises(KeyTaken):
            runner.submit_nowait("d", give)
        assert runner.statistics().reserved == 0


async def test_unknown_keys(runner: ConcurrentTaskRunner) -> None:
    """Each way of asking says at once that there is no such key."""
    async with runner.start():
        for ask in (runner.cancel, runner.forget, runner.pop):
            with pytest.raises(UnknownKey, match="no call under key 'x'"):
                ask("x")
        with pytest.raises(KeyError):
            await runner.wait("x")
        with pytest.raises(UnknownKey):
            await runner.result("x")
        with pytest.raises(UnknownKey):
            runner.as_completed(["x"])


async def test_forgetting(runner: ConcurrentTaskRunner) -> None:
    """A settled call can leave the board; its key is free, and its slot goes on working."""
    gate = Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate, 1)
        for ask in (runner.forget, runner.pop):
            with pytest.raises(NotSettled, match="'k' is PENDING"):
                ask("k")
        gate.open.set()
        await slot
        runner.forget("k")
        assert "k" not in runner
        with pytest.raises(UnknownKey, match="forgotten already"):
            runner.forget(slot)
        again = runner.submit_nowait("k", give, 2)
        assert (await again, slot.result()) == (2, 1)
        with pytest.raises(UnknownKey, match="forgotten already"):
            runner.pop(slot)
        assert runner.pop("k") is again


async def test_without_retention() -> None:
    """The board keeps a slot until it settles; who waits is served, and the handle lives on."""
    runner = ConcurrentTaskRunner(retain=False)
    got: list[Any] = []

    async def wait() -> None:
        got.append(await runner.result("k"))

    async with runner.start():
        gate = Gate()
        slot = runner.submit_nowait("k", gate, 5)
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await settle_down()
            gate.open.set()
        assert got == [5]
        assert slot.result() == 5
        assert dict(runner.slots) == {}
        assert runner.submit_nowait("k", give, 6).key == "k"
    assert runner.statistics().completed == 2


async def test_without_retention_unread_failures_do_not_pile_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A runner that lives for months remembers a hundred of them, and counts the rest."""
    runner = ConcurrentTaskRunner(retain=False)
    async with runner.start():
        for _ in range(130):
            runner.submit_nowait(None, fail)
        await settle_down()
        assert runner._run is not None
        assert len(runner._run.board.unread.failures) == 100
    assert "130 failed call(s)" in caplog.text
    assert "and 120 more" in caplog.text


async def test_slots_of_another_runner(runner: ConcurrentTaskRunner) -> None:
    """An open slot is cancelled only through its own runner."""
    other = ConcurrentTaskRunner()
    async with runner.start(), other.start():
        slot = runner.submit_nowait("k", forever)
        with pytest.raises(UnknownKey, match="belongs to another runner"):
            other.cancel(slot)
        assert runner.cancel(slot) is True


async def test_cancelling(runner: ConcurrentTaskRunner) -> None:
    """A pending call never runs; a running one is cancelled; the first reason stands."""
    gate = Gate()
    bounded = ConcurrentTaskRunner(max_workers=1)
    async with bounded.start():
        running = bounded.submit_nowait(1, gate)
        pending = bounded.submit_nowait(2, gate)
        await settle_down()
        assert bounded.cancel(2, "first") is True
        assert bounded.cancel(2, "second") is False
        assert (pending.state, pending.reason) == (State.CANCELLED, "first")
        assert bounded.cancel(1, "first") is True
        assert bounded.cancel(1, "second") is True
        await bounded.wait(1)
        assert running.reason == "first"
        third = bounded.submit_nowait(3, give, 3)
        assert bounded.cancel(third)
        await bounded.wait(third)
    assert gate.begun == 1


async def test_a_call_cancelled_on_its_way_to_a_carrier(runner: ConcurrentTaskRunner) -> None:
    """Between submit and its first step a call is pending, and a cancel keeps it from starting."""
    begun: list[int] = []

    async def begin(n: int) -> None:
        begun.append(n)

    async with runner.start():
        for n in range(3):
            runner.submit_nowait(n, begin, n)
        await settle_down()
        for n in range(3, 6):
            runner.submit_nowait(n, begin, n)
            assert runner.cancel(n) is True
        assert runner.statistics().running == 0
    assert sorted(begun) == [0, 1, 2]


async def test_cancelled_calls_do_not_pile_up_in_the_queue() -> None:
    """A queue that is never served does not grow by calls that came and went."""
    runner = ConcurrentTaskRunner(max_workers=1, retain=False)
    async with runner.start():
        runner.submit_nowait("block", forever)
        for n in range(10_000):
            runner.submit_nowait(n, forever)
            runner.cancel(n)
        assert runner._run is not None
        assert len(runner._run.queue.waiting) < 100
        assert len(runner._run.queue) == 0
        await settle_down()
        runner.cancel("block")


async def test_looking_in(runner: ConcurrentTaskRunner) -> None:
    """`in`, `len`, `bool`, `slots`, `statistics` and `repr` agree with what goes on."""
    assert runner.statistics() == Statistics()
    assert dict(runner.slots) == {}
    assert (len(runner), bool(runner)) == (0, True)
    assert repr(runner) == ("<creche.ConcurrentTaskRunner not started: 0 pending, 0 running, 0 settled>")
    bounded = ConcurrentTaskRunner(max_workers=2)
    gate = Gate()
    async with bounded.start():
        for n in range(3):
            bounded.submit_nowait(n, gate)
        bounded.reserve("r")
        bad = bounded.submit_nowait("bad", fail)
        await settle_down()
        numbers = bounded.statistics()
        assert (numbers.reserved, numbers.pending, numbers.running) == (1, 2, 2)
        assert numbers.max_workers == 2
        assert numbers.carriers == 2
        assert (0 in bounded, 99 in bounded, [] in bounded) == (True, False, False)
        assert len(bounded) == 5
        assert list(bounded.slots) == [0, 1, 2, "r", "bad"]
        with pytest.raises(TypeError):
            bounded.slots["x"] = bad  # type: ignore[index]  # wrong on purpose
        assert "max_workers=2 started: 2 pending, 2 running, 0 settled" in repr(bounded)
        gate.open.set()
        assert await bad.wait(None)
        assert bad.peek_error() is not None
        bounded.forget("bad")
    numbers = bounded.statistics()
    assert (numbers.completed, numbers.failed, numbers.cancelled, numbers.settled) == (3, 1, 1, 5)
    assert (numbers.carriers, len(bounded)) == (0, 0)
    assert "closed" in repr(bounded)


async def test_a_runner_that_was_never_started(runner: ConcurrentTaskRunner) -> None:
    """Each way of using it says that it has to be started."""
    with pytest.raises(RunnerNotStarted, match=r"async with runner\.start"):
        runner.submit_nowait(1, give)
    with pytest.raises(RuntimeError):
        await runner.submit(1, give)
    with pytest.raises(RunnerNotStarted):
        await runner.wait(1)
    for ask in (runner.cancel, runner.forget, runner.pop, runner.reserve):
        with pytest.raises(RunnerNotStarted):
            ask(1)
    with pytest.raises(RunnerNotStarted):
        runner.as_completed()
    with pytest.raises(RunnerNotStarted):
        await runner.map(give, [])
