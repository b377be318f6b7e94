"""How flows in flows end before their time: by a timeout, by Ctrl-C, on other loops, cancelled."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from creche import (
    CallCancelled,
    FlowTimedOut,
    RunnerClosed,
    Slot,
    State,
    flow,
    task,
)
from creche.flows._course import Course
from creche.flows._deadline import Deadline
from creche.flows._flow_run import CURRENT
from flowing import IN_BOTH_WAYS, ON_BOTH, add, add_later, forever, run


@ON_BOTH
@IN_BOTH_WAYS
def test_the_timeout_of_a_subflow(backend: Any, way: Any) -> None:
    """It cuts the subflow, with what it has called, and that alone."""
    go_on = threading.Event()

    @task
    def stuck() -> None:
        go_on.wait(20)

    @flow(task_runner=way, timeout=0.05, backend=backend)
    def inner(catches: bool) -> None:
        stuck.submit()
        slot = forever.submit()
        if catches:
            with pytest.raises(CallCancelled):
                slot.result()
            with pytest.raises(RunnerClosed, match="'add.0.'|'inner"):
                add.submit(1, 1)
        else:
            nested(slot)

    @flow(task_runner=way, backend=backend)
    def nested(slot: Slot[Any]) -> None:
        forever.submit(1)
        add.submit(1, 1).result()
        slot.result()

    @flow(backend=backend)
    def outer() -> int:
        mine = add_later.submit(1, 1)
        for catches in (True, False):
            with pytest.raises(FlowTimedOut, match=r"flow 'inner.*'inner.*/stuck\[0\]', .*forever\[0\]"):
                inner(catches)
        return add(mine, 1)  # type: ignore[arg-type]  # a task takes a slot for a value

    assert outer() == 3
    go_on.set()


@ON_BOTH
@IN_BOTH_WAYS
def test_the_timeout_of_an_async_subflow(backend: str, way: Any) -> None:
    """Likewise; a cancellation from outside is none."""

    @flow(task_runner=way, timeout=0.05)
    async def inner_async(how: str) -> int:
        slot = forever.submit()
        if how == "wait":
            await slot
        if how == "sleep":
            await anyio.sleep_forever()
        return 1

    @flow
    async def outer_async() -> int:
        mine = add_later.submit(1, 1)
        for how in ("wait", "sleep", "return"):
            with pytest.raises(FlowTimedOut, match=r"forever\[0\]'$"):
                await inner_async(how)
        with anyio.move_on_after(0.01) as scope:
            await inner_async("sleep")
        assert scope.cancelled_caught
        return await mine

    assert run(backend, outer_async) == 2


@ON_BOTH
@IN_BOTH_WAYS
def test_an_async_subflow_on_another_loop(backend: Any, way: Any) -> None:
    """Of a task in a thread: it ends with the flow around it, and works before that."""
    ran = threading.Event()
    slots: list[Slot[Any]] = []

    @flow(task_runner=way)
    async def inner(waits: bool) -> int:
        if waits:
            slots.append(forever.submit())
            ran.set()
            await anyio.sleep_forever()
        return await add_later.submit(1, 1)

    @task
    def work(waits: bool) -> int:
        return trio.run(inner, waits)

    @task
    def fails_late() -> None:
        ran.wait(20)
        raise LookupError("task")

    @flow(on_error="cancel", backend=backend)
    def outer() -> None:
        assert work.submit(False).result() == 2
        last.append(work.submit(True))
        fails_late.submit()

    last: list[Slot[int]] = []
    with pytest.raises(ExceptionGroup):
        outer()
    assert slots[0].state is State.CANCELLED
    assert last[0].done


@ON_BOTH
def test_ctrl_c_in_a_subflow_on_the_runner_of_another(backend: Any) -> None:
    """It ends both, at once; what sits in a thread is left to itself."""
    begun, go_on = threading.Event(), threading.Event()

    @task
    def stuck() -> None:
        begun.set()
        go_on.wait(20)

    @flow(task_runner="parent", backend=backend)
    def inner() -> None:
        stuck.submit()
        begun.wait(20)
        raise KeyboardInterrupt

    @flow(backend=backend)
    def outer() -> None:
        inner()

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert not go_on.is_set()
    go_on.set()


def test_a_late_submit_to_a_subflow_that_has_ended() -> None:
    """Code that it has left behind submits nothing to the flow around it."""
    late: list[Any] = []

    @flow(task_runner="parent")
    async def inner(group: Any) -> None:
        async def later() -> None:
            await anyio.sleep(0.05)
            with pytest.raises(RunnerClosed, match=r"'inner/add_later.0.': flow 'inner'.*it has ended"):
                add_later.submit(1, 1)
            late.append(1)

        group.start_soon(later)

    @flow
    async def outer() -> None:
        async with anyio.create_task_group() as group:
            await inner(group)

    run("trio", outer)
    assert late == [1]


@ON_BOTH
@IN_BOTH_WAYS
def test_run_async_in_a_flow(backend: str, way: Any) -> None:
    """A sync subflow of an async flow, in a thread; cancelled, it ends."""
    begun = threading.Event()

    @flow(task_runner=way)
    def inner(waits: bool) -> int:
        slot = forever.submit() if waits else add.submit(1, 1)
        begun.set()
        return slot.result()  # type: ignore[return-value]  # an int, by what was submitted

    @flow
    async def outer() -> int:
        value = await inner.run_async(False)
        begun.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(inner.run_async, True)
            await anyio.to_thread.run_sync(begun.wait, 20)
            group.cancel_scope.cancel()
        return value

    assert run(backend, outer) == 2


@ON_BOTH
@IN_BOTH_WAYS
def test_a_flow_that_is_stopped_before_it_has_begun(backend: Any, way: Any) -> None:
    """Whoever awaited it may be cancelled while its thread is only starting: it ends at once."""

    @flow(task_runner=way, backend=backend)
    def inner() -> None:
        forever.submit().result()

    @flow(backend=backend)
    def outer() -> None:
        course = Course(inner, inner._ways, CURRENT.get())
        course.stop("nobody waits for it")
        with pytest.raises((CallCancelled, RunnerClosed), match="nobody waits for it"):
            inner._run(course, (), {})
        assert course._flow_run is not None
        assert course._flow_run.ended_by == "nobody waits for it"

    outer()


@ON_BOTH
@IN_BOTH_WAYS
def test_the_timeout_of_the_flow_around_it(backend: Any, way: Any) -> None:
    """The keys of what has run in it are named, too, and no thread of it is waited for."""
    go_on = threading.Event()

    @task
    def stuck() -> None:
        go_on.wait(20)

    @flow(task_runner=way, backend=backend)
    def inner() -> None:
        stuck.submit().result()

    @task
    def work() -> None:
        inner()

    @flow(timeout=0.1, backend=backend)
    def outer(in_task: bool) -> None:
        work.submit().result() if in_task else inner()

    for in_task, keys in ((False, ["inner/stuck[0]"]), (True, ["work[0]", "work[0]/inner/stuck[0]"])):
        with pytest.raises(FlowTimedOut) as caught:
            outer(in_task)
        assert sorted(map(str, caught.value.keys)) == keys
        assert not go_on.is_set()
    go_on.set()

    @flow(task_runner=way)
    async def inner_async() -> None:
        await forever()

    @flow(timeout=0.05)
    async def outer_async() -> None:
        await inner_async()

    with pytest.raises(FlowTimedOut) as caught:
        run(backend, outer_async)
    assert caught.value.keys == ("inner_async/forever[0]",)


def test_a_deadline_that_never_began() -> None:
    """Ctrl-C may come before it does."""

    @flow
    def body() -> None:
        flow_run = CURRENT.get()
        assert flow_run is not None
        Deadline(flow_run, 1).end()
        assert add(1, 1) == 2

    body()


@pytest.mark.anyio
async def test_why_calls_below_are_cut() -> None:
    """The reason is the timeout, however deep they are; not that a scope around them was cancelled."""
    slots: list[Slot[Any]] = []

    @flow
    async def lowest() -> None:
        slots.append(forever.submit())
        await slots[0]

    @task
    async def work() -> None:
        await lowest()

    @flow
    async def middle() -> None:
        await work.submit()

    @flow(timeout=0.05)
    async def top() -> None:
        await middle()

    with pytest.raises(FlowTimedOut):
        await top()
    (slot,) = slots
    assert slot.key == "middle/work[0]/lowest/forever[0]"
    assert (slot.origin, slot.reason) == (
        "outer",
        "flow 'top' has not ended within its timeout of 0.05 seconds",
    )
