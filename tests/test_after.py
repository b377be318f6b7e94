"""`after=`: calls that run when others have ended, and what becomes of them when those end badly."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, KeyTaken, Retry, Slot, State, UnknownKey

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


class Log:
    """Calls that write down when they were carried out."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []

    async def __call__(self, key: Any) -> Any:
        self.begun.append(key)
        await anyio.lowlevel.checkpoint()
        self.ended.append(key)
        return key


@pytest.mark.parametrize("max_workers", [None, 1, 2])
async def test_a_call_runs_after_others(max_workers: int | None) -> None:
    """Keys and slots are good; a call that waits occupies no place."""
    runner = ConcurrentTaskRunner(max_workers)
    log = Log()
    async with runner.start():
        runner.reserve("root")
        left = runner.submit_nowait("left", log, "left", after=["root"])
        runner.submit_nowait("right", log, "right", after=["root"])
        runner.submit_nowait("join", log, "join", after=[left, "right", left], priority=5)
        await runner.submit("free", log, "free")
        await runner.wait("free")
        assert log.begun == ["free"]
        assert runner.statistics().pending == 3
        runner.submit_nowait("root", log, "root")
    assert log.begun[:2] == ["free", "root"]
    assert set(log.begun[2:4]) == {"left", "right"}
    assert log.begun[4:] == ["join"]
    assert all(slot.state is State.COMPLETED for slot in runner.slots.values())


async def test_what_has_ended_already(runner: ConcurrentTaskRunner) -> None:
    """Then it may run at once, or never."""
    async with runner.start():
        await runner.submit_nowait("good", give)
        await runner.wait(runner.submit_nowait("bad", fail))
        assert await runner.submit_nowait("a", give, 1, after=["good"]) == 1
        slot = runner.submit_nowait("b", give, 2, after=["good", "bad"])
        assert (slot.state, slot.origin) == (State.CANCELLED, "upstream")


async def test_one_that_ends_otherwise_cancels_the_whole_chain(runner: ConcurrentTaskRunner) -> None:
    """At once, with a reason that names the first failed key; others are not waited for."""
    gate = Gate()
    async with runner.start():
        runner.submit_nowait("gate", gate)
        runner.submit_nowait("bad", fail)
        runner.submit_nowait("a", give, after=["gate", "bad"])
        runner.submit_nowait("b", give, after=["a"])
        runner.submit_nowait("c", give, after=["b", "gate"])
        other = runner.submit_nowait("other", give, 1, after=["gate"])
        await runner.wait("c")
        assert gate.inside == 1
        gate.open.set()
    assert other.result() == 1
    for key in "abc":
        slot = runner.slots[key]
        assert (slot.state, slot.origin) == (State.CANCELLED, "upstream")
        assert slot.reason == "'bad', which it was to run after, is FAILED (ValueError: b)"


async def test_cancelled_and_lost_ones_end_otherwise(runner: ConcurrentTaskRunner) -> None:
    """So does a reservation that nobody fills."""
    async with runner.start():
        runner.submit_nowait("off", forever)
        runner.submit_nowait("a", give, after=["off"])
        await settle_down()
        runner.cancel("off")
        await runner.wait("a")
        runner.reserve("never")
        runner.submit_nowait("b", give, after=["never"])
    assert runner.slots["a"].reason == "'off', which it was to run after, is CANCELLED (cancel)"
    assert runner.slots["never"].origin == "lost"
    assert (runner.slots["b"].origin, runner.slots["b"].reason) == (
        "upstream",
        "'never', which it was to run after, is CANCELLED (lost)",
    )


async def test_whatever_the_end(runner: ConcurrentTaskRunner) -> None:
    """With `after_any_end` it runs when all have ended."""
    log = Log()
    async with runner.start():
        runner.submit_nowait("bad", fail)
        runner.submit_nowait("off", forever)
        runner.submit_nowait("good", log, "good")
        runner.submit_nowait("k", log, "k", after=["bad", "off", "good"], after_any_end=True)
        await settle_down()
        assert log.begun == ["good"]
        runner.cancel("off")
        assert await runner.result("k") == "k"
        assert await runner.submit_nowait("l", give, 1, after=["bad"], after_any_end=True) == 1


async def test_a_call_that_is_held_can_be_cancelled(runner: ConcurrentTaskRunner) -> None:
    """It leaves nothing behind in what it was waiting for."""
    gate = Gate()
    async with runner.start():
        up = runner.submit_nowait("gate", gate)
        runner.submit_nowait("a", give, after=["gate"])
        runner.submit_nowait("b", give, after=["a"])
        runner.cancel("a", "not needed")
        assert runner.slots["a"].origin == "cancel"
        assert runner.slots["b"].origin == "upstream"
        assert up._wakers is None
        gate.open.set()
    assert up.state is State.COMPLETED


