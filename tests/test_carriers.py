"""A task that carries call after call: nothing that one of them leaves behind reaches the next."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest
import trio

from calls import error_of, give, give_at_once, settle_down
from creche import ConcurrentTaskRunner, State

pytestmark = pytest.mark.anyio

VAR: ContextVar[Any] = ContextVar("VAR", default=None)

# What calls hold on to on purpose.
KEPT: list[Any] = []


def this_task() -> Any:
    """The loop's own task object."""
    try:
        return trio.lowlevel.current_task()
    except RuntimeError:
        return asyncio.current_task()


def on_trio() -> bool:
    """Whether trio runs here."""
    return trio.lowlevel.in_trio_run()


async def set_a_variable() -> None:
    VAR.set("left behind")


async def set_a_variable_later() -> None:
    await anyio.lowlevel.checkpoint()
    VAR.set("left behind")


async def set_a_new_variable() -> None:
    var: ContextVar[Any] = ContextVar("another one")
    KEPT.append(var)
    var.set("left behind")


async def rename() -> None:
    if on_trio():
        trio.lowlevel.current_task().name = "left behind"
    else:
        asyncio.current_task().set_name("left behind")  # type: ignore[union-attr]  # there is one


async def leave_a_scope_open() -> None:
    anyio.CancelScope().__enter__()


async def leave_a_cancelled_scope_open() -> None:
    scope = anyio.CancelScope()
    scope.__enter__()
    scope.cancel()


async def leave_a_deadline_open() -> None:
    anyio.CancelScope(deadline=anyio.current_time() + 3600).__enter__()


async def leave_a_shield_open() -> None:
    anyio.CancelScope(shield=True).__enter__()


async def leave_a_nursery_open() -> None:
    if not on_trio():  # which does not survive it
        await anyio.create_task_group().__aenter__()


async def cancel_its_own_task() -> None:
    if not on_trio():
        this_task().cancel()


async def cancel_its_own_task_and_take_that_back() -> None:
    if not on_trio():
        this_task().cancel()
        this_task().uncancel()


async def cancel_its_own_task_and_swallow_that() -> None:
    if not on_trio():
        this_task().cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return


async def be_cancelled_too_late(runner: ConcurrentTaskRunner) -> None:
    runner.cancel("leaver")


async def be_cancelled_too_late_and_fail(runner: ConcurrentTaskRunner) -> None:
    runner.cancel("leaver")
    raise ValueError("left behind")


async def swallow_a_cancellation(runner: ConcurrentTaskRunner) -> None:
    runner.cancel("leaver")
    try:
        await anyio.sleep_forever()
    except BaseException:
        return


async def unwind_a_cancellation(runner: ConcurrentTaskRunner) -> None:
    runner.cancel("leaver")
    await anyio.sleep_forever()


async def raise_an_error() -> None:
    raise ValueError("left behind")


async def raise_in_a_handler() -> None:
    try:
        raise KeyError("first")
    except KeyError:
        await anyio.lowlevel.checkpoint()
        raise ValueError("left behind") from None


async def time_out() -> None:
    if on_trio():
        with trio.fail_after(0):
            await trio.lowlevel.checkpoint()
    else:
        async with asyncio.timeout(0):
            await asyncio.sleep(1)


async def add_a_done_callback() -> None:
    if not on_trio():
        this_task().add_done_callback(KEPT.append)


async def keep_a_weak_reference() -> None:
    if not on_trio():
        KEPT.append(weakref.ref(this_task()))


async def key_a_weak_dictionary() -> None:
    book: Any = weakref.WeakKeyDictionary()
    KEPT.append(book)
    if not on_trio():
        book[this_task()] = "left behind"


async def start_an_orphan() -> None:
    if not on_trio():
        KEPT.append(asyncio.create_task(asyncio.sleep(0.01)))


async def await_a_lock() -> None:
    lock = anyio.Lock()
    KEPT.append(lock)
    async with lock:
        await anyio.lowlevel.checkpoint()


async def hold_a_lock_of_anyios() -> None:
    if not on_trio():
        await LOCKS["anyio"].acquire()


async def hold_a_limiter_of_anyios() -> None:
    if not on_trio():
        await LOCKS["limiter"].acquire()


LOCKS: dict[str, Any] = {}

LEAVERS: list[Callable[..., Awaitable[None]]] = [
    set_a_variable,
    set_a_variable_later,
    set_a_new_variable,
    rename,
    leave_a_scope_open,
    leave_a_cancelled_scope_open,
    leave_a_deadline_open,
    leave_a_shield_open,
    leave_a_nursery_open,
    cancel_its_own_task,
    cancel_its_own_task_and_take_that_back,
    cancel_its_own_task_and_swallow_that,
    be_cancelled_too_late,
    be_cancelled_too_late_and_fail,
    swallow_a_cancellation,
    unwind_a_cancellation,
    raise_an_error,
    raise_in_a_handler,
    time_out,
    add_a_done_callback,
    keep_a_weak_reference,
    key_a_weak_dictionary,
    start_an_orphan,
    await_a_lock,
    hold_a_lock_of_anyios,
    hold_a_limiter_of_anyios,
]


