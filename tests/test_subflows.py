"""Flows in flows: with a runner of their own, or that of the flow around them; keys, ends, depth."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    FlowTimedOut,
    RunnerClosed,
    Slot,
    State,
    flow,
    task,
)
from creche.instruments import CallEvent, Instrument, RunnerEvent
from flowing import IN_BOTH_WAYS, ON_BOTH, UNDER_BOTH, add, add_later, forever, run


class Ear(Instrument):
    """Remembers runs and keys."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.keys: list[Any] = []

    def runner_started(self, event: RunnerEvent) -> None:
        self.runs.append(event.run)

    def call_submitted(self, event: CallEvent) -> None:
        self.keys.append(event.key)


@ON_BOTH
@UNDER_BOTH
@IN_BOTH_WAYS
def test_keys_and_depth(backend: Any, runner: Any, way: Any) -> None:
    """Prefixed by the subflow, from its second call on with a number, or by the task that calls it."""
    ear = Ear()

    @task
    def work(n: int) -> int:
        return down(n)

    @flow(task_runner=way, backend=backend)
    def down(n: int) -> int:
        if n == 0:
            return add.with_options(key="{a}").submit(7, 0).result()
        return add(down(n - 1), 1)

    @flow(task_runner=runner(instruments=[ear]), backend=backend)
    def top() -> list[int]:
        return [add(1, 1), down(2), down(0), work.submit(1).result(), work(0)]

    default = flow.task_runner
    flow.task_runner = runner(instruments=[ear])
    try:
        first, keys = top(), list(ear.keys)
        ear.keys.clear()
        assert (top(), ear.keys) == (first, keys)
    finally:
        flow.task_runner = default
    assert first == [2, 9, 7, 8, 7]
    assert keys == [
        "add[0]",
        "down/down/down/add[7]",
        "down/down/add[0]",
        "down/add[0]",
        "down[1]/add[7]",
        "work[0]",
        "work[0]/down/down/add[7]",
        "work[0]/down/add[0]",
        "work[1]",
        "work[1]/down/add[7]",
    ]
    assert len(ear.runs) == (2 if way == "parent" else 2 * 8)


@pytest.mark.anyio
@IN_BOTH_WAYS
async def test_async_in_async(way: Any) -> None:
    """In the body and in a task; what the body has not waited for ends before the subflow does."""
    ear = Ear()

    @task
    async def work(n: int) -> int:
        return await inner(n)

    @flow(task_runner=way)
    async def inner(n: int) -> int:
        slot = add_later.submit(n, 1)
        left.append(add_later.submit(slot, 1))
        return await slot

    @flow(task_runner=ConcurrentTaskRunner(instruments=[ear]))
    async def outer() -> list[int]:
        found = [await inner(1)]
        assert left[-1].done
        found.append(await work.submit(2))
        assert left[-1].done
        return found

    left: list[Slot[int]] = []
    assert await outer() == [2, 3]
    if way == "parent":
        assert ear.keys == [
            "inner/add_later[0]",
            "inner/add_later[1]",
            "work[0]",
            "work[0]/inner/add_later[0]",
            "work[0]/inner/add_later[1]",
        ]
    assert await inner(4) == 5, "in no flow, it has the default runner"
    assert [slot.key for slot in left[-2:]] == ["work[0]/inner/add_later[1]", "add_later[1]"]