async def test_a_halt_drops_what_is_held(runner: ConcurrentTaskRunner) -> None:
    """It is pending like any other: `closed`, and none of it begins."""
    with pytest.raises(LookupError):
        async with runner.start():
            runner.submit_nowait("running", forever)
            runner.submit_nowait("a", give, after=["running"])
            runner.submit_nowait("b", give, after=["a"], after_any_end=True)
            await settle_down()
            raise LookupError
    assert [slot.origin for slot in runner.slots.values()] == ["closed"] * 3


async def test_slots_of_other_runners() -> None:
    """A handle is good, wherever it lives; the exit waits for it."""
    one, other = ConcurrentTaskRunner(), ConcurrentTaskRunner()
    gate = Gate()
    async with one.start():
        upstream = one.submit_nowait("up", gate, 1)

        async def open_soon() -> None:
            await settle_down()
            assert not down.done
            gate.open.set()

        async with other.start():
            down = other.submit_nowait("down", give, 2, after=[upstream])
            one.submit_nowait("opens", open_soon)
        assert down.result() == 2
        with anyio.move_on_after(0.2):
            async with other.start():
                never = one.submit_nowait("never", forever)
                held = other.submit_nowait("down", give, 2, after=[never, upstream])
                await anyio.sleep_forever()
        assert held.origin == "closed"
        one.cancel("never")


@pytest.mark.parametrize("retain", [True, False])
async def test_unknown_and_forgotten_keys_are_refused(*, retain: bool) -> None:
    """Before anything was queued; the message says what to do. Handles of forgotten ones are good."""
    async with ConcurrentTaskRunner(retain=retain).start() as runner:
        slot = runner.submit_nowait("gone", give)
        await slot
        if retain:
            runner.forget("gone")
        for key in ("gone", "never was"):
            with pytest.raises(UnknownKey, match=f"{key}.*if it was forgotten, pass its slot"):
                runner.submit_nowait("k", give, after=[key])
        assert "k" not in runner
        assert await runner.submit_nowait("k", give, 1, after=[slot]) == 1


@pytest.mark.parametrize("after", ["key", b"key", 3, [["unhashable"]]])
async def test_what_is_no_list_of_keys(runner: ConcurrentTaskRunner, after: Any) -> None:
    """A string is one key."""
    async with runner.start():
        runner.submit_nowait("key", give)
        with pytest.raises(TypeError, match="after must be a list|a key must be hashable"):
            runner.submit_nowait("k", give, after=after)
        assert "k" not in runner


async def test_a_key_that_is_taken_closes_no_circle(runner: ConcurrentTaskRunner) -> None:
    """What is wrong is that it is taken: only a reserved key can close one."""
    async with runner.start():
        runner.submit_nowait("a", give, 1)
        after = runner.submit_nowait("b", give, 2, after=["a"])
        with pytest.raises(KeyTaken):
            runner.submit_nowait("a", give, 3, after=["b"])
        assert await after == 2


async def test_a_circle_is_refused_where_it_is_closed(runner: ConcurrentTaskRunner) -> None:
    """Naming the keys in it; the reservation can still be filled otherwise."""
    async with runner.start():
        root = runner.reserve("root")
        runner.submit_nowait("a", give, after=["root"])
        runner.submit_nowait("b", give, after=["root", "a"])
        runner.submit_nowait("c", give, after=["b"])
        chain = "'c', which is to run after 'b', which is to run after 'root'"
        with pytest.raises(ValueError, match=f"'root' cannot run after {chain}: that is a circle"):
            runner.submit_nowait("root", give, after=["c"])
        with pytest.raises(ValueError, match="'root' cannot run after 'root': that is a circle"):
            runner.submit_nowait("root", give, after=[root])
        runner.submit_nowait("root", give, 1, after=[])
    assert [slot.state for slot in runner.slots.values()] == [State.COMPLETED] * 4


async def test_waiting_for_what_is_to_run_after_oneself(runner: ConcurrentTaskRunner) -> None:
    """A circle as well, of which one side is a wait."""

    async def wait_for_later() -> None:
        runner.submit_nowait("later", give, after=["k"])
        runner.submit_nowait("too", give, after=["k"])
        runner.submit_nowait("last", give, after=["later", "too"])
        await runner.wait("last")

    async with runner.start():
        slot = runner.submit_nowait("k", wait_for_later)
        with pytest.raises(RuntimeError, match="'k' waits for itself through 'last', '(later|too)'"):
            await slot


