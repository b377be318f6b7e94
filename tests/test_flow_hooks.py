"""State hooks of tasks and of flows: who is told what, where, and what becomes of one that raises."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    FlowEnd,
    FlowTimedOut,
    Slot,
    State,
    flow,
    task,
)
from creche.flows._flow import FlowOptions
from creche.flows._flow_run import CURRENT
from creche.flows._hooks import Hook
from creche.flows._options import TaskOptions
from creche.instruments import CallEvent, Instrument
from flowing import ON_BOTH, UNDER_BOTH, run


class Told:
    """Hooks that remember."""

    def __init__(self) -> None:
        self.of: list[tuple[str, Any, str]] = []
        self.subjects: list[Any] = []
        self.threads: set[int] = set()
        self.hooks: TaskOptions = {
            "on_completed": [self._hook("on_completed")],
            "on_failed": [self._hook("on_failed")],
            "on_cancelled": [self._hook("on_cancelled")],
            "on_crashed": [self._hook("on_crashed")],
        }
        self.flow_hooks = cast("FlowOptions", self.hooks)

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(subject: Any, end: Any, state: State) -> None:
            self.of.append((name, end.key, state.name))
            self.subjects.append(subject)
            self.threads.add(threading.get_ident())

        return hook


@ON_BOTH
@UNDER_BOTH
def test_the_hooks_of_tasks(backend: Any, runner: Any) -> None:
    """Each end has its own; they are called on the loop, in order, with the task and the slot."""
    told, loops = Told(), set[int]()

    @task(**told.hooks)
    def work(what: Any) -> Any:
        if isinstance(what, Exception):
            raise what
        return what

    @task
    async def where() -> int:
        return threading.get_ident()

    @flow(task_runner=runner, backend=backend)
    def body() -> None:
        loops.add(where.submit().result())
        good = work.submit(1)
        good.result()
        bad = work.submit(LookupError("work"))
        with pytest.raises(LookupError):
            bad.result()
        with pytest.raises(CallCancelled):
            work.submit(bad).result()

    body()
    assert told.of == [
        ("on_completed", "work[0]", "COMPLETED"),
        ("on_failed", "work[1]", "FAILED"),
        ("on_cancelled", "work[2]", "CANCELLED"),
    ]
    assert told.subjects == [work, work, work]
    assert told.threads == loops


@ON_BOTH
def test_the_hooks_of_a_task_that_crashes(backend: Any) -> None:
    """And of one that is called in line."""
    told = Told()

    @task(**told.hooks)
    def work(how: str) -> None:
        if how == "exit":
            raise SystemExit(3)

    @flow
    async def body() -> None:
        work("inline")
        await work.submit("exit")

    with pytest.raises(SystemExit):
        run(backend, body)
    assert told.of == [
        ("on_completed", "work[0]", "COMPLETED"),
        ("on_crashed", "work[1]", "CRASHED"),
    ]


@ON_BOTH
def test_a_hook_that_raises(backend: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once in a run, and not called again; the others are, and the flow goes on."""
    calls: list[str] = []

    def broken(*_: Any) -> None:
        calls.append("broken")
        raise LookupError("hook")

    def fine(subject: Any, slot: Slot[Any], state: State) -> None:
        calls.append(f"{subject.name} {slot.key} {state.name}")

    @task(on_completed=[broken, fine])
    def work() -> int:
        return 1

    @flow(backend=backend)
    def body() -> int:
        return sum(slot.result() for slot in [work.submit(), work.submit()])

    for _ in range(2):
        with caplog.at_level(logging.ERROR):
            assert body() == 2
        assert calls[0] == "broken"
        assert sorted(calls[1:]) == ["work work[0] COMPLETED", "work work[1] COMPLETED"]
        (record,) = caplog.records
        assert "broken" in record.getMessage()
        assert "<creche.Task 'work'> raised, and is not called again" in record.getMessage()
        calls.clear()
        caplog.clear()