async def look() -> dict[str, Any]:
    """All that a call can see of its task."""
    task = this_task()
    seen: dict[str, Any] = {
        "variables": {
            var.name: value for var, value in copy_context().items() if "creche" not in var.name
        },
        "exception": sys.exception(),
        "deadline": anyio.current_effective_deadline(),
        "locks": [lock.statistics().tasks_waiting for lock in LOCKS.values()],
    }
    if on_trio():
        seen["name"] = task.name
        seen["nurseries"] = list(task.child_nurseries)
    else:
        seen["name"] = task.get_name()
        seen["cancelling"] = task.cancelling()
        seen["callbacks"] = [fn for fn, _ in task._callbacks or () if fn == KEPT.append]
        seen["known"] = any(
            task is (kept() if isinstance(kept, weakref.ref) else None)
            or (isinstance(kept, weakref.WeakKeyDictionary) and task in kept)
            for kept in KEPT
        )
        for lock in LOCKS.values():
            try:
                lock.acquire_nowait()
            except anyio.WouldBlock:
                pass  # another task has it, as it should be
            else:
                lock.release()
    await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.01)
    return seen


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Any:
    KEPT.clear()
    LOCKS.clear()
    yield
    KEPT.clear()
    LOCKS.clear()


def takes_a_runner(fn: Callable[..., Any]) -> bool:
    return fn.__code__.co_argcount == 1


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after idling"])
@pytest.mark.parametrize("leaver", LEAVERS, ids=lambda fn: fn.__name__)
async def test_nothing_is_left_to_the_next_call(
    leaver: Callable[..., Awaitable[None]], *, pause: bool
) -> None:
    """It sees what a call in a task of its own sees, and nobody who knows the last one reaches it."""
    if not on_trio():
        LOCKS.update(anyio=anyio.Lock(), limiter=anyio.CapacityLimiter(1))
    async with ConcurrentTaskRunner().start() as runner:
        expected = await runner.submit_nowait("expected", look)
    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("before", give_at_once)
        bad = runner.submit_nowait("leaver", leaver, *[runner] * takes_a_runner(leaver))
        if pause:
            await runner.wait(bad)
            await settle_down()
        seen = runner.submit_nowait("next", look)
        assert await seen == expected
        again = runner.submit_nowait("again", look)
        await runner.wait(again)
        assert await again == expected
        await runner.wait(bad)


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after idling"])
async def test_a_task_that_was_kept_is_cancelled_alone(*, pause: bool) -> None:
    """On asyncio: a later `Task.cancel` on it, or on what holds it, is no matter of another call's."""
    if on_trio():
        pytest.skip("trio's tasks cannot be cancelled")

    async def keep() -> None:
        KEPT.append(this_task().cancel)

    async def keep_weakly() -> None:
        kept = weakref.ref(this_task())
        KEPT.append(lambda: (task := kept()) and task.cancel())

    async def have_it_cancelled_later() -> None:
        asyncio.get_running_loop().call_later(0.01, this_task().cancel)

    for keeper in (keep, keep_weakly, have_it_cancelled_later):
        KEPT.clear()
        async with ConcurrentTaskRunner(1).start() as runner:
            await runner.submit_nowait("before", give)
            kept = runner.submit_nowait("kept", keeper)
            if pause:
                await kept
                await settle_down()
            long = runner.submit_nowait("long", anyio.sleep, 0.02)
            await anyio.sleep(0.005)
            assert long.state is State.RUNNING
            for cancel in KEPT:
                cancel()
            await long
            assert kept.state is State.COMPLETED


async def test_the_traceback_of_the_next_failure() -> None:
    """It has the frames of its own call only, and its exception has no context."""

    async def fail_deep(depth: int) -> None:
        if depth:
            await fail_deep(depth - 1)
        raise ValueError(depth)

    async with ConcurrentTaskRunner(1).start() as runner:
        depths = []
        for depth in (0, 3, 0, 3):
            slot = runner.submit_nowait(None, fail_deep, depth)
            error = error_of(await runner.wait(slot))
            assert error.__context__ is None
            names = []
            traceback = error.__traceback__
            while traceback is not None:
                names.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            depths.append(len([name for name in names if name == "fail_deep"]))
            assert set(names) <= {"fail_deep"}
        assert depths == [1, 4, 1, 4]


@pytest.mark.parametrize("before", [1, 32, 33])
async def test_one_that_is_handed_a_call_looks_first(before: int) -> None:
    """In the very step in which a scope around the run is cancelled: the call does not begin."""
    runner = ConcurrentTaskRunner(1)
    begun: list[str] = []

    async def note() -> None:
        begun.append("too late")

    with anyio.CancelScope() as scope:
        async with runner.start():
            for number in range(before):
                runner.submit_nowait(number, give_at_once)
            await runner.wait(before - 1)
            await settle_down()
            assert runner.statistics().carriers_idle == 1
            slot = runner.submit_nowait("late", note)
            scope.cancel()
    assert begun == []
    assert slot.state is State.CANCELLED
