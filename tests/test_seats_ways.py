"""All the ways into a place of its own: every submit, every runner, executors and flows."""

from __future__ import annotations

import functools
import pickle
import sys
import types
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest
from outcome import Error, Value

from calls import Gate, give, settle_down
from creche import (
    ConcurrentTaskRunner,
    RunnerFull,
    SequentialTaskRunner,
    State,
)
from creche.instruments import Instrument
from elsewhere import Elsewhere, owner, ran

pytestmark = pytest.mark.anyio


def double(n: int) -> int:
    if n < 0:
        raise ValueError(n)
    return 2 * n


async def async_double(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return double(n)


@pytest.fixture
def place() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


# Bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"place": "moon"}, ValueError, "call 'k' asks for place 'moon', which is not there.*'process'"),
        ({"place": 3}, TypeError, "place of call 'k' must be a name or a Place object, not 3"),
        ({"place": Elsewhere}, TypeError, "must be a name or a Place object"),
        (
            {"place_options": [1], "place": Elsewhere()},
            TypeError,
            "place_options of call 'k' must be",
        ),
        (
            {"place": "process", "place_options": {"a": 1}},
            ValueError,
            "a worker process takes no place_options",
        ),
        ({"place_options": {"a": 1}}, ValueError, "'k' runs on the loop, which takes no place_options"),
        ({"place_options": {"a": 1}, "place": "loop"}, ValueError, "runs on the loop"),
    ],
)
@pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_bad_input(
    make: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Refused where the mistake is made, and the key is free then."""
    async with make().start() as runner:
        with pytest.raises(kind, match=message):
            runner.submit_nowait("k", give, 1, **options)
        with pytest.raises(kind, match=message):
            await runner.submit("k", give, 1, **options)
        assert "k" not in runner
        with pytest.raises(kind):
            await runner.map(give, [1], **options)
        with pytest.raises(kind):
            async with runner.group() as group:
                group.submit_nowait("k", give, 1, **options)
    assert len(runner) == 0


async def test_bad_options_of_plain_calls(runner: ConcurrentTaskRunner) -> None:
    """They name the thread; none at all are no mistake."""
    async with runner.start():
        for where in (None, "thread"):
            with pytest.raises(ValueError, match="a thread takes no place_options, so leave out 'a'"):
                runner.submit_nowait("k", give, 1, place="thread", place_options={"a": 1})
            with pytest.raises(ValueError, match="'k' runs in a thread, which takes no place_options"):
                runner.submit_nowait("k", double, 1, place=where, place_options={"a": 1})
        assert await runner.submit_nowait("k", give, 1, place="loop", place_options={}) == 1


# Ways of submitting ----------------------------------------------------------------------------------


async def test_together_with_other_wishes(place: Elsewhere) -> None:
    """Dependencies, priorities, limits, a timeout: none of them is lost on the way."""
    runner = ConcurrentTaskRunner(1, limits={"db": 1})
    gate = Gate()
    async with runner.start():
        runner.submit_nowait("gate", gate, limits=["db"])
        await settle_down()
        runner.submit_nowait("low", double, 1, place=place)
        runner.submit_nowait("high", double, 1, place=place, priority=1)
        runner.submit_nowait("after", double, 1, place=place, after=["low"], priority=2)
        runner.submit_nowait("limited", double, 1, place=place, limits=["db"], priority=-1, timeout=10)
        runner.submit_nowait("broken", double, -1, place=place, priority=-2)
        runner.submit_nowait("never", double, 1, place=place, after=["broken"])
        runner.submit_nowait("any end", double, 1, place=place, after=["broken"], after_any_end=True)
        gate.open.set()
    assert ran(place) == ["high", "low", "after", "limited", "broken", "any end"]
    assert runner.slots["never"].origin == "upstream"


async def test_on_collision(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """Joined or replaced, with the work of the one that was replaced stopped."""
    async with runner.start():
        first = runner.submit_nowait("k", double, 1, place=place, place_options={"takes": 100})
        assert runner.submit_nowait("k", double, 2, place=place, on_collision="join") is first
        await settle_down()
        slot = runner.submit_nowait("k", double, 3, place=place, on_collision="replace")
        assert await slot == 6
    assert first.origin == "cancel"
    assert place.log[1:3] == ["run k", "stop k"]


async def test_group(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """Its calls go where they are told to, and are cancelled there."""
    async with runner.start():
        async with runner.group(stop_when="first_success") as group:
            group.submit_nowait("slow", double, 1, place=place, place_options={"takes": 100})
            await group.submit("quick", double, 2, place=place)
        assert group.slots["quick"].result() == 4
        assert "stop slow" in place.log


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("fn", [double, async_double])
async def test_map(place: Elsewhere, workers: int | None, fn: Any) -> None:
    """Over both kinds of iterables, with keys and without, values or outcomes."""

    async def numbers() -> AsyncIterator[int]:
        for n in range(5):
            yield n

    runner = ConcurrentTaskRunner(workers)
    place.capacity = 3
    async with runner.start():
        assert await runner.map(fn, range(5), place=place) == [0, 2, 4, 6, 8]
        assert await runner.map(fn, numbers(), place=place) == [0, 2, 4, 6, 8]
        assert len(runner) == 0
        assert await runner.map(fn, range(3), key=str, place=place, place_options={}) == [0, 2, 4]
        assert list(runner.slots) == ["0", "1", "2"]
        outcomes = await runner.map(fn, [1, -1], return_outcomes=True, place=place)
        assert outcomes[0] == Value(2)
        assert isinstance(outcomes[1], Error)
        with pytest.raises(ValueError, match="-1"):
            await runner.map(fn, [1, 1, -1], place=place)
        with pytest.raises(OSError, match="the line is dead"):
            await runner.map(fn, [1], place=place, place_options={"break": True})
        assert len(ran(place)) == 5 + 5 + 3 + 2 + 3 + 1
    assert place.most <= 3


@pytest.mark.usefixtures("real_time")
async def test_from_threads_and_other_loops(
    runner: ConcurrentTaskRunner, place: Elsewhere, elsewhere: Any
) -> None:
    """What is asked for there is done here."""

    def in_thread() -> Any:
        slot = runner.from_thread.submit("thread", double, 1, place=place)
        values = runner.from_thread.map(double, range(3), place=place)
        return slot.result(), values

    async def on_loop() -> Any:
        slot = await runner.submit("loop", async_double, 2, place=place)
        return await slot

    async with runner.start():
        assert await anyio.to_thread.run_sync(in_thread) == (2, [0, 2, 4])
        assert await elsewhere(on_loop) == 4
        assert await runner.submit_nowait("call", in_thread_of(runner, place)) == 6
    assert len(ran(place)) == 6


def in_thread_of(runner: ConcurrentTaskRunner, place: Elsewhere) -> Any:
    """A plain call that has another one done in a place."""
    return lambda: runner.from_thread.submit(None, double, 3, place=place).result()


async def test_max_pending(place: Elsewhere) -> None:
    """Calls for a place wait for room as others do."""
    place.capacity = 1
    runner = ConcurrentTaskRunner(max_pending=1)
    async with runner.start():
        runner.submit_nowait("a", double, 1, place=place)
        runner.submit_nowait("b", double, 1, place=place)
        with pytest.raises(RunnerFull):
            runner.submit_nowait("c", double, 1, place=place)
        slot = await runner.submit("d", double, 2, place=place)
        assert runner.slots["a"].done
        assert await slot == 4
    assert place.most == 1


# Other runners ---------------------------------------------------------------------------------------


async def test_a_sequential_runner(place: Elsewhere) -> None:
    """A call is over when its submit is, wherever it ran."""
    place.capacity = 1
    async with SequentialTaskRunner().start() as runner:
        assert (await runner.submit("a", double, 1, place=place)).result() == 2
        failed = await runner.submit("b", double, -1, place=place)
        lost = await runner.submit("c", double, 1, place=place, place_options={"crash": True})
        assert (failed.state, lost.state) == (State.FAILED, State.CRASHED)
        late = await runner.submit(
            "d", double, 1, place=place, place_options={"takes": 100}, timeout=0.1
        )
        assert late.state is State.FAILED
        assert await runner.submit_nowait("e", double, 1, place=place) == 2
        with anyio.move_on_after(0.1) as scope:
            await runner.submit("f", double, 1, place=place, place_options={"takes": 100})
        assert scope.cancelled_caught
        assert runner.slots["f"].origin == "outer"
    assert place.log[-1] == "closed"


async def test_submits_that_overlap(place: Elsewhere) -> None:
    """A place is handed no more than it takes by a sequential runner either."""
    partial: Any = functools.partial
    place.capacity = 2
    async with SequentialTaskRunner().start() as runner:
        async with anyio.create_task_group() as group:
            for n in range(5):
                group.start_soon(partial(runner.submit, n, double, n, place=place))
            runner.submit_nowait("queued", double, 1, place=place)
        await runner.until_idle()
        assert len(ran(place)) == 6
        assert place.most == 2
        assert place.host is not None
        place.most = 0
        place.host.set_capacity(1)
        async with anyio.create_task_group() as group:
            for key in "ab":
                group.start_soon(partial(runner.submit, key, double, 1, place=place))
        assert place.most == 1


async def test_instruments_are_told_where(place: Elsewhere) -> None:
    """By the name of the place."""
    seen: list[tuple[str, Any, str]] = []

    class Watch(Instrument):
        def call_admitted(self, event: Any) -> None:
            seen.append(("admitted", event.key, event.place))

        def call_started(self, event: Any) -> None:
            seen.append(("started", event.key, event.place))

        def call_settled(self, event: Any) -> None:
            seen.append(("settled", event.key, event.place))

    async with ConcurrentTaskRunner(instruments=[Watch()]).start() as runner:
        slot = await runner.submit("a", double, 1, place=place, place_options={"takes": 9, "late": 1})
        await settle_down()
        assert slot.place == "elsewhere"
        runner.cancel(slot)
        assert await slot == 1
        await runner.submit_nowait("b", double, 1, place="loop")
    assert seen[:2] == [("admitted", "a", "elsewhere"), ("started", "a", "elsewhere")]
    assert ("started", "b", "loop") in seen


async def test_a_runner_with_a_place(place: Elsewhere) -> None:
    """All calls go there, but those that say otherwise."""
    place.capacity = 2
    runner = owner(place)
    async with runner.start():
        await runner.submit_nowait("a", double, 1)
        assert await runner.map(async_double, range(4)) == [0, 2, 4, 6]
        await runner.submit_nowait("named", double, 1, place="elsewhere")
        await runner.submit_nowait("equal", double, 1, place=Elsewhere(capacity=2))
        count = len(ran(place))
        assert await runner.submit_nowait("loop", give, 3, place="loop") == 3
        assert await runner.race(lambda: 3, lambda: 3) == 3
        assert len(ran(place)) == count + 2
        with pytest.raises(RuntimeError, match="'concurrent' run in place 'elsewhere'.*own number"):
            runner.set_max_workers(3)
        assert place.host is not None
        place.host.set_capacity(1)
        place.most = 0
        await runner.map(double, range(5))
        assert place.most == 1
        place.host.set_capacity(None)
        await runner.map(double, range(5), place_options={"takes": 0.1})
        assert place.most == 5
    assert place.log.count("open") == 1


async def test_copies_of_a_runner_with_a_place(place: Elsewhere) -> None:
    """Equal settings, equal runners; each can be started."""
    runner = owner(place)
    async with runner.start():
        await runner.submit_nowait("a", double, 1)
        copies = [runner.duplicate(), pickle.loads(pickle.dumps(runner))]
    assert copies[0] == copies[1] == runner
    assert runner != owner(Elsewhere("other"))
    for copy in copies:
        async with copy.start():
            assert await copy.submit_nowait("b", double, 2) == 4


@pytest.mark.usefixtures("real_time")
async def test_the_executor_of_a_runner_with_a_place(place: Elsewhere) -> None:
    """Its calls go there, with nothing of the future about them."""
    runner = owner(place)
    async with runner.start():
        executor = runner.as_executor()

        def use() -> Any:
            future = executor.submit(int, "11", base=2)
            failed = executor.submit(double, -1)
            coroutine = executor.submit(cast("Any", async_double), 2)
            values = list(executor.map(double, range(3)))
            assert isinstance(failed.exception(), ValueError)
            return future.result(), coroutine.result(), values

        assert await anyio.to_thread.run_sync(use) == (3, 4, [0, 2, 4])
        assert len(ran(place)) == 6
        place.instead = functools.partial(anyio.sleep, 100)
        future = executor.submit(double, 1)
        await settle_down()
        assert future.cancel()
        await runner.until_idle()
        assert "stop double-6" in place.log or any("stop" in line for line in place.log)
        executor.shutdown()


async def test_a_place_by_its_name(
    runner: ConcurrentTaskRunner, place: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs is loaded by the first call that asks for it, and is one place from then on."""
    places = types.SimpleNamespace(ProcessPlace=lambda: place)
    monkeypatch.setitem(sys.modules, "creche.places", places)
    async with runner.start():
        for n in range(3):
            assert await runner.submit_nowait(n, double, n, place="process") == 2 * n
        monkeypatch.setitem(sys.modules, "creche.places", None)
        with pytest.raises(ImportError):
            runner.submit_nowait("k", double, 1, place="dask")
        assert "k" not in runner
    assert place.log.count("open") == 1