async def test_waiting_for_the_end_of_a_diamond(runner: ConcurrentTaskRunner) -> None:
    """It leads to one call by two ways, and is no circle."""

    async def wait_for_last() -> Any:
        return await runner.result("last")

    async with runner.start():
        runner.reserve("root")
        for key in ("x", "y"):
            runner.submit_nowait(key, give, after=["root"])
        runner.submit_nowait("last", give, 7, after=["x", "y"])
        slot = runner.submit_nowait("k", wait_for_last)
        await settle_down()
        runner.submit_nowait("root", give)
        assert await slot == 7


def states_of(after: dict[int, list[int]], failing: set[int]) -> dict[int, State]:
    """The slow, obvious model: a call is cancelled if anything before it did not complete."""
    states: dict[int, State] = {}
    for key, upstream in after.items():
        if any(states[one] is not State.COMPLETED for one in upstream):
            states[key] = State.CANCELLED
        else:
            states[key] = State.FAILED if key in failing else State.COMPLETED
    return states


@pytest.mark.parametrize("seed", range(8))
async def test_graphs(seed: int) -> None:
    """Random ones, on few places: each call once, after all of its own, or not at all."""
    rng = random.Random(seed)
    n = 60
    after = {key: rng.sample(range(key), min(key, rng.randrange(4))) for key in range(n)}
    failing = set(rng.sample(range(n), 3))
    begun: list[int] = []
    ended: list[int] = []

    async def body(key: int) -> None:
        assert all(one in ended for one in after[key])
        begun.append(key)
        for _ in range(rng.randrange(3)):
            await anyio.lowlevel.checkpoint()
        if key in failing:
            raise LookupError(key)
        ended.append(key)

    runner = ConcurrentTaskRunner(rng.choice([1, 3, None]))
    async with runner.start():
        for key in range(n):
            runner.reserve(key)
        order = list(range(n))
        rng.shuffle(order)
        for key in order:
            if not runner.slots[key].done:
                runner.submit_nowait(key, body, key, after=after[key])
                if rng.random() < 0.2:
                    await anyio.lowlevel.checkpoint()
        for key in range(n):
            await runner.wait(key)
    assert {key: slot.state for key, slot in runner.slots.items()} == states_of(after, failing)
    assert len(begun) == len(set(begun))


@pytest.mark.parametrize("first", [give, fail])
async def test_a_long_chain(first: Any, anyio_backend_name: str) -> None:
    """Neither recursion nor quadratic: ten times as long takes ten times as many steps."""
    runner = ConcurrentTaskRunner(1)
    async with runner.start():
        runner.reserve(0)
        last: Slot[Any] | None = None
        for n in range(1, 5000):
            last = runner.submit_nowait(n, give, n, after=[n - 1])
        runner.submit_nowait(0, first)
    assert last is not None
    assert last.state is (State.COMPLETED if first is give else State.CANCELLED)
    assert runner.statistics().pending == 0


async def test_the_reason_is_the_error_and_not_a_note() -> None:
    """A call that was tried again has one, which says in which attempt it has failed."""
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("a", fail, retry=Retry(1, delay=0))
        slot = runner.submit_nowait("b", give, after=["a"])
        await runner.wait(slot)
    assert slot.reason == "'a', which it was to run after, is FAILED (ValueError: b)"


@pytest.mark.parametrize("is_reserved", [False, True])
async def test_a_callback_cancels_what_its_call_was_to_run_after(*, is_reserved: bool) -> None:
    """The one is cancelled already, and is not cancelled again by what becomes of the other."""
    told: list[Any] = []
    async with ConcurrentTaskRunner(1).start() as runner:
        gate = Gate()
        runner.submit_nowait("runs", gate)
        first = runner.reserve("first") if is_reserved else runner.submit_nowait("first", give)
        then = runner.submit_nowait("then", give, after=["first"])
        beside = runner.submit_nowait("beside", give, after=["first"])
        first.add_done_callback(told.append)
        then.add_done_callback(lambda _: runner.cancel("first"))
        async with anyio.create_task_group() as group:
            group.start_soon(runner.wait, "first")
            await settle_down()
            runner.cancel("then")
        assert told == [first]
        assert [slot.origin for slot in (first, then, beside)] == ["cancel", "cancel", "upstream"]
        gate.open.set()
        await runner.until_idle()
