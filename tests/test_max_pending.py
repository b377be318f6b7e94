"""`max_pending`: a submit waits until there is room, in turn, and leaves no trace if it is cancelled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import Gate, give, settle_down
from creche import (
    ConcurrentTaskRunner,
    Rate,
    RunnerClosed,
    RunnerFull,
    State,
)
from creche.instruments import Instrument
from limiting import Submitters, running
from loops import run_asyncio, run_trio

pytestmark = pytest.mark.anyio


async def test_a_submit_waits_for_room() -> None:
    """One runs, one may wait; the third is not there until the first has ended."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit(*"abcd")
        assert tasks.through == ["a", "b"]
        assert list(runner.slots) == ["a", "b"]
        assert running(runner) == ["a"]
        assert runner.statistics().submitting == 2
        with pytest.raises(RunnerFull, match=r"'e': as many calls .* \(max_pending=1\); await submit"):
            runner.submit_nowait("e", give)
        with pytest.raises(RunnerFull, match="cannot submit a call"):
            runner.submit_nowait(None, give)
        assert list(runner.slots) == ["a", "b"]
        for number, key in enumerate("abcd"):
            tasks.gates[key].open.set()
            await settle_down()
            assert tasks.through == list("abcd")[: number + 3]
        assert runner.statistics().submitting == 0
    assert [slot.state for slot in runner.slots.values()] == [State.COMPLETED] * 4


async def test_room_that_comes_with_the_cancellation(anyio_backend_name: str) -> None:
    """A submit that is cancelled in that very step is not let in: the next in turn is."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit(*"abcd")
        tasks.scopes["c"].cancel()
        runner.cancel("b")
        if anyio_backend_name == "trio":  # asyncio tells a task when it takes its next step
            assert list(runner.slots) == ["a", "b", "d"]
        await settle_down()
        assert list(runner.slots) == ["a", "b", "d"]
        assert tasks.gates["c"].begun == 0
        for gate in tasks.gates.values():
            gate.open.set()


async def test_room_for_none_is_a_rendezvous() -> None:
    """With 0, a submit is through when its call starts; without waiting, it must start at once."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        first = runner.submit_nowait("first", give)
        with pytest.raises(RunnerFull):
            runner.submit_nowait("second", give)
        assert await first == 1
        await tasks.submit("a", "b")
        assert tasks.through == ["a"]
        tasks.gates["a"].open.set()
        await settle_down()
        assert tasks.through == ["a", "b"]
        assert running(runner) == ["b"]
        tasks.gates["b"].open.set()


async def test_without_a_limit_of_workers_there_is_always_room() -> None:
    """What starts at once does not wait for a place."""
    runner = ConcurrentTaskRunner(max_pending=0)
    async with runner.start():
        slots = [runner.submit_nowait(None, give, number) for number in range(50)]
        assert [await slot for slot in slots] == list(range(50))


async def test_a_cancelled_submit_leaves_no_trace() -> None:
    """Its key is free, its place in line is the next one's, and nobody is told of it."""
    told: list[Any] = []

    class Listener(Instrument):
        def call_submitted(self, event: Any) -> None:
            told.append(event.key)

    runner = ConcurrentTaskRunner(1, 1, instruments=[Listener()])
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit(*"abcd")
        tasks.scopes["c"].cancel()
        await settle_down()
        assert runner.statistics().submitting == 1
        tasks.gates["a"].open.set()
        await settle_down()
        assert tasks.through == ["a", "b", "d"]
        assert list(runner.slots) == ["a", "b", "d"]
        again = runner.reserve("c")
        assert again.reserved
        runner.cancel("c")
        for key in "bd":
            tasks.gates[key].open.set()
        await runner.until_idle()
        assert len(runner) == 0
    assert told == ["a", "b", "d"]
    assert [slot.state for slot in runner.slots.values()].count(State.COMPLETED) == 3


async def test_a_call_that_can_start_needs_no_room() -> None:
    """The pending one waits for a limit; what does not need that one goes past it."""
    runner = ConcurrentTaskRunner(2, 1, limits={"db": 1})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("has it", limits=["db"])
        await tasks.submit("needs it", limits=["db"])
        await tasks.submit("needs it, too", limits=["db"])
        assert tasks.through == ["has it", "needs it"]
        assert await runner.submit_nowait("nothing", give) == 1
        with pytest.raises(RunnerFull):
            runner.submit_nowait("db", give, limits=["db"])
        tasks.gates["has it"].open.set()
        await settle_down()
        assert tasks.through[2:] == ["needs it, too"]
        for gate in tasks.gates.values():
            gate.open.set()


