"""trio as a backend: its own functions, bound directly.

What it does not know: slots, runners, asyncio.

Invariant: whatever is not a plain re-binding here differs from trio in nothing but its signature.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any

import trio
from trio._core import _parking_lot
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from creche._backend import CARRIER_NAME, Backend, Nursery, Parkable, Scope, perhaps
from creche._call import is_same_context
from creche._ki import protected

from ._kept_trio import keep_scope
from ._limiters import adopt_of_anyio
from ._threads import ThreadCall, leave_loop, named

# How many threads there may be is counted by the run, outside the shield; trio need not count again.
_UNLIMITED = trio.CapacityLimiter(math.inf)

# Tasks, with what is broken when they end: the locks that they hold, for one. Nothing public tells.
_BREAKERS: Mapping[Task, object] = getattr(_parking_lot, "GLOBAL_PARKING_LOT_BREAKER", {})


@protected
async def _park(place: Parkable) -> None:
    wake = partial(reschedule, current_task())
    if not place.enroll(wake):
        await trio.lowlevel.checkpoint()
        return

    def abort(_: RaiseCancelT) -> Abort:
        place.withdraw(wake)
        return Abort.SUCCEEDED

    await wait_task_rescheduled(abort)


async def _while_readable(link: Any, look: Callable[[], bool]) -> None:  # noqa: ANN401 - a socket
    is_open = True
    while is_open:
        await trio.lowlevel.wait_readable(link)
        is_open = look()


def _thread_kind() -> bool:
    """Whether a worker thread that is begun now is one of anyio's too."""
    return "anyio" in sys.modules


async def _run_in_thread(
    fn: Callable[[], Any],
    name: str,
    guard: Scope,
    when_interrupted: Callable[[], object] = lambda: None,
) -> Any:  # noqa: ANN401 - trio's own, which have no public types; or whatever is given
    run_sync: Any = trio.to_thread.run_sync
    if _thread_kind():
        # Somebody uses it, and may call anyio.from_thread in there, which only knows threads of anyio's
        # own making. They are trio's threads all the same; only a name cannot be passed on.
        run_sync = importlib.import_module("anyio.to_thread").run_sync
    call = ThreadCall(partial(named, name, fn))
    with guard:
        try:
            return await run_sync(call, abandon_on_cancel=True, limiter=_UNLIMITED)
        except trio.Cancelled:
            call.has_begun()  # asked for what it does: what was not begun is not begun any more
            raise
        except KeyboardInterrupt:
            # Which no shield stops. A second one does not wait.
            if guard.shield and call.has_begun():
                when_interrupted()
                await _until_ended(call)
            raise


async def _until_ended(call: ThreadCall) -> None:
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()
    call.tell_when_ended(partial(token.run_sync_soon, ended.set))
    await ended.wait()


def _go_on(task: Task, mark: object, context: Context) -> bool | None:
    """A call that has ended with a lock in its hands: whoever waits for that is to hear of it.

    trio tells them when the task ends. The next call in it would have the lock besides.
    """
    del mark
    if task in _BREAKERS:
        return None
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
    return _go_on(task, mark, context) is not None


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
        return task._cancel_status  # noqa: SLF001 - trio has no public name for it

    def _is_intact(task: Task, mark: Any) -> bool:  # noqa: ANN401 - trio's own, which have no public types; or whatever is given
        return task._cancel_status is mark and not mark.effectively_cancelled  # noqa: SLF001 - trio has no public name for it

    def _is_cut() -> bool:
        return current_task()._cancel_status.effectively_cancelled  # noqa: SLF001 - trio has no public name for it

    def _is_cut_from(nursery: Any) -> bool:  # noqa: ANN401 - trio's own, which have no public types; or whatever is given
        return nursery._cancel_status.effectively_cancelled  # type: ignore[no-any-return]  # noqa: SLF001 - trio has no public name for it

    def _watcher() -> Callable[[], bool]:
        runner = current_task()._runner  # noqa: SLF001 - trio has no public name for it

        def is_due() -> bool:
            try:
                task = current_task()
            except RuntimeError:  # a thread without trio
                return True
            return (
                task._cancel_status.effectively_cancelled  # noqa: SLF001 - trio has no public name for it
                or runner.ki_pending
                or task._runner is not runner  # noqa: SLF001 - trio has no public name for it
            )

        return is_due

    def _current_effective_deadline() -> float:
        # As trio's own, which calls itself for each scope, and raises `RecursionError` in a thousand of
        # them: as many runners, or nurseries, may be open in one task, and would not be left any more.
        status: Any = current_task()._cancel_status  # noqa: SLF001 - trio has no public name for it
        if status.effectively_cancelled:
            return -math.inf
        deadline = math.inf
        while status is not None:
            scope = status._scope  # noqa: SLF001 - trio has no public name for it
            deadline = min(deadline, scope.deadline)
            status = None if scope.shield else status._parent  # noqa: SLF001 - trio has no public name for it
        return deadline

