"""State machines step by step, by hand: what lives on between steps, errors, hangs, and the end."""

from __future__ import annotations

import asyncio
import contextvars
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from creche import ConcurrentTaskRunner
from creche.testing import HungError, leaks
from stepping import Steps, on

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@pytest.fixture(params=["trio", "asyncio"])
def steps(request: pytest.FixtureRequest) -> Any:
    """One by hand; it leaves nothing behind."""
    with leaks():
        machine = on(request.param, Steps)()
        yield machine
        machine.teardown()


def test_time_and_tasks_stand_still_between_rules(steps: Any) -> None:
    """What one rule has started goes on in the next one, at the same virtual time."""
    seen: list[float] = []

    async def ticks() -> None:
        while True:
            await anyio.sleep(1)
            seen.append(anyio.current_time() - begin)

    begin = steps.do_now(anyio.current_time)
    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, ticks)
    real = time.monotonic()
    time.sleep(0.02)
    assert steps.do_now(anyio.current_time) == begin
    assert seen == []
    steps.do(anyio.sleep, 3.5)
    assert seen == [1, 2, 3]
    steps.do(anyio.sleep, 120)
    assert len(seen) == 123
    assert time.monotonic() - real < 60
    steps.do_now(group.cancel_scope.cancel)


def test_a_plain_rule_runs_as_if_in_the_task(steps: Any) -> None:
    """It has the loop, the task and the context variables of the others, and nobody else moves."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    tasks: list[Any] = []
    moved: list[int] = []

    async def sets() -> None:
        variable.set(1)
        tasks.append(anyio.get_current_task().id)

    async def moves() -> None:
        moved.append(1)

    def looks() -> None:
        assert variable.get() == 1
        assert anyio.get_current_task().id == tasks[0]
        assert sniffio.current_async_library() == steps.backend
        variable.set(2)

    async def looks_again() -> int:
        await anyio.lowlevel.checkpoint()
        return variable.get()

    steps.do(sets)
    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, moves)
    steps.do_now(looks)
    assert moved == []
    assert steps.do(looks_again) == 2
    assert moved == [1]
    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        sniffio.current_async_library()


def test_what_a_plain_rule_returns(steps: Any) -> None:
    """A coroutine is awaited, and whatever else can be awaited is not."""

    async def value() -> int:
        await anyio.sleep(1)
        return 3

    assert steps.do_now(value) == 3
    slots: list[Any] = []

    def submits() -> Any:
        slots.append(runner.submit_nowait("a", value))
        return slots[0]

    runner = steps.do(steps.open, ConcurrentTaskRunner().start)
    assert steps.do_now(submits) is slots[0]
    assert not slots[0].done


def test_an_error_comes_out_of_its_rule(steps: Any) -> None:
    """With the lines of the rule, and once; the managers are left with it, the last one first."""
    left: list[Any] = []

    @asynccontextmanager
    async def notes(name: str) -> AsyncIterator[None]:
        try:
            yield
        except ValueError as exc:
            await anyio.sleep(1)
            left.append((name, exc))
            raise

    async def fails() -> None:
        await anyio.sleep(1)
        raise ValueError("mine")

    for name in "ab":
        steps.do(steps.open, partial(notes, name))
    with pytest.raises(ValueError, match="mine") as caught:
        steps.do(fails)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fails"
    assert not any("_main" in frame.name for frame in traceback.extract_tb(caught.value.__traceback__))
    steps.teardown()
    assert left == [("b", caught.value), ("a", caught.value)]


def test_calls_are_cancelled_when_a_rule_fails(steps: Any) -> None:
    """As by a body of the runner that raises: nothing is waited for that would not end."""

    def fails() -> None:
        raise ValueError("mine")

    runner = steps.do(steps.open, ConcurrentTaskRunner().start)
    slot = steps.do_now(runner.submit_nowait, "a", anyio.sleep_forever)
    steps.do(anyio.sleep, 1)
    with pytest.raises(ValueError, match="mine"):
        steps.do_now(fails)
    steps.teardown()
    assert slot.origin == "closed"


def test_a_task_that_fails(steps: Any) -> None:
    """It cancels the rule that goes on at the time, and comes out of it, without the cancellation."""

    async def fails() -> None:
        await anyio.sleep(1)
        raise ValueError("of the task")

    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, fails)
    with pytest.raises(ExceptionGroup) as caught:
        steps.do(anyio.sleep, 5)
    assert [str(one) for one in caught.value.exceptions] == ["of the task"]


def test_a_task_that_fails_while_the_rule_ends(steps: Any) -> None:
    """The next rule with a checkpoint is cancelled by it."""

    async def fails() -> None:
        raise ValueError("of the task")

    async def nothing() -> int:
        return 1

    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, fails)
    assert steps.do(nothing) == 1
    assert steps.do(nothing) == 1
    with pytest.raises(ExceptionGroup):
        steps.do(anyio.sleep, 5)


def test_a_task_that_fails_and_no_rule_sees_it(steps: Any) -> None:
    """It comes out of the end."""

    async def fails() -> None:
        raise ValueError("of the task")

    async def nothing() -> None:
        pass

    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, fails)
    steps.do(nothing)
    with pytest.raises(ExceptionGroup):
        steps.teardown()


def test_a_scope_that_was_entered_and_is_cancelled(steps: Any) -> None:
    """The step says so, since nothing else does."""

    @asynccontextmanager
    async def bounded() -> AsyncIterator[None]:
        with anyio.move_on_after(3):
            yield

    steps.do(steps.open, bounded)
    with pytest.raises(RuntimeError, match="cancel scope that an earlier step entered"):
        steps.do(anyio.sleep, 5)


def test_a_native_cancellation_on_asyncio() -> None:
    """Of the rule itself: it goes no further than to the step."""
    machine = on("asyncio", Steps)()

    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="or by itself"):
        machine.do(cancels)  # type: ignore[attr-defined]  # this machine has it
    machine.teardown()


def test_a_hang(steps: Any) -> None:
    """It is told with a tree, and the run is over."""

    async def stuck() -> None:
        await anyio.Event().wait()

    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, stuck)
    with pytest.raises(HungError, match="nothing can run") as caught:
        steps.do(stuck)
    told = "Event.wait, at tests/test_testing_stateful_steps.py"
    assert str(caught.value).count(told) == 2
    with pytest.raises(RuntimeError, match="is over"):
        steps.do(stuck)


def test_a_hang_at_the_end(steps: Any) -> None:
    """After rules that passed it is what the run fails with."""
    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, anyio.sleep_forever)
    with pytest.raises(HungError):
        steps.teardown()


class Ends(Steps):
    """Its teardown waits, and its base's may be awaited."""

    async def teardown(self) -> None:  # type: ignore[override]  # async, as this machine allows
        await super().teardown()
        await self.do(anyio.sleep, 1)
        if self.fails is not None:
            raise self.fails
        self.ended = True

    fails: Exception | None = None
    ended = False