@ON_BOTH
def test_a_hook_that_exits(backend: Any) -> None:
    """What is no `Exception` ends the flow, as out of an instrument."""

    def leave(*_: Any) -> None:
        raise SystemExit(4)

    @task(on_completed=[leave])
    async def work() -> None: ...

    @flow(backend=backend)
    def body() -> None:
        work.submit()

    with pytest.raises(SystemExit):
        body()


@ON_BOTH
def test_the_hooks_of_a_sync_flow(backend: Any) -> None:
    """They are told after all of it has ended, in the thread that called it."""
    told, ends = Told(), list[FlowEnd]()

    told.flow_hooks["backend"] = backend

    @flow(**told.flow_hooks)
    def body(error: BaseException | None = None) -> int:
        if error is not None:
            raise error
        return 3

    other = body.with_options(on_completed=[lambda subject, end, state: ends.append(end)], name="other")
    assert body() == other() == 3
    for error in (LookupError("body"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)):
            body(error)

    @flow(**told.flow_hooks)
    def slow() -> None:
        threading.Event().wait(0.1)

    with pytest.raises(FlowTimedOut):
        slow.with_options(timeout=0.02)()
    assert told.of == [
        ("on_completed", "body", "COMPLETED"),
        ("on_failed", "body", "FAILED"),
        ("on_crashed", "body", "CRASHED"),
        ("on_crashed", "body", "CRASHED"),
        ("on_failed", "slow", "FAILED"),
    ]
    assert told.subjects[0] is body
    assert told.threads == {threading.get_ident()}
    ((key, state, outcome),) = ends
    assert (key, state, outcome.unwrap()) == ("other", State.COMPLETED, 3)
    without = body.with_options(on_completed=[], on_failed=[])
    assert without() == 3
    assert len(told.of) == 5


@pytest.mark.anyio
async def test_the_hooks_of_an_async_flow(caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled from outside it is CANCELLED, and the loop's own cancellation is not handed out."""
    told, ends = Told(), list[FlowEnd]()

    def broken(*_: Any) -> None:
        raise LookupError("hook")

    more: list[Hook] = [broken, lambda flow, end, state: ends.append(end)]
    told.flow_hooks["on_cancelled"] = [*(told.hooks.get("on_cancelled") or ()), *more]

    @flow(**told.flow_hooks)
    async def body(how: str) -> None:
        if how == "sleep":
            await anyio.sleep_forever()
        if how == "raise":
            raise LookupError("body")

    await body("return")
    with pytest.raises(LookupError, match="body"):
        await body("raise")
    with anyio.move_on_after(0.01) as scope, caplog.at_level(logging.ERROR):
        await body("sleep")
    assert scope.cancelled_caught
    assert [(name, state) for name, _, state in told.of] == [
        ("on_completed", "COMPLETED"),
        ("on_failed", "FAILED"),
        ("on_cancelled", "CANCELLED"),
    ]
    (end,) = ends
    with pytest.raises(CallCancelled, match="'body' was cancelled .outer.: a scope around the flow"):
        end.outcome.unwrap()
    assert len(caplog.records) == 1


@ON_BOTH
def test_a_call_in_line_that_an_instrument_cancels(backend: str) -> None:
    """It is told of the submit before the task runs, and the task does not run; its hooks are told."""
    told = Told()

    class Axe(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            flow_run = CURRENT.get()
            assert flow_run is not None
            flow_run.run.cancel(flow_run.run.board.find(event.key), "cancel", "not wanted")

    @task(**told.hooks)
    def work() -> None:
        raise AssertionError("it must not run")

    @flow(task_runner=ConcurrentTaskRunner(instruments=[Axe()]))
    async def body() -> None:
        work()

    with pytest.raises(CallCancelled, match="not wanted"):
        run(backend, body)
    assert told.of == [("on_cancelled", "work[0]", "CANCELLED")]
