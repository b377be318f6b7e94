"""asyncio (also uvloop) as a backend: its own primitives, with anyio's scopes and task groups.

anyio's scopes cancel as trio's do: level-triggered, and visible to everything inside. asyncio's own
``Task.cancel`` is a single shot at one task; it comes from outside creche, and is counted here so that
it can be told from ours.

What it does not know: slots, runners, trio.

Invariant: after a call no cancellation of asyncio's own is left on a task that goes on to other
work: anyio compares the count at the exit of a scope with the one at its entry, and otherwise does
not swallow a cancellation of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from creche._backend import Backend, Nursery, Parkable, Scope

from ._limiters import adopt_of_anyio
from ._threads import ThreadCall, leave_loop

T = TypeVar("T")

# Whom the present code descends from, as far as calls go; asyncio's tasks do not know their parents.
_LINEAGE: ContextVar[Sequence[object]] = ContextVar("creche lineage", default=())

try:
    # What trio brings along, and may not for ever; without it anyio asks the loop itself.
    _LIBRARY: Any = importlib.import_module("sniffio").thread_local
except ImportError:  # pragma: no cover - trio requires it so far
    _LIBRARY = None


def _with_anyio(fn: Callable[[], T]) -> T:
    """Call a function of anyio's, also in a callback of the loop, where sniffio knows of no library."""
    if _LIBRARY is None:
        return fn()
    before, _LIBRARY.name = _LIBRARY.name, "asyncio"
    try:
        return fn()
    finally:
        _LIBRARY.name = before


async def _park(place: Parkable) -> None:
    future = asyncio.get_running_loop().create_future()

    def wake() -> None:
        try:
            future.set_result(None)
        except asyncio.InvalidStateError:
            return  # cancelled in the same turn of the loop, or by Ctrl-C at this very moment

    if not place.enroll(wake):
        await anyio.lowlevel.checkpoint()
        return
    try:
        await future
    finally:
        place.withdraw(wake)


async def _run_in_thread(fn: Callable[[], Any], name: str, guard: Scope) -> Any:  # noqa: ANN401
    del name  # anyio's worker threads keep their own
    call = ThreadCall(fn)
    with guard:
        try:
            return await anyio.to_thread.run_sync(
                call,
                abandon_on_cancel=True,
                limiter=anyio.CapacityLimiter(1),  # counted by the run already, outside the shield
            )
        except asyncio.CancelledError:
            # By `Task.cancel`, which no shield stops, if the guard is one still.
            if not (guard.shield and call.has_begun()):
                raise
            await _until_ended(call, guard)
            return call.came


async def _until_ended(call: ThreadCall, guard: Scope) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    call.tell_when_ended(partial(loop.call_soon_threadsafe, ended.set))
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError:
            if not guard.shield:
                raise


def _current_time() -> float:
    return asyncio.get_running_loop().time()


def _current_task() -> asyncio.Task[Any]:
    return cast("asyncio.Task[Any]", asyncio.current_task())


def _native_cancels() -> int:
    return _current_task().cancelling()


def _forget_native_cancels(before: int) -> None:
    task = _current_task()
    while task.cancelling() > before:
        task.uncancel()


async def _checkpoint_if_cancelled() -> None:
    # A pending `Task.cancel` shows only when the task is suspended, and anyio does not look for it.
    if _native_cancels():
        await anyio.lowlevel.checkpoint()
    else:
        await anyio.lowlevel.checkpoint_if_cancelled()


def _is_cut() -> bool:
    return anyio.current_effective_deadline() == -math.inf


def _innermost_scope(task: object) -> object:
    """Never asked for: no scope is kept from call to call."""
    raise AssertionError(task)  # pragma: no cover - reuses_tasks is False


def _lineage() -> Sequence[object]:
    return (_current_task(), *_LINEAGE.get())


def _join_lineage(lineage: Sequence[object]) -> None:
    # What the call starts copies its context, and so learns whom it descends from.
    _LINEAGE.set((_current_task(), *lineage))


def _have_children(tasks: Iterable[asyncio.Task[Any]]) -> bool:
    """Those in anyio's task groups; of asyncio's own tasks nobody knows who has started them."""
    parents = {task.parent_id for task in _with_anyio(anyio.get_running_tasks)}
    return any(id(task) in parents for task in tasks)


def _set_context(task: object, context: Context) -> bool:
    """Never asked for: here each call has a task of its own, begun in its context."""
    raise AssertionError(task, context)  # pragma: no cover - reuses_tasks is False


def _start_soon(
    nursery: Nursery,
    context: Context,
    fn: Callable[[Any], Awaitable[Any]],
    arg: object,
    name: str,
) -> None:
    _with_anyio(partial(context.run, partial(nursery.start_soon, fn, arg, name=name)))


def _is_innermost(nursery: Nursery) -> bool:
    """Only anyio itself knows, and it says so when the scope is closed."""
    del nursery
    return True


def _poster() -> Callable[[Callable[[], object]], None]:
    loop = asyncio.get_running_loop()
    # Else it would run in a copy of the context of whoever posts, with the marks of another loop.
    context = copy_context()

    def post(fn: Callable[[], object]) -> None:
        loop.call_soon_threadsafe(fn, context=context.copy())

    return post


def _adopt_limiter(name: str, limiter: object) -> tuple[type[BaseException], ...]:
    return adopt_of_anyio(name, limiter, "asyncio")


def _run(fn: Callable[[], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401
    return asyncio.run(fn())


BACKEND = Backend(
    name="asyncio",
    cancelled=asyncio.CancelledError,
    reuses_tasks=False,
    open_nursery=anyio.create_task_group,
    start_soon=_start_soon,
    open_scope=anyio.CancelScope,
    current_time=_current_time,
    current_task=_current_task,
    current_effective_deadline=anyio.current_effective_deadline,
    is_cut=_is_cut,
    innermost_scope=_innermost_scope,
    lineage=_lineage,
    join_lineage=_join_lineage,
    have_children=_have_children,
    checkpoint=anyio.lowlevel.checkpoint,
    checkpoint_if_cancelled=_checkpoint_if_cancelled,
    shielded_checkpoint=anyio.lowlevel.cancel_shielded_checkpoint,
    set_context=_set_context,
    park=_park,
    run_in_thread=_run_in_thread,
    thread_kind=lambda: True,
    leave_loop=leave_loop,
    native_cancels=_native_cancels,
    forget_native_cancels=_forget_native_cancels,
    is_innermost=_is_innermost,
    poster=_poster,
    adopt_limiter=_adopt_limiter,
    run=_run,
    make_event=asyncio.Event,
)
