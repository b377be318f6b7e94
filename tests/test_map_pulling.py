"""`map` whose items are pulled by the carriers, with iterables that do what they please meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from outcome import Error, Value

from calls import Gate, error_of, forever, give, give_at_once, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, KeyTaken, RunnerClosed, State

pytestmark = pytest.mark.anyio

VAR: ContextVar[Any] = ContextVar("VAR", default=None)
WORKERS = [None, 1, 3]


async def look(_: Any = None) -> Any:
    """What the call sees of the variable, at its first step and later."""
    first = VAR.get()
    await anyio.lowlevel.checkpoint()
    assert VAR.get() is first
    VAR.set("changed by a call")
    return first


@pytest.mark.parametrize("workers", WORKERS)
async def test_a_call_sees_the_variables_as_they_were_at_its_item(workers: int | None) -> None:
    """What the iterable sets is seen by the calls of this item and later ones, and by itself."""
    own: list[Any] = []

    def items() -> Iterator[int]:
        for n in range(100):
            own.append(VAR.get())
            VAR.set(n)
            yield n

    VAR.set("before")
    async with ConcurrentTaskRunner(workers).start() as runner:
        assert await runner.map(look, items()) == list(range(100))
        assert own == ["before", *range(99)]
        VAR.set("after")
        assert await runner.map(look, range(3)) == ["after"] * 3


@pytest.mark.parametrize("workers", WORKERS)
async def test_an_iterable_that_resizes_the_runner(workers: int | None) -> None:
    """It is called between two calls, where the runner may be used as everywhere."""
    async with ConcurrentTaskRunner(workers).start() as runner:

        def items() -> Iterator[int]:
            for n in range(60):
                runner.set_max_workers([None, 1, 2, 50][n % 4])
                yield n

        assert await runner.map(give, items()) == list(range(60))
        assert await runner.map(give_at_once, items()) == list(range(60))


@pytest.mark.parametrize("workers", WORKERS)
async def test_an_iterable_that_submits(workers: int | None) -> None:
    """Its calls take their turn, and their keys."""
    async with ConcurrentTaskRunner(workers).start() as runner:

        def items() -> Iterator[int]:
            for n in range(60):
                runner.submit_nowait(("inner", n), give, -n)
                reserved = runner.reserve(("reserved", n))
                runner.submit_nowait(reserved.key, give_at_once, n)
                yield n

        assert await runner.map(give, items()) == list(range(60))
        for n in range(60):
            assert await runner.result(("inner", n)) == -n
            assert await runner.result(("reserved", n)) == n


@pytest.mark.parametrize("workers", WORKERS)
async def test_an_iterable_that_cancels_calls(workers: int | None) -> None:
    """Those of the same map, too: then it ends, unless outcomes are wanted."""
    async with ConcurrentTaskRunner(workers).start() as runner:

        def items() -> Iterator[int]:
            for n in range(30):
                if n == 20:
                    runner.submit_nowait("other", forever)
                    assert runner.cancel("other")
                yield n
                if n == 25:
                    runner.cancel_all()

        outcomes = await runner.map(give, items(), return_outcomes=True)
        for n, outcome in enumerate(outcomes):
            assert outcome == Value(n) or isinstance(error_of(outcome), CallCancelled)
        assert outcomes[29] == Value(29)
        assert runner.slots["other"].origin == "cancel"


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("at", [0, 1, 2, 40])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, GeneratorExit])
async def test_an_iterable_that_raises(kind: Any, workers: int | None, at: int) -> None:
    """Whatever it is, it comes out of the map, once its calls have been cancelled and have ended."""
    gate = Gate()

    def items() -> Iterator[int]:
        for n in itertools.count():
            if n == at:
                raise kind(n)
            yield n

    async def call(n: int) -> Any:
        return await (gate(n) if n == at - 1 else give(n))

    async with ConcurrentTaskRunner(workers).start() as runner:
        if at and workers == 1:  # the last call before holds the only place
            gate.open.set()
        with pytest.raises(kind, match=str(at)):
            await runner.map(call, items(), key=str)
        assert all(slot.done for slot in runner.slots.values())
        assert gate.inside == 0
        assert len(runner) == 0
        assert await runner.map(give, [1, 2]) == [1, 2]


async def test_interrupted_inside_a_call() -> None:
    """As Ctrl-C anywhere in a call: the host raises it."""
    runner = ConcurrentTaskRunner(2)

    def items() -> Iterator[int]:
        yield 1
        yield 2
        yield 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            slot = runner.submit_nowait("mapper", runner.map, give, items())
            await anyio.sleep_forever()
    assert slot.state is State.CRASHED


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("at", [1, 10])
async def test_an_iterable_that_cancels_what_is_around(workers: int | None, at: int) -> None:
    """Once an enclosing scope is cancelled no call begins, not even that of the same item."""
    begun: list[int] = []
    runner = ConcurrentTaskRunner(workers)

    async def note(n: int) -> None:
        begun.append(n)

    with anyio.CancelScope() as scope:

        def items() -> Iterator[int]:
            for n in range(100):
                if n == at:
                    scope.cancel()
                yield n

        async with runner.start():
            await runner.map(note, items())
    assert scope.cancelled_caught
    assert all(n < at for n in begun)
    assert all(slot.done for slot in runner.slots.values())
    assert runner.statistics().running == 0


@pytest.mark.parametrize("workers", [1, 3])
async def test_from_a_task_outside_while_the_run_is_cancelled(workers: int) -> None:
    """It ends, with outcomes or without, though its own task is not cancelled."""
    runner = ConcurrentTaskRunner(workers)
    ends: list[BaseException] = []

    async def use(**options: Any) -> None:
        try:
            await runner.map(give_slowly, itertools.count(), **options)
        except (RunnerClosed, CallCancelled) as exc:
            ends.append(exc)

    async def give_slowly(n: int) -> int:
        await anyio.sleep(0.001)
        return n

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with runner.start():
                group.start_soon(use)
                group.start_soon(lambda: use(return_outcomes=True))
                await anyio.sleep(0.01)
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
    assert len(ends) == 2
    assert len(runner) == 0


@pytest.mark.parametrize("workers", [1, 3])
async def test_two_maps_share_the_places(workers: int) -> None:
    """One that never ends does not keep the other from its turn."""
    turns: list[str] = []

    async def note(name: str) -> None:
        turns.append(name)
        await anyio.lowlevel.checkpoint()

    async with ConcurrentTaskRunner(workers).start() as runner, anyio.create_task_group() as group:
        group.start_soon(runner.map, note, itertools.repeat("endless"))
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await runner.map(note, ["short"] * 50)
        group.cancel_scope.cancel()
    assert turns.count("endless") < 50 * 3 + 50


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_map_has_its_turn_beside_calls_that_never_end_coming(workers: int) -> None:
    """The queue is never empty: its items wait in it like others."""
    goes_on = True
    others = 0

    async def again() -> None:
        nonlocal others
        others += 1
        if goes_on and others < 5000:
            runner.submit_nowait(None, again)
        await anyio.lowlevel.checkpoint()

    async with ConcurrentTaskRunner(workers).start() as runner:
        for _ in range(2 * workers):
            runner.submit_nowait(None, again)
        await runner.map(give, range(20))
        goes_on = False
    assert others < 400


@pytest.mark.parametrize("workers", [1, 2])
async def test_inside_a_call_of_the_same_runner(workers: int) -> None:
    """The call lends its place to its items; several do, one inside another."""
    async with ConcurrentTaskRunner(workers).start() as runner:

        async def outer(depth: int) -> Any:
            if depth == 0:
                return await give(depth)
            return await runner.map(outer, [depth - 1] * 2)

        assert await runner.map(outer, [2, 1, 0]) == [[[0, 0], [0, 0]], [0, 0], 0]


async def test_a_key_that_is_taken() -> None:
    """The map ends with it; the call that has the key goes on."""
    gate = Gate()
    async with ConcurrentTaskRunner(2).start() as runner:
        other = runner.submit_nowait("3", gate, "other")
        with pytest.raises(KeyTaken):
            await runner.map(give, range(10), key=str)
        assert not other.done
        gate.open.set()
        assert await other == "other"
        assert all(slot.done for slot in runner.slots.values())


@pytest.mark.parametrize(
    "options", [{"limits": {"db": 1}}, {"rate": 1000}, {"ageing": 1.0}, {"max_pending": 2}]
)
@pytest.mark.parametrize("workers", [1, 3])
async def test_with_all_sorts_of_admission(options: dict[str, Any], workers: int) -> None:
    """The values are the same, and no more is pulled than there is room for."""
    pulled = ended = most = 0

    def items() -> Iterator[int]:
        nonlocal pulled, most
        for n in range(30):
            pulled += 1
            most = max(most, pulled - ended)
            yield n

    async def call(n: int) -> int:
        nonlocal ended
        await anyio.lowlevel.checkpoint()
        ended += 1
        return n

    runner = ConcurrentTaskRunner(workers, **options)
    wishes: dict[str, Any] = {"limits": ["db"]} if "limits" in options else {"priority": 1}
    async with runner.start():
        assert await runner.map(call, items(), **wishes) == list(range(30))
    assert most <= workers + 3


async def test_resizing_while_it_waits() -> None:
    """What runs goes on; no more begin than there may be, and the values come all the same."""
    gate = Gate()
    async with ConcurrentTaskRunner(4).start() as runner, anyio.create_task_group() as group:
        got: list[Any] = []

        async def use() -> None:
            got.extend(await runner.map(gate, range(12)))

        group.start_soon(use)
        await settle_down()
        assert gate.inside == 4
        runner.set_max_workers(2)
        await settle_down()
        assert gate.inside == 4
        gate.open.set()
        await settle_down()
        assert got == list(range(12))


async def test_outcomes_of_a_run_that_fails_fast() -> None:
    """The map is cut short with the run, and every call of it has ended."""
    runner = ConcurrentTaskRunner(2, on_error="cancel")

    async def odd_fails(n: int) -> Any:
        if n == 5:
            raise ValueError(n)
        return await give(n)

    got: list[Any] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            got = await runner.map(odd_fails, itertools.count(), return_outcomes=True)
    assert [str(error) for error in caught.value.exceptions] == ["5"]
    assert got == []
    assert len(runner) == 0


@pytest.mark.parametrize("workers", [None, 3])
async def test_failures_that_come_together(
    workers: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is raised; of the others nobody is told, as of those that were cancelled."""

    async def fail(n: int) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError(n)

    async with ConcurrentTaskRunner(workers).start() as runner:
        with pytest.raises(ValueError, match=r"0|1|2"):
            await runner.map(fail, range(3))
    assert caplog.text == ""


async def test_many_items_and_one_failure_among_them() -> None:
    """Outcomes are in the order of the items, however the carriers shared them."""

    async def call(n: int) -> int:
        for _ in range(n % 3):
            await anyio.lowlevel.checkpoint()
        if n % 7 == 0:
            raise ValueError(n)
        return n

    async with ConcurrentTaskRunner(5).start() as runner:
        outcomes = await runner.map(call, range(200), return_outcomes=True)
    assert [
        outcome.error.args[0] if isinstance(outcome, Error) else outcome.unwrap() for outcome in outcomes
    ] == list(range(200))
