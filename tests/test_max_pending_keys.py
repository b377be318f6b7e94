"""`max_pending` and keys: a key is judged at the submit, and again when there is room."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from outcome import Value

from calls import Gate, error_of, fail, give, settle_down, start_in
from creche import CallCancelled, ConcurrentTaskRunner, KeyTaken, RunnerFull, State
from creche._call import read_call
from creche._submitting import begin, when_room
from creche._waiting_room import Applicant
from limiting import Submitters, limiter_of, running

pytestmark = pytest.mark.anyio


async def test_a_taken_key_is_refused_at_once() -> None:
    """It does not wait for room first; and the key is judged again when there is room."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit(*"ab")
        with pytest.raises(KeyTaken):
            await runner.submit("a", give)
        with pytest.raises(KeyTaken):
            runner.submit_nowait("b", give)
        joined = await runner.submit("b", give, on_collision="join")
        assert joined is runner.slots["b"]
        twice: list[Any] = []

        async def submit_same(on_collision: Any) -> None:
            try:
                twice.append(await runner.submit("same", give, on_collision=on_collision))
            except KeyTaken as exc:
                twice.append(exc)

        for on_collision in ("raise", "raise", "join"):
            await start_in(group, submit_same, on_collision)
        assert twice == []
        assert "same" not in runner
        for key in "ab":
            tasks.gates[key].open.set()
        await settle_down()
        slot = runner.slots["same"]
        assert [one for one in twice if one is not slot] == [
            one for one in twice if type(one) is KeyTaken
        ]
        assert twice.count(slot) == 2
    assert len(runner.slots) == 3


async def test_a_reserved_key_is_filled_when_there_is_room() -> None:
    """Whether it was reserved before the submit, or while that waited."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        before = runner.reserve("before")
        await tasks.submit("a", "b", "before", "meanwhile")
        meanwhile = runner.reserve("meanwhile")
        assert before.reserved
        with pytest.raises(RunnerFull):
            runner.submit_nowait("before", give)
        assert before.reserved
        for key in ("a", "b", "before", "meanwhile"):
            tasks.gates[key].open.set()
        await settle_down()
        assert tasks.through == ["a", "b", "before", "meanwhile"]
        assert (before.state, meanwhile.state) == (State.COMPLETED, State.COMPLETED)


async def test_replacing() -> None:
    """What takes the place of an open call needs no room; nothing is replaced by what is refused."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        done = runner.submit_nowait("done", give)
        assert await done == 1
        await tasks.submit(*"ab")
        with pytest.raises(RunnerFull):
            runner.submit_nowait("done", give, 2, on_collision="replace")
        assert runner.slots["done"] is done
        second = runner.submit_nowait("b", give, 2, on_collision="replace")
        third = await runner.submit("a", give, 3, on_collision="replace")
        assert [await second, await third] == [2, 3]
        await tasks.submit("c", "d")
        await tasks.submit("done", on_collision="replace")
        assert runner.slots["done"] is done
        for key in ("c", "d", "done"):
            tasks.gates[key].open.set()
        await settle_down()
        assert tasks.through[-1] == "done"
        assert runner.slots["done"] is not done


async def test_a_key_is_taken_between() -> None:
    """A fresh key that somebody else took by its name is another fresh key."""
    runner = ConcurrentTaskRunner(1, 0)
    got: list[Any] = []
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a")

        async def submit_fresh() -> None:
            got.append(await runner.submit(None, give))

        await settle_down()
        group.start_soon(submit_fresh)
        await settle_down()
        runner.reserve("give-1")
        tasks.gates["a"].open.set()
        await settle_down()
        assert [slot.key for slot in got] == ["give-2"]
        assert await got[0] == 1
        runner.cancel("give-1")