async def test_a_higher_priority_waits_for_a_place_only() -> None:
    """The queue has it start before those that have room; its key is claimed then."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a", "b", "c")
        await tasks.submit("alarm", priority=1)
        assert tasks.through == ["a", "b"]
        tasks.gates["a"].open.set()
        await settle_down()
        assert running(runner) == ["alarm"]
        assert tasks.through == ["a", "b", "alarm"]
        assert list(runner.slots) == ["a", "b", "alarm"]
        for gate in tasks.gates.values():
            gate.open.set()


@pytest.mark.parametrize("pending", [0, 1])
async def test_the_clock_admits(pending: int, virtual_time: bool) -> None:
    """Nothing but the rate makes room here."""
    seconds = 10.0 if virtual_time else 0.01
    runner = ConcurrentTaskRunner(None, pending, rate=Rate(1, seconds))
    async with runner.start():
        start = anyio.current_time()
        slots = [await runner.submit(number, give, number) for number in range(4)]
        took = anyio.current_time() - start
        assert took >= (3 - pending) * seconds * 0.99
        assert [await slot for slot in slots] == [0, 1, 2, 3]
        if virtual_time:
            assert took == (3 - pending) * seconds
            assert anyio.current_time() - start == 3 * seconds


async def test_a_limiter_object_admits() -> None:
    """Code outside has its only token; the submitter is admitted when it is given back."""
    limiter = anyio.CapacityLimiter(1)
    runner = ConcurrentTaskRunner(2, 0, limits={"gpu": limiter})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await limiter.acquire_on_behalf_of("outside")
        await tasks.submit("a", limits=["gpu"])
        assert tasks.through == []
        limiter.release_on_behalf_of("outside")
        await settle_down()
        assert tasks.through == ["a"]
        assert limiter.borrowed_tokens == 1
        tasks.gates["a"].open.set()
    assert limiter.borrowed_tokens == 0


async def test_nested_submits_lend_their_places() -> None:
    """At one worker and no room, a call that submits three more has each of them run."""
    runner = ConcurrentTaskRunner(1, 0)

    async def parent(depth: int) -> int:
        if depth == 0:
            return 1
        slots = [await runner.submit(None, parent, depth - 1) for _ in range(3)]
        return sum([await slot for slot in slots])

    async with runner.start():
        assert await (await runner.submit("root", parent, 3)) == 27


@pytest.mark.parametrize("what", ["drain", "aclose"])
async def test_a_drain_turns_them_away(what: str) -> None:
    """At once, while the calls that are there go on."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit(*"abc")
        if what == "drain":
            group.start_soon(runner.drain)
            await settle_down()
            assert running(runner) == ["a"]
        else:
            assert await runner.aclose() == ["a"]
        await settle_down()
        assert set(tasks.errors) == {"b", "c"}
        tasks.gates["a"].open.set()
    for error in tasks.errors.values():
        assert isinstance(error, RunnerClosed)
        assert "takes no more calls" in str(error)
    assert list(runner.slots) == ["a"]
    assert runner.statistics().submitting == 0


async def test_a_body_that_raises_turns_them_away() -> None:
    """They hear why."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group:
        with pytest.raises(LookupError):
            async with runner.start():
                tasks = Submitters(runner, group)
                await tasks.submit(*"abc")
                raise LookupError
    assert {key: str(error) for key, error in tasks.errors.items()} == {
        key: f"cannot submit {key!r}: the runner is closing (the body of the runner raised LookupError)"
        for key in "bc"
    }
    assert list(runner.slots) == ["a"]


async def test_at_a_normal_exit_they_are_admitted() -> None:
    """As in a nursery: what is under way may still submit."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit(*"abc")

        async def open_one_by_one() -> None:
            for gate in tasks.gates.values():
                await settle_down()
                gate.open.set()

        group.start_soon(open_one_by_one)
    assert tasks.through == ["a", "b", "c"]
    assert runner.statistics().completed == 3