class EndsMore(Ends):
    """It overrides a teardown that overrides one."""

    async def teardown(self) -> None:  # type: ignore[override]  # async, as this machine allows
        await super().teardown()
        await anyio.sleep(1)


class EndsPlainly(Steps):
    """It is a plain function."""

    ended = False

    def teardown(self) -> None:
        super().teardown()
        self.ended = True


@both
@pytest.mark.parametrize("machine", [Ends, EndsMore, EndsPlainly])
def test_teardown(backend: Any, machine: Any) -> None:
    """Async or plain, once; also when no rule has run."""
    state = on(backend, machine)()
    state.teardown()
    assert state.ended  # type: ignore[attr-defined]  # this machine has it
    state.teardown()
    with pytest.raises(RuntimeError, match="is over"):
        state.do(anyio.sleep, 1)  # type: ignore[attr-defined]  # this machine has it


@both
def test_teardown_that_fails(backend: Any) -> None:
    """Its error counts, unless a rule had failed: then it is a note on that one's."""

    async def fails() -> None:
        raise ValueError("of the rule")

    state: Any = on(backend, Ends)()
    state.fails = KeyError("of the end")
    with pytest.raises(KeyError):
        state.teardown()
    state = on(backend, Ends)()
    state.fails = KeyError("of the end")
    with pytest.raises(ValueError, match="of the rule") as caught:
        state.do(fails)
    state.teardown()
    assert caught.value.__notes__ == ["and then, while it ended: KeyError: 'of the end'"]


def test_what_was_opened_is_closed_where_it_was_opened(steps: Any) -> None:
    """In another task, and outside of the loop, it is refused."""

    async def elsewhere() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(steps.open, anyio.create_task_group)

    with pytest.raises(ExceptionGroup) as caught:
        steps.do(elsewhere)
    assert "that task has to leave" in str(caught.value.exceptions[0])
    coro = on(steps.backend, Steps)().enter_async_context(AsyncExitStack())
    with pytest.raises(RuntimeError, match="no loop before the first"):
        coro.send(None)


def test_an_order_by_hand(steps: Any) -> None:
    """It is for the next step only; what is no order is refused."""
    seen: list[str] = []

    async def one(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(name)

    async def two() -> None:
        seen.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(one, "a")
            group.start_soon(one, "b")

    found: dict[str, list[str]] = {}
    for order in ("", "1", "0.1", "1.1"):
        steps.order = order
        assert steps.order == order
        steps.do(two)
        assert steps.order == ""
        found[order] = list(seen)
        steps.do(two)
        assert seen == found[""] == ["a", "b"]
    assert ["b", "a"] in found.values()
    steps.order_at_end = "0.1"
    assert steps.order_at_end == "0.1"
    with pytest.raises(ValueError, match="'0.2.1'"):
        steps.order = "no"


@both
def test_real_time(backend: Any) -> None:
    """Sleeps take as long as they say, threads are waited for, and the order is that of a queue."""
    machine = type("Real", (Steps,), {"backend": backend, "real_time": True})
    state: Any = machine()
    begin = time.monotonic()
    state.do(anyio.sleep, 0.02)
    assert time.monotonic() - begin >= 0.02
    assert state.do(anyio.to_thread.run_sync, lambda: 5) == 5
    state.do(state.open, ConcurrentTaskRunner().start)
    state.teardown()
