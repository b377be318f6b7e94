"""`as_task_group()` as ``async with``: it waits, cancels and raises as anyio's own does."""

from __future__ import annotations

import gc
import inspect
import logging
import threading
import weakref
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from calls import error_of, fail, forever, give, nested_and_failing, settle_down
from creche import ConcurrentTaskRunner, RunnerClosed, RunnerNotStarted

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


def errors_of(group: BaseException) -> list[str]:
    """The leaves of a group by their types, in order."""
    if isinstance(group, BaseExceptionGroup):
        return [name for error in group.exceptions for name in errors_of(error)]
    return [type(group).__name__]


async def test_it_waits_for_its_children(runner: ConcurrentTaskRunner) -> None:
    """And for theirs; for nobody else's."""

    async def add(group: TaskGroup) -> None:
        await anyio.sleep(0.01)
        group.start_soon(give, 2, name="added")

    async with runner.start():
        other = runner.submit_nowait("other", forever)
        async with runner.as_task_group() as group:
            assert isinstance(group, TaskGroup)
            group.start_soon(add, group, name="adds")
        assert runner.slots["added"].result() == 2
        assert not other.done
        assert not group.cancel_scope.cancel_called
        runner.cancel("other")


async def test_keys(runner: ConcurrentTaskRunner) -> None:
    """The name is the key if that is free; two children of one name are two children."""
    async with runner.start():
        runner.submit_nowait("taken", give, "old")
        reserved = runner.reserve("reserved")
        async with runner.as_task_group() as group:
            handles = [group.start_soon(give, n, name="twin") for n in range(3)]
            handles.append(group.start_soon(give, 3, name="taken"))
            handles.append(group.start_soon(give, 4, name="reserved"))
            handles.append(group.start_soon(give, 5))
            handles.append(group.create_task(give(6)))
            handles.append(group.create_task(give(7), name=8))
        assert [handle.return_value for handle in handles] == list(range(8))
        assert [handle.name for handle in handles[:5]] == ["twin"] * 3 + ["taken", "reserved"]
        made = [key for key in runner.slots if key not in {"taken", "reserved"}]
        assert made[0] == "twin"
        assert made[5] == "calls.give"
        assert made[7] == "8"
        numbered = [str(made[n]).rpartition("-")[0] for n in (1, 2, 3, 4, 6)]
        assert numbered == ["twin", "twin", "taken", "reserved", "calls.give"]
        assert reserved.reserved
        runner.cancel("reserved")