@ON_BOTH
@IN_BOTH_WAYS
def test_what_a_subflow_raises(backend: Any, way: Any) -> None:
    """It comes out bare, and what is left of the subflow is cancelled, and of it alone."""
    slots: list[Slot[Any]] = []

    @flow(task_runner=way, backend=backend)
    def inner() -> None:
        slots.append(forever.submit())
        raise LookupError("body")

    @flow(backend=backend)
    def outer() -> int:
        mine = add_later.submit(1, 1)
        with pytest.raises(LookupError, match="body"):
            inner()
        assert slots[-1].state is State.CANCELLED
        return add(mine, 1)  # type: ignore[arg-type]  # a task takes a slot for a value

    assert outer() == 3

    @flow(task_runner=way)
    async def inner_async() -> None:
        slots.append(forever.submit())
        raise LookupError("body")

    @flow
    async def outer_async() -> int:
        mine = add_later.submit(1, 1)
        with pytest.raises(LookupError, match="body"):
            await inner_async()
        assert slots[-1].state is State.CANCELLED
        assert "raised LookupError" in str(slots[-1].reason)
        return await mine

    assert run(backend, outer_async) == 2


@ON_BOTH
@IN_BOTH_WAYS
def test_the_flow_around_it_ends(backend: Any, way: Any) -> None:
    """By a failure that cancels the rest: the subflow ends, in the body, and in a thread of a task."""
    told: list[str] = []
    inner_ran = threading.Event()

    @flow(task_runner=way, backend=backend, on_cancelled=[lambda flow, end, state: told.append(end.key)])
    def inner() -> None:
        slot = forever.submit()
        inner_ran.set()
        slot.result()

    @task
    def work() -> None:
        inner()

    @task
    def fails_late() -> None:
        inner_ran.wait(20)
        raise LookupError("task")

    @flow(on_error="cancel", backend=backend)
    def outer(in_task: bool) -> None:
        fails_late.submit()
        if in_task:
            work.submit()
        else:
            inner()

    for in_task in (False, True):
        inner_ran.clear()
        with pytest.raises(ExceptionGroup) as caught:
            outer(in_task)
        assert "task" in [str(error) for error in caught.value.exceptions]
    assert told == ["inner", "work[0]/inner"]


@ON_BOTH
@IN_BOTH_WAYS
def test_a_subflow_of_a_flow_that_is_ending(backend: Any, way: Any) -> None:
    """It is not begun."""

    @flow(task_runner=way, backend=backend)
    def inner() -> None:
        raise AssertionError("it must not begin")

    @flow(timeout=0.02, backend=backend)
    def outer() -> None:
        with pytest.raises(CallCancelled):
            forever.submit().result()
        with pytest.raises(RunnerClosed, match="'inner'.*timeout"):
            inner()

    with pytest.raises(FlowTimedOut):
        outer()


@ON_BOTH
@UNDER_BOTH
@IN_BOTH_WAYS
@pytest.mark.parametrize("is_async", [False, True])
def test_instruments_hear_of_what_is_below(backend: Any, runner: Any, way: Any, is_async: bool) -> None:
    """Those of the outermost flow hear of every call, each once; those of a subflow of its own ones."""
    outer_ear, inner_ear = Ear(), Ear()
    own = runner(instruments=[inner_ear, outer_ear]) if way is None else way

    @flow(backend=backend)
    def lowest() -> None:
        add(1, 1)

    @flow(task_runner=own, backend=backend)
    def inner() -> None:
        add(1, 1)
        lowest()

    @flow(task_runner=runner(instruments=[outer_ear]), backend=backend)
    def outer() -> None:
        inner()
        add(1, 1)

    @flow(backend=backend)
    async def async_lowest() -> None:
        await add_later(1, 1)

    @flow(task_runner=own, backend=backend)
    async def async_inner() -> None:
        await add_later(1, 1)
        await async_lowest()

    @flow(task_runner=runner(instruments=[outer_ear]), backend=backend)
    async def async_outer() -> None:
        await async_inner()
        await add_later(1, 1)

    name = "add_later" if is_async else "add"
    kind = "async_" if is_async else ""
    below = [f"{kind}inner/{name}[0]", f"{kind}inner/{kind}lowest/{name}[0]"]
    if is_async:
        run(backend, async_outer)
    else:
        outer()
    assert outer_ear.keys == [*below, f"{name}[0]"]
    assert inner_ear.keys == (below if way is None else [])