async def test_a_holder_does_not_wait_for_what_needs_its_limit() -> None:
    """Nobody would start, and nobody would have room: refused, as waiting for such a call is."""
    runner = ConcurrentTaskRunner(4, 1, limits={"db": 1, "net": 1})

    async def hold(*needs: str) -> Any:
        return await runner.result(await runner.submit(None, give, 7, limits=needs))

    async def stuck() -> None:
        with pytest.raises(
            RuntimeError, match="'inner' would never be admitted: 'inner' needs limit 'net'"
        ):
            await runner.submit("inner", give, limits=["net"])

    async with runner.start():
        for needs in ((), ("net",)):
            assert await runner.submit_nowait(None, hold, *needs, limits=["db"]) == 7
        holder = runner.submit_nowait("holder", stuck, limits=["net"])
        waits = runner.submit_nowait("waits", give, limits=["net"])
        await holder
        assert "inner" not in runner
        assert await waits == 1


async def test_a_holder_waits_for_what_makes_room() -> None:
    """As long as one call in the queue can start, there will be room."""
    runner = ConcurrentTaskRunner(4, 1, limits={"db": 1, "net": 1})
    gate = Gate()
    admitted: list[Any] = []

    async def hold() -> None:
        admitted.append(await runner.submit("inner", give, limits=["net"]))

    async with runner.start():
        runner.submit_nowait("has db", gate, limits=["db"])
        holder = runner.submit_nowait("holder", hold, limits=["net"])
        runner.submit_nowait("waits", give, limits=["db"])
        await settle_down()
        assert admitted == []
        gate.open.set()
        await holder
        assert await admitted[0] == 1


@pytest.mark.parametrize("how", ["turned away", "its key is taken"])
async def test_what_was_kept_for_a_submit_that_leaves(how: str) -> None:
    """A limit that was kept for it, as it needs another one, too, is for those who wait: at once."""
    runner = ConcurrentTaskRunner(4, 2, limits={"db": 1, "net": 1})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("has db", limits=["db"])
        await tasks.submit("has net", limits=["net"])
        await tasks.submit("net", "net, too", limits=["net"])
        await tasks.submit("both", limits=["db", "net"], priority=1)
        tasks.gates["has net"].open.set()
        await settle_down()
        assert running(runner) == ["has db"]
        if how == "turned away":
            group.start_soon(runner.drain)
        else:
            runner.reserve("both")
            runner.cancel("both")
            runner.cancel("net, too")
        await settle_down()
        assert running(runner) == ["has db", "net"]
        assert set(tasks.errors) == {"both"}
        for gate in tasks.gates.values():
            gate.open.set()


# The model ------------------------------------------------------------------------------------------


STEPS = st.lists(
    st.tuples(st.sampled_from(["submit", "nowait", "end", "leave", "cancel"]), st.integers(0, 20)),
    max_size=25,
)


@pytest.mark.parametrize("run", [run_trio, run_asyncio])
@given(st.integers(1, 3), st.integers(0, 3), STEPS)
@settings(max_examples=60, deadline=None)
def test_against_a_line(run: Any, workers: int, pending: int, steps: list[tuple[str, int]]) -> None:
    """Whoever is first runs, who comes next is pending, the others wait: a list says it all."""
    runner = ConcurrentTaskRunner(workers, pending)

    async def main() -> None:
        line: list[int] = []  # whose call has not ended, in order
        numbers: Iterator[int] = itertools.count()
        async with anyio.create_task_group() as group, runner.start():
            tasks = Submitters(runner, group)
            for step, choice in steps:
                there = line[: workers + pending]
                waiting = line[workers + pending :]
                if step == "submit":
                    number = next(numbers)
                    await tasks.submit(number)
                    line.append(number)
                elif step == "nowait":
                    number = next(numbers)
                    tasks.gates[number] = Gate()
                    if len(line) < workers + pending:
                        runner.submit_nowait(number, tasks.gates[number])
                        line.append(number)
                    else:
                        with pytest.raises(RunnerFull):
                            runner.submit_nowait(number, tasks.gates[number])
                elif step == "end" and line[:workers]:
                    ended = line.pop(choice % len(line[:workers]))
                    tasks.gates[ended].open.set()
                elif step == "leave" and waiting:
                    left = waiting[choice % len(waiting)]
                    line.remove(left)
                    tasks.scopes[left].cancel()
                elif step == "cancel" and there:
                    cut = there[choice % len(there)]
                    line.remove(cut)
                    runner.cancel(cut)
                await settle_down()
                is_open = [key for key, slot in runner.slots.items() if not slot.done]
                assert is_open == line[: workers + pending]
                assert running(runner) == line[:workers]
                assert runner.statistics().submitting == len(line[workers + pending :])
            for number in line:
                tasks.gates[number].open.set()

    run(main)
    assert len(runner) == 0