@pytest.mark.parametrize("on_error", ["collect", "cancel"])
async def test_a_failing_child(on_error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It ends the group and nothing else: the runner goes on, and nothing is logged."""
    runner = ConcurrentTaskRunner(on_error=on_error)
    async with runner.start():
        other = runner.submit_nowait("other", forever)
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.as_task_group() as group:
                group.start_soon(fail, KeyError("k"), name="bad")
                group.start_soon(forever, name="sibling")
                await anyio.sleep_forever()
        assert caught.value.__suppress_context__
        assert runner.slots["sibling"].origin == "cancel"
        assert runner.slots["sibling"].reason == (
            "another child of its task group, 'bad', raised KeyError"
        )
        assert group.cancel_scope.cancel_called
        assert not other.done
        assert await runner.submit_nowait("more", give, 1) == 1
        runner.cancel("other")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert caught.value.exceptions == (error_of(runner.slots["bad"].outcome),)


async def test_all_that_was_raised_is_in_the_group(runner: ConcurrentTaskRunner) -> None:
    """By the children and by the block, in the order of raising; cancellations are not."""

    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError

    async with runner.start():
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.as_task_group() as group:
                group.start_soon(fail_late)
                group.start_soon(forever)
                group.start_soon(nested_and_failing)
                await settle_down()
                raise ZeroDivisionError
        assert errors_of(caught.value)[0] == "ZeroDivisionError"
        assert sorted(errors_of(caught.value)) == ["KeyError", "LookupError", "ZeroDivisionError"]


async def test_a_mixed_group_from_the_block(runner: ConcurrentTaskRunner) -> None:
    """The cancellation in it is left out, as by any scope that made it."""
    async with runner.start():
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.as_task_group() as group:
                group.cancel_scope.cancel()
                try:
                    await anyio.sleep(1)
                except BaseException as cancelled:
                    raise BaseExceptionGroup("", [cancelled, ValueError()]) from None
        assert errors_of(caught.value) == ["ValueError"]


async def test_an_empty_group(runner: ConcurrentTaskRunner) -> None:
    """Its end lets others run, and is no cancel point: there is nothing to be cancelled."""
    ran = []

    async def run() -> None:
        ran.append(1)

    async with runner.start(), anyio.create_task_group() as others:
        others.start_soon(run)
        async with runner.as_task_group():
            pass
        async with runner.as_task_group():
            pass
        assert ran
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with runner.as_task_group():
                pass
            ran.append(2)
        assert ran[-1] == 2
        assert not scope.cancelled_caught


async def test_a_child_that_crashes(runner: ConcurrentTaskRunner) -> None:
    """The runner ends, and raises it bare; the group has raised it before."""
    seen: list[BaseException] = []
    crash = SystemExit(3)
    with pytest.raises(SystemExit) as caught:
        async with runner.start():
            try:
                async with runner.as_task_group() as group:
                    group.start_soon(fail, crash)
                    await anyio.sleep_forever()
            except BaseException as exc:
                seen.append(exc)
                raise
    assert caught.value is crash
    assert errors_of(seen[0]) == ["SystemExit"]


var: ContextVar[int] = ContextVar("var", default=0)


async def test_contexts(runner: ConcurrentTaskRunner) -> None:
    """A child sees a copy of its submitter's context, or of the one that is given."""

    async def look(change: int) -> int:
        seen = var.get()
        var.set(change)
        await anyio.lowlevel.checkpoint()
        return seen

    async with runner.start():
        other = copy_context()
        other.run(var.set, 2)
        token = var.set(1)
        async with runner.as_task_group() as group:
            handles = [
                group.start_soon(look, 10),
                group.create_task(look(20), context=other),
                group.create_task(look(30), context=other),
            ]
        assert [handle.return_value for handle in handles] == [1, 2, 2]
        assert (var.get(), other[var]) == (1, 2)
        var.reset(token)


async def test_what_is_refused(runner: ConcurrentTaskRunner) -> None:
    """With a message, before anything was queued, and with the coroutine closed."""
    with pytest.raises(RunnerNotStarted):
        runner.as_task_group()
    coro = give()
    async with runner.start():
        group = runner.as_task_group()
        async with group:
            with pytest.raises(TypeError, match="create_task needs a coroutine, not <function give"):
                group.create_task(give)  # type: ignore  # wrong on purpose
            with pytest.raises(TypeError):
                group.start_soon(len, "abc")  # type: ignore  # wrong on purpose
            with pytest.raises(RuntimeError, match="enter the group"), group.cancel_scope:
                pass
            with pytest.raises(RuntimeError, match="it was entered before"):
                await group.__aenter__()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="its block has been left"):
                group.create_task(coro)
        with pytest.raises(RuntimeError, match="its block has been left"):
            await group.start(give)
        with pytest.raises(RuntimeError, match="it was entered before"):
            await group.__aenter__()
        assert inspect.getcoroutinestate(coro) == "CORO_CLOSED"
        assert dict(runner.slots) == {}
        used = runner.as_task_group()
        used.start_soon(give)
        with pytest.raises(RuntimeError, match="it has children already"):
            await used.__aenter__()
    with pytest.raises(RunnerClosed):
        runner.as_task_group()
    with pytest.raises(RunnerClosed):
        used.create_task(coro := give())
    assert inspect.getcoroutinestate(coro) == "CORO_CLOSED"
    with pytest.raises(RuntimeError):
        group.cancel_scope.__exit__(None, None, None)


@pytest.mark.usefixtures("real_time")
async def test_another_thread(runner: ConcurrentTaskRunner) -> None:
    """It must not touch the group, whatever it tries."""
    refused: list[str] = []

    def try_all() -> None:
        coro = give()
        for attempt in (
            lambda: group.create_task(coro),
            group.cancel,
            handle.cancel,
            lambda: entered.__aenter__().send(None),
        ):
            try:
                attempt()
            except RuntimeError as error:
                refused.append(str(error))

    async with runner.start():
        entered = runner.as_task_group()
        async with runner.as_task_group() as group:
            handle = group.start_soon(forever)
            thread = threading.Thread(target=try_all)
            thread.start()
            thread.join()
            assert len(runner) == 1
            handle.cancel()
    assert len(refused) == 4
    assert all("lives on another thread's loop" in text for text in refused)


@pytest.mark.parametrize("ends", ["with a child", "without", "cancelled", "failed"])
async def test_a_group_that_was_left_is_gone(ends: str) -> None:
    """By its references alone: a server that opens one for each request leaves the collector nothing."""
    async with ConcurrentTaskRunner(retain=False).start() as runner:
        gc.collect()
        gc.disable()
        try:
            with suppress(ExceptionGroup):
                async with runner.as_task_group() as group:
                    if ends != "without":
                        group.start_soon(fail if ends == "failed" else anyio.lowlevel.checkpoint)
                    if ends == "cancelled":
                        group.cancel_scope.cancel()
            gone = weakref.ref(group)
            del group
            await settle_down()
            assert gone() is None
        finally:
            gc.enable()