async def test_what_is_held_does_not_count() -> None:
    """What is to run after an open call is there at once; and what would be cancelled, too."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        bad = runner.submit_nowait("bad", fail)
        assert await runner.wait(bad) is not None
        await tasks.submit("a")
        held = runner.submit_nowait("held", give, 5, after=["a"])
        dead = runner.submit_nowait("dead", give, after=["bad"])
        assert (held.state, dead.origin) == (State.PENDING, "upstream")
        with pytest.raises(RunnerFull):
            runner.submit_nowait("any", give, after=["bad"], after_any_end=True)
        tasks.gates["a"].open.set()
        assert await held == 5
        assert await (await runner.submit("good", give, 6, after=["a"])) == 6


async def test_two_for_one_reserved_key() -> None:
    """The first fills it; the second finds it taken."""
    runner = ConcurrentTaskRunner(1, 0)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a")
        reserved = runner.reserve("r")
        first = tasks.gates["a"]
        await tasks.submit("r")
        await tasks.submit("r")
        first.open.set()
        await settle_down()
        assert tasks.through == ["a", "r"]
        assert reserved.state is State.RUNNING
        runner.cancel("r")
        await settle_down()
        assert isinstance(tasks.errors["r"], KeyTaken)


async def test_a_key_with_limits_is_taken_meanwhile(anyio_backend_name: str) -> None:
    """What was borrowed for its call goes to the next one."""
    limiter = limiter_of(anyio_backend_name, 1)
    runner = ConcurrentTaskRunner(3, 0, limits={"gpu": limiter, "db": 1})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a", limits=["gpu", "db"])
        await tasks.submit("b", limits=["gpu", "db"])
        await tasks.submit("c", limits=["gpu", "db"])
        runner.submit_nowait("b", give)
        tasks.gates["a"].open.set()
        await settle_down()
        assert isinstance(tasks.errors["b"], KeyTaken)
        assert tasks.through == ["a", "c"]
        assert limiter.borrowed_tokens == 1
        tasks.gates["c"].open.set()
    assert limiter.borrowed_tokens == 0


async def test_an_answer_that_comes_before_the_wait() -> None:
    """It is there already, and nobody parks."""
    runner = ConcurrentTaskRunner(1, 0)
    async with runner.start():
        run = runner._run
        assert run is not None
        runner.submit_nowait("a", give)
        applicant = begin(run, "b", read_call(give, (2,)))
        assert isinstance(applicant, Applicant)
        await settle_down()
        assert await (await when_room(run, applicant)) == 2


@pytest.mark.parametrize("pending", [0, 1])
@pytest.mark.parametrize("how", ["settled", "reserved", "fresh"])
async def test_a_key_that_is_there_costs_no_turn(how: str, pending: int) -> None:
    """Whoever is first in line starts first, whatever its key needs, and no more wait than may."""
    runner = ConcurrentTaskRunner(1, pending)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        if how == "settled":
            await runner.wait(runner.submit_nowait("first", give))
        await tasks.submit(*["has the place", "has the room"][: 1 + pending])
        if how == "reserved":
            runner.reserve("first")
        key = None if how == "fresh" else "first"
        first = Gate()

        async def submit() -> None:
            assert await (await runner.submit(key, first, 2, on_collision="replace")) == 2

        group.start_soon(submit)
        await settle_down()
        await tasks.submit("second")
        if how == "fresh":
            runner.reserve("Gate-1")
        second = tasks.gates["second"]
        for gate in list(tasks.gates.values())[: 1 + pending]:
            assert first.begun == 0
            gate.open.set()
            await settle_down()
            assert runner.statistics().pending <= pending
        assert (first.begun, second.begun) == (1, 0)
        first.open.set()
        await settle_down()
        assert second.begun == 1
        second.open.set()
        if how == "fresh":
            runner.cancel("Gate-1")


async def test_a_reserved_key_keeps_its_turn_among_limits(anyio_backend_name: str) -> None:
    """What was borrowed for the call is the reserved slot's, and is given back with its end."""
    limiter = limiter_of(anyio_backend_name, 1)
    runner = ConcurrentTaskRunner(3, 1, limits={"gpu": limiter, "db": 1})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a", "b", "r", "c", limits=["gpu", "db"])
        slot = runner.reserve("r")
        tasks.gates["a"].open.set()
        await settle_down()
        assert tasks.through == ["a", "b", "r"]
        tasks.gates["b"].open.set()
        await settle_down()
        assert running(runner) == ["r"]
        assert slot.state is State.RUNNING
        assert limiter.borrowed_tokens == 1
        tasks.gates["r"].open.set()
        await settle_down()
        assert running(runner) == ["c"]
        tasks.gates["c"].open.set()
    assert limiter.borrowed_tokens == 0


