"""What is in the events of a call: which call it is, what it waits for, and who has submitted it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import anyio
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, Limit, Rate, Retry, SequentialTaskRunner, flow, task
from creche.instruments import CallEvent, Instrument, RunnerEvent

pytestmark = pytest.mark.anyio


class Ears(Instrument):
    """Keeps the events of calls."""

    def __init__(self, *, values: bool = False) -> None:
        self.wants_values = values
        self.submitted: dict[object, CallEvent] = {}
        self.finished: dict[object, CallEvent] = {}
        self.all: list[CallEvent] = []

    def call_submitted(self, event: CallEvent) -> None:
        self.submitted[event.key] = event
        self.all.append(event)

    def call_admitted(self, event: CallEvent) -> None:
        self.all.append(event)

    def call_started(self, event: CallEvent) -> None:
        self.all.append(event)

    def call_finished(self, event: CallEvent) -> None:
        self.finished[event.key] = event
        self.all.append(event)

    def parents(self) -> dict[object, object]:
        return {key: event.parent and event.parent[1] for key, event in self.submitted.items()}


@pytest.fixture(params=[ConcurrentTaskRunner, SequentialTaskRunner])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_who_has_submitted_a_call(make: Any, real_time: None) -> None:
    """The call whose code it was: in a task of its own, in a thread, or on a loop in its thread."""

    async def on_loop() -> None:
        await runner.submit("child", give)
        async with anyio.create_task_group() as group:
            group.start_soon(runner.submit, "child of a task", give)

    def in_thread() -> None:
        runner.from_thread.submit("child of a thread", in_thread_too).result()

    def in_thread_too() -> None:
        runner.from_thread.submit("grandchild", give).result()

    def with_a_loop() -> None:
        async def main() -> None:
            await (await runner.submit("child of a loop", give))

        asyncio.run(main())

    ears = Ears()
    runner = make(instruments=[ears])
    async with runner.start():
        await runner.wait(await runner.submit("on loop", on_loop))
        await runner.wait(await runner.submit("in thread", in_thread))
        await runner.wait(await runner.submit("with a loop", with_a_loop))
        await runner.wait_all(list(runner.slots))
    assert ears.parents() == {
        "on loop": None,
        "child": "on loop",
        "child of a task": "on loop",
        "in thread": None,
        "child of a thread": "in thread",
        "grandchild": "child of a thread",
        "with a loop": None,
        "child of a loop": "with a loop",
    }
    assert {event.run for event in ears.all} == {ears.all[0].run}


async def test_who_has_submitted_what_had_to_wait_for_room(real_time: None) -> None:
    """It is admitted when another call ends, which has nothing to do with it."""

    def in_thread() -> None:
        runner.from_thread.submit("from thread", give)

    async def on_loop() -> None:
        await runner.submit("from loop", give)

    ears = Ears()
    runner = ConcurrentTaskRunner(2, max_pending=0, instruments=[ears])
    async with runner.start(), anyio.create_task_group() as group:
        for key, fn in {"thread": in_thread, "loop": on_loop}.items():
            group.start_soon(partial(runner.submit, key, fn))
        for n in range(3):
            group.start_soon(runner.submit, f"other {n}", anyio.sleep, 0.01)
    assert ears.parents() == {
        "thread": None,
        "loop": None,
        "from thread": "thread",
        "from loop": "loop",
        **{f"other {n}": None for n in range(3)},
    }


@pytest.mark.parametrize("items", [range, lambda n: (one for one in range(n))], ids=["at hand", "made"])
async def test_who_has_submitted_what_a_map_pulls(items: Callable[[int], Iterable[int]]) -> None:
    """The call that maps, although the carrier of an item that has ended pulls the next one."""

    async def maps() -> None:
        await runner.map(anyio.sleep, items(4), key="item {}".format)

    ears = Ears()
    runner = ConcurrentTaskRunner(2, instruments=[ears])
    async with runner.start():
        await runner.wait(await runner.submit("maps", maps))
    assert ears.parents() == {"maps": None, **{f"item {n}": "maps" for n in range(4)}}
    assert {key: event.pulled for key, event in ears.submitted.items()} == {
        "maps": False,
        **{f"item {n}": True for n in range(4)},
    }


async def test_each_event_says_of_which_call_it_is() -> None:
    """Two calls under one key have two numbers, also when they are open at the same time."""
    ears = Ears()
    runner = ConcurrentTaskRunner(instruments=[ears])
    async with runner.start():
        runner.submit_nowait("k", forever)
        await settle_down()
        runner.submit_nowait("k", give, on_collision="replace")
        await runner.submit_nowait("other", give)
    numbers: dict[int, list[str]] = {}
    for event in ears.all:
        numbers.setdefault(event.call, []).append(event.state.name)
    assert sorted(numbers) == [1, 2, 3]
    assert numbers[1] == ["PENDING", "RUNNING", "RUNNING", "CANCELLED"]
    assert numbers[2] == ["PENDING", "RUNNING", "RUNNING", "COMPLETED"]


async def test_who_hears_the_ends_only() -> None:
    """Each has a number all the same."""
    heard: list[CallEvent] = []

    class Ends:
        def call_finished(self, event: CallEvent) -> None:
            heard.append(event)

    runner = ConcurrentTaskRunner(1, max_pending=0, instruments=[Ends()])  # type: ignore[list-item]  # it hears some events only
    async with runner.start(), anyio.create_task_group() as group:
        calls: dict[str, Any] = {"a": give, "b": fail, "c": give}
        for key, fn in calls.items():
            group.start_soon(runner.submit, key, fn)
        await settle_down()
        await runner.wait("b")
    assert sorted(event.call for event in heard) == [1, 2, 3]


async def test_who_hears_the_beginnings_and_the_ends_only() -> None:
    """Those of one call have one number, which nobody has given before it began."""
    heard: list[tuple[str, int]] = []

    class Both(Instrument):
        def call_started(self, event: CallEvent) -> None:
            heard.append(("started", event.call))

        def call_finished(self, event: CallEvent) -> None:
            heard.append(("finished", event.call))

    async with ConcurrentTaskRunner(instruments=[Both()]).start() as runner:
        assert await runner.map(give, [1, 2]) == [1, 2]
        assert await runner.submit_nowait("k", give, 3) == 3
    begun, ended = ({call for what, call in heard if what == one} for one in ("started", "finished"))
    assert begun == ended
    assert len(heard) == 2 * len(begun) == 6


async def test_who_does_not_hear_of_retries() -> None:
    """Is told of the rest."""
    heard: list[CallEvent] = []

    class Ends:
        def call_finished(self, event: CallEvent) -> None:
            heard.append(event)

    tries: list[int] = []

    async def flaky() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise ValueError

    runner = ConcurrentTaskRunner(instruments=[Ends()])  # type: ignore[list-item]  # it hears some events only
    async with runner.start():
        runner.submit_nowait("a", flaky, retry=Retry(1, delay=0))
    assert [(event.attempt, event.call) for event in heard] == [(2, 1)]


async def test_what_a_call_needs_and_waits_for() -> None:
    """Limits and keys, when it is submitted; values only where they are wanted."""
    ears, nosy = Ears(), Ears(values=True)
    for one in (ears, nosy):
        runner = ConcurrentTaskRunner(limits={"db": 1}, instruments=[one])
        async with runner.start():
            runner.submit_nowait("a", give, "x")
            runner.submit_nowait("b", give, limits=["db"], after=["a"])
            runner.submit_nowait("c", fail, ValueError("x"))
            await runner.wait("c")
        assert (one.submitted["b"].limits, one.submitted["b"].after) == (("db",), ("a",))
        assert one.finished["b"].after == ()
    assert (ears.submitted["a"].args, ears.finished["a"].value) == (None, None)
    assert (nosy.submitted["a"].args, nosy.finished["a"].value) == (("x",), "x")
    assert (nosy.submitted["b"].args, nosy.finished["c"].value) == ((), None)


def test_the_tasks_of_a_flow() -> None:
    """A task that runs another one is its parent; the flow's own body is nobody's call."""

    @task
    def inner(n: int) -> int:
        return n

    @task
    def outer(n: int) -> int:
        return inner.submit(n).result()

    ears = Ears()

    @flow(task_runner=ConcurrentTaskRunner(instruments=[ears]))
    def program() -> int:
        return outer.submit(1).result()

    assert program() == 1
    assert ears.parents() == {"outer[0]": None, "outer[0]/inner[0]": "outer[0]"}


async def test_from_a_loop_that_is_nobodys(
    real_time: None, elsewhere: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
) -> None:
    """What other threads submit has no parent, be it that a call of another run has."""
    ears = Ears()
    runner = ConcurrentTaskRunner(instruments=[ears])
    async with runner.start():
        await elsewhere(lambda: runner.submit("a", give))
        await anyio.to_thread.run_sync(lambda: runner.from_thread.submit("b", give).result())
    assert ears.parents() == {"a": None, "b": None}


async def test_what_decides_who_comes_first() -> None:
    """A call says its priority, and a run its ageing, its rate and those of its limits."""

    class Starts(Ears):
        def runner_started(self, event: RunnerEvent) -> None:
            self.started = event

    ears, slow, fast = Starts(), Rate(1, per=2, burst=3), Rate(1000)
    limits: dict[str, int | Limit] = {"db": 2, "api": Limit(rate=4), "both": Limit(5, slow)}
    runner = ConcurrentTaskRunner(ageing=7, rate=fast, limits=limits, instruments=[ears])
    async with runner.start():
        for key, priority in {"usual": 0.0, "low": -1, "first": math.inf}.items():
            runner.submit_nowait(key, give, priority=priority)
    assert {key: event.priority for key, event in ears.submitted.items()} == {
        "usual": 0,
        "low": -1,
        "first": math.inf,
    }
    assert [event.priority for event in ears.finished.values()] == [0, 0, 0]
    assert (ears.started.ageing, ears.started.rate) == (7, fast)
    assert ears.started.rates == {"api": Rate(4), "both": slow}
    assert ears.started.limits == {"db": 2, "api": math.inf, "both": 5}