else:  # pragma: no cover - so far every trio has it

    def _mark(task: Task) -> object:
        del task
        return None

    def _is_intact(task: Task, mark: Any) -> bool:  # noqa: ANN401 - as above
        del task, mark
        return False

    def _is_cut() -> bool:
        return trio.current_effective_deadline() == -math.inf

    def _is_cut_from(nursery: Any) -> bool:  # noqa: ANN401 - trio's own, which have no public types; or whatever is given
        return nursery.cancel_scope.cancel_called  # type: ignore[no-any-return]  # trio's own, which have no public types

    def _watcher() -> Callable[[], bool]:
        return perhaps

    _current_effective_deadline = trio.current_effective_deadline


def _lineage() -> Sequence[Task]:
    task = trio.lowlevel.current_task()
    found = [task]
    while task.parent_nursery is not None:
        task = task.parent_nursery.parent_task
        found.append(task)
    return found


def _is_within(tasks: Container[object]) -> bool:
    task = current_task()
    while task not in tasks:
        nursery = task.parent_nursery
        if nursery is None:
            return False
        task = nursery.parent_task
    return True


def _have_children(tasks: Iterable[object]) -> bool:
    return any(
        nursery.child_tasks
        for task in tasks
        if isinstance(task, Task)  # else a call that is in a thread
        for nursery in task.child_nurseries
    )


def _children_of(task: Task) -> Sequence[Task]:
    return [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _is_innermost(nursery: Nursery) -> bool:
    return trio.lowlevel.current_task().child_nurseries[-1] is nursery


def _forget_native_cancels(before: int) -> None:
    """There are none on trio."""


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
    keep_scope=keep_scope,
    current_time=trio.current_time,
    current_task=trio.lowlevel.current_task,
    current_effective_deadline=_current_effective_deadline,
    is_cut=_is_cut,
    mark=_mark,
    is_intact=_is_intact,
    go_on=_go_on,
    take_up=_take_up,
    may_idle=_may_idle,
    is_cut_from=_is_cut_from,
    lineage=_lineage,
    is_within=_is_within,
    ancestry=tuple,
    enlist=None,
    has_marks=True,
    have_children=_have_children,
    checkpoint=trio.lowlevel.checkpoint,
    watcher=_watcher,
    checkpoint_if_cancelled=trio.lowlevel.checkpoint_if_cancelled,
    shielded_checkpoint=trio.lowlevel.cancel_shielded_checkpoint,
    park=_park,
    while_readable=_while_readable,
    run_in_thread=_run_in_thread,
    thread_kind=_thread_kind,
    leave_loop=leave_loop,
    native_cancels=lambda: 0,
    forget_native_cancels=_forget_native_cancels,
    renew_native_cancel=lambda _: False,
    when_thrown=None,
    shed_cancel=lambda _: None,
    is_innermost=_is_innermost,
    poster=_poster,
    adopt_limiter=_adopt_limiter,
    run=trio.run,
    make_event=trio.Event,
    clock=lambda: trio.lowlevel.current_clock().current_time,
    coroutine_of=lambda task: task.coro,
    kin=lambda: _children_of,
    name_of=lambda task: task.name,
)