async def test_many_that_replace_each_other() -> None:
    """Each takes the place of the one before, in order; none finds its key taken."""
    runner = ConcurrentTaskRunner(1, 1)
    through: list[int] = []
    ended: dict[int, Any] = {}

    async def submit(number: int) -> None:
        slot = await runner.submit("key", give, number, on_collision="replace")
        through.append(number)
        ended[number] = await runner.wait(slot)

    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a", "b")
        for number in range(4):
            group.start_soon(submit, number)
            await settle_down()
        tasks.gates["a"].open.set()
        await settle_down()
        assert through == [0]
        tasks.gates["b"].open.set()
        await settle_down()
        assert sorted(through) == [0, 1, 2, 3]
    assert ended.pop(3) == Value(3)
    assert all(isinstance(error_of(outcome), CallCancelled) for outcome in ended.values())


async def test_a_replacement_takes_the_room_too() -> None:
    """What it replaces makes no room for another: there are no more that wait than may."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a", "b", "c")
        second = runner.submit_nowait("b", give, 2, on_collision="replace")
        await settle_down()
        assert (runner.statistics().pending, runner.statistics().submitting) == (1, 1)
        third = runner.submit_nowait("b", give, 3, on_collision="replace", after=["a"])
        await settle_down()
        assert tasks.through == ["a", "b", "c"]
        for key in "ac":
            tasks.gates[key].open.set()
        assert await third == 3
        assert second.state is State.CANCELLED


@pytest.mark.parametrize("on_collision", ["raise", "join", "replace"])
async def test_a_waiting_submit_does_not_take_the_key_of_a_replacement(on_collision: Any) -> None:
    """The key is free between the call that was there and the next one, for that one only."""
    runner = ConcurrentTaskRunner(1, 1)
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("a", "b")
        await tasks.submit("key", on_collision=on_collision)
        runner.submit_nowait("key", give, 1, after=["a"])
        tasks.gates["a"].open.set()
        await settle_down()
        assert (running(runner), tasks.through) == (["b"], ["a", "b"])
        assert runner.statistics().pending == 1
        second = runner.submit_nowait("key", give, 2, on_collision="replace")
        await settle_down()
        assert runner.slots["key"] is second
        tasks.gates["b"].open.set()
        tasks.gates["key"].open.set()
        assert await runner.wait(second) is not None
        await settle_down()
    if on_collision == "raise":
        assert isinstance(tasks.errors["key"], KeyTaken)
    else:
        assert tasks.through == ["a", "b", "key"]
    assert (runner.slots["key"] is second) == (on_collision != "replace")


async def test_what_is_replaced_lets_another_of_its_key_start() -> None:
    """A limit was kept for it; who needs that one only, and has waited longer, replaces the next one."""
    runner = ConcurrentTaskRunner(4, 1, limits={"db": 1, "net": 1})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        await tasks.submit("has db", "waits", limits=["db"])
        await tasks.submit("has net", limits=["net"])
        await tasks.submit("key", limits=["net"], on_collision="replace")
        options: Any = {"limits": ["db", "net"], "priority": 1}
        runner.submit_nowait("key", give, 1, after=["has net"], **options)
        tasks.gates["has net"].open.set()
        await settle_down()
        assert running(runner) == ["has db"]
        second = runner.submit_nowait("key", give, 2, on_collision="replace", **options)
        assert second.state is State.CANCELLED
        await settle_down()
        assert running(runner) == ["has db", "key"]
        for gate in tasks.gates.values():
            gate.open.set()
    assert tasks.errors == {}


async def test_a_reserved_key_with_a_limiter(anyio_backend_name: str) -> None:
    """What was borrowed for its call goes with the call to the reserved slot, and is given back."""
    limiter = limiter_of(anyio_backend_name, 1)
    runner = ConcurrentTaskRunner(3, 0, limits={"gpu": limiter})
    async with anyio.create_task_group() as group, runner.start():
        tasks = Submitters(runner, group)
        reserved = runner.reserve("r")
        await tasks.submit("a", "r", limits=["gpu"])
        assert reserved.reserved
        tasks.gates["a"].open.set()
        await settle_down()
        assert reserved.state is State.RUNNING
        assert limiter.borrowed_tokens == 1
        tasks.gates["r"].open.set()
    assert reserved.state is State.COMPLETED
    assert limiter.borrowed_tokens == 0
