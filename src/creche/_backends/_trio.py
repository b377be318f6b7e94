"""trio as a backend: its own functions, bound directly.

What it does not know: slots, runners, asyncio.

Invariant: whatever is not a plain re-binding here differs from trio in nothing but its signature.
"""

from __future__ import annotations

import importlib
import math
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from functools import partial
from typing import Any

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task

from creche._backend import CARRIER_NAME, Backend, Nursery, Parkable, Scope
from creche._call import is_same_context
from creche._ki import protected

from ._limiters import adopt_of_anyio
from ._threads import ThreadCall, leave_loop

# How many threads there may be is counted by the run, outside the shield; trio need not count again.
_UNLIMITED = trio.CapacityLimiter(math.inf)


@protected
async def _park(place: Parkable) -> None:
    wake = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
    if not place.enroll(wake):
        await trio.lowlevel.checkpoint()
        return

    def abort(_: RaiseCancelT) -> Abort:
        place.withdraw(wake)
        return Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


def _thread_kind() -> bool:
    """Whether a worker thread that is begun now is one of anyio's too."""
    return "anyio" in sys.modules


async def _run_in_thread(fn: Callable[[], Any], name: str, guard: Scope) -> Any:  # noqa: ANN401
    run_sync: Any = trio.to_thread.run_sync
    if _thread_kind():
        # Somebody uses it, and may call anyio.from_thread in there, which only knows threads of anyio's
        # own making. They are trio's threads all the same; only a name cannot be passed on.
        run_sync = importlib.import_module("anyio.to_thread").run_sync
    call = ThreadCall(partial(_named, name, fn))
    with guard:
        try:
            return await run_sync(call, abandon_on_cancel=True, limiter=_UNLIMITED)
        except KeyboardInterrupt:
            # Which no shield stops. A second one does not wait.
            if guard.shield and call.has_begun():
                await _until_ended(call)
            raise


async def _until_ended(call: ThreadCall) -> None:
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()
    call.tell_when_ended(partial(token.run_sync_soon, ended.set))
    await ended.wait()


def _named(name: str, fn: Callable[[], Any]) -> Any:  # noqa: ANN401
    thread = threading.current_thread()
    before, thread.name = thread.name, name
    try:
        return fn()
    finally:
        thread.name = before
        del fn  # what it raises leads back to this frame


def _go_on(task: Task, mark: object, context: Context) -> bool:
    del mark
    if task.name is not CARRIER_NAME:
        task.name = CARRIER_NAME
    now = task.context
    if not (now or context) or is_same_context(now, context):
        return True
    task.context = context.copy()
    return False


def _take_up(task: Task, mark: object, context: Context) -> bool:
    # It takes effect with the next step of the task, which is the one that it is woken for.
    _go_on(task, mark, context)
    return True


def _may_idle(task: Task, mark: object, context: Context) -> bool:
    _go_on(task, mark, context)
    return True


def _start_soon(
    nursery: Nursery,
    context: Context,
    fn: Callable[[Any], Awaitable[Any]],
    arg: object,
    name: str,
) -> None:
    # A copy: what is told of a new task may start another one, in the same context.
    context.copy().run(partial(nursery.start_soon, fn, arg, name=name))


if hasattr(Task, "_cancel_status") and hasattr(Task, "_runner"):
    # Nothing public tells: without it a scope is opened for each call, which costs half as much again.
    def _mark(task: Task) -> object:
        return task._cancel_status  # noqa: SLF001

    def _is_intact(task: Task, mark: Any) -> bool:  # noqa: ANN401
        return task._cancel_status is mark and not mark.effectively_cancelled  # noqa: SLF001

    def _is_cut() -> bool:
        return current_task()._cancel_status.effectively_cancelled  # noqa: SLF001

    def _is_cut_from(nursery: Any) -> bool:  # noqa: ANN401
        return nursery._cancel_status.effectively_cancelled  # type: ignore[no-any-return]  # noqa: SLF001

    def _is_cancel_due() -> bool:
        task = current_task()
        return task._cancel_status.effectively_cancelled or task._runner.ki_pending  # noqa: SLF001

else:  # pragma: no cover - so far every trio has it

    def _mark(task: Task) -> object:
        del task
        return None

    def _is_intact(task: Task, mark: Any) -> bool:  # noqa: ANN401 - as above
        del task, mark
        return False

    def _is_cut() -> bool:
        return trio.current_effective_deadline() == -math.inf

    def _is_cut_from(nursery: Any) -> bool:  # noqa: ANN401
        return nursery.cancel_scope.cancel_called  # type: ignore[no-any-return]

    def _is_cancel_due() -> bool:
        return True


def _lineage() -> Sequence[Task]:
    task = trio.lowlevel.current_task()
    found = [task]
    while task.parent_nursery is not None:
        task = task.parent_nursery.parent_task
        found.append(task)
    return found


def _have_children(tasks: Iterable[object]) -> bool:
    return any(
        nursery.child_tasks
        for task in tasks
        if isinstance(task, Task)  # else a call that is in a thread
        for nursery in task.child_nurseries
    )


def _is_innermost(nursery: Nursery) -> bool:
    return trio.lowlevel.current_task().child_nurseries[-1] is nursery


def _forget_native_cancels(before: int) -> None:
    """There are none on trio."""


async def _shed_cancel() -> None:
    """Nor is there one here."""


def _poster() -> Callable[[Callable[[], object]], None]:
    return trio.lowlevel.current_trio_token().run_sync_soon


def _adopt_limiter(name: str, limiter: object) -> tuple[type[BaseException], ...]:
    if isinstance(limiter, trio.CapacityLimiter):
        return (trio.WouldBlock,)
    # Some versions of anyio let trio's own exception through.
    return adopt_of_anyio(name, limiter, "trio", trio.WouldBlock)


def in_task() -> bool:
    """Whether a trio task is running here."""
    return trio.lowlevel.in_trio_task()


def in_loop() -> bool:
    """Whether this thread is running trio, in a task or between two."""
    return trio.lowlevel.in_trio_run()


BACKEND = Backend(
    name="trio",
    cancelled=trio.Cancelled,
    open_nursery=trio.open_nursery,
    start_soon=_start_soon,
    open_scope=trio.CancelScope,
    current_time=trio.current_time,
    current_task=trio.lowlevel.current_task,
    current_effective_deadline=trio.current_effective_deadline,
    is_cut=_is_cut,
    mark=_mark,
    is_intact=_is_intact,
    go_on=_go_on,
    take_up=_take_up,
    may_idle=_may_idle,
    is_cut_from=_is_cut_from,
    lineage=_lineage,
    ancestry=tuple,
    enlist=None,
    have_children=_have_children,
    checkpoint=trio.lowlevel.checkpoint,
    is_cancel_due=_is_cancel_due,
    checkpoint_if_cancelled=trio.lowlevel.checkpoint_if_cancelled,
    shielded_checkpoint=trio.lowlevel.cancel_shielded_checkpoint,
    park=_park,
    run_in_thread=_run_in_thread,
    thread_kind=_thread_kind,
    leave_loop=leave_loop,
    native_cancels=lambda: 0,
    forget_native_cancels=_forget_native_cancels,
    shed_cancel=_shed_cancel,
    is_innermost=_is_innermost,
    poster=_poster,
    adopt_limiter=_adopt_limiter,
    run=trio.run,
    make_event=trio.Event,
)
