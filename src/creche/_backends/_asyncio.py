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
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar, cast, final
from weakref import getweakrefcount

import anyio
import anyio.lowlevel
import anyio.to_thread

from creche._backend import CARRIER_NAME, Backend, Nursery, Parkable
from creche._backend import Scope as AnyScope

from ._inside import CANCELLED_BY, KNOWN, Scope, is_cancelled, start, state_of
from ._limiters import adopt_of_anyio
from ._threads import ThreadCall, leave_loop

T = TypeVar("T")

# Whom the present code descends from, as far as calls go; asyncio's tasks do not know their parents.
_LINEAGE: ContextVar[Sequence[list[object]]] = ContextVar("creche lineage", default=())

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


# Exact on CPython. Without it every task is used once.
_references: Callable[[object], Any] = getattr(sys, "getrefcount", lambda _: object())


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


async def _run_in_thread(fn: Callable[[], Any], name: str, guard: AnyScope) -> Any:  # noqa: ANN401
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


async def _until_ended(call: ThreadCall, guard: AnyScope) -> None:
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


async def _shed_cancel() -> None:
    # Before Python 3.13 it comes although it was taken back: a task that ends then ends as cancelled,
    # and anyio cancels the whole group.
    task: Any = _current_task()
    if task._must_cancel:  # noqa: SLF001 - nothing public tells
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            _forget_native_cancels(0)


def _is_cancel_due() -> bool:
    task = _current_task()
    if not KNOWN or task.cancelling():
        return True
    state = state_of(task)
    return state is not None and is_cancelled(state.cancel_scope)


async def _checkpoint() -> None:
    await asyncio.sleep(0)


async def _checkpoint_if_cancelled() -> None:
    # A pending `Task.cancel` shows only when the task is suspended, and anyio does not look for it.
    if _native_cancels():
        await asyncio.sleep(0)
    else:
        await anyio.lowlevel.checkpoint_if_cancelled()


async def _shielded_checkpoint() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as exc:
        # That of a scope comes again, at the next checkpoint. `Task.cancel` comes only once.
        if not (exc.args and str(exc.args[0]).startswith(CANCELLED_BY)):
            task = _current_task()
            task.uncancel()
            task.cancel()


def _is_cut() -> bool:
    if not KNOWN:
        return anyio.current_effective_deadline() == -math.inf
    state = state_of(_current_task())
    return state is not None and is_cancelled(state.cancel_scope)


def _is_cut_from(nursery: Nursery) -> bool:
    if not KNOWN:
        return bool(nursery.cancel_scope.cancel_called)
    return is_cancelled(nursery.cancel_scope)


@final
class _Mark:
    """What a task is like in the scope that its calls run in, while it has not been used by any."""

    __slots__ = ("callbacks", "context", "references", "scope", "state", "weak_references")

    def __init__(self, task: asyncio.Task[Any], references: object) -> None:
        self.state = state_of(task)
        self.scope = self.state.cancel_scope
        self.context = copy_context()
        self.references = references
        self.weak_references = getweakrefcount(task)
        self.callbacks = len(task._callbacks or ())  # noqa: SLF001 - as below


def _mark(task: asyncio.Task[Any]) -> _Mark | None:
    # Counted as in `_go_on`: one frame below the caller, and with nothing else in hand.
    references = _references(task)
    return _Mark(task, references) if KNOWN else None


def _is_intact(task: asyncio.Task[Any], mark: _Mark | None) -> bool:
    return (
        mark is not None
        and mark.state.cancel_scope is mark.scope
        and not is_cancelled(mark.scope)
        and not task.cancelling()
    )


def _go_on(task: Any, mark: _Mark | None, context: Context) -> bool | None:  # noqa: ANN401
    """Code can keep a task, and cancel it when another call is long in it; a lock can know its owner.

    So it is used again only when nobody has kept it, nor anything in it is different. Its context cannot
    be changed.
    """
    # In one frame, on the way of every call. Of what is not public nothing public tells.
    if (
        mark is not None
        and _references(task) == mark.references
        and getweakrefcount(task) == mark.weak_references
        and not task._must_cancel  # noqa: SLF001 - before Python 3.13 it outlives `uncancel`
        and task.get_name() == CARRIER_NAME
        and len(task._callbacks or ()) == mark.callbacks  # noqa: SLF001
        and _is_same(copy_context(), context)
    ):
        return True
    return None


def _take_up(task: asyncio.Task[Any], mark: _Mark | None, context: Context) -> bool:
    del task
    return mark is not None and _is_same(mark.context, context)


def _is_same(now: Context, context: Context) -> bool:
    """Whether a call sees the same in both: lineage apart, each variable has the same object."""
    found = 0
    for var in now:
        if var is not _LINEAGE:
            if context.get(var, now) is not now[var]:
                return False
            found += 1
    return found == len(context) - (_LINEAGE in context)


def _lineage() -> Sequence[object]:
    return (_current_task(), *(task for cell in _LINEAGE.get() for task in cell))


def _ancestry() -> Sequence[list[object]]:
    task, cells = _current_task(), _LINEAGE.get()
    return cells if cells and task in cells[0] else ([task], *cells)


def _enlist(ancestry: Sequence[list[object]]) -> list[object]:
    # What the call starts copies its context, and so learns whom it descends from: for as long as the
    # call goes on, since its task may carry out another one then.
    cell: list[object] = [_current_task()]
    _LINEAGE.set((cell, *ancestry))
    return cell


def _have_children(tasks: Iterable[asyncio.Task[Any]]) -> bool:
    """Those in anyio's task groups; of asyncio's own tasks nobody knows who has started them."""
    parents = {task.parent_id for task in _with_anyio(anyio.get_running_tasks)}
    return any(id(task) in parents for task in tasks)


def _start_soon(
    nursery: Nursery,
    context: Context,
    fn: Callable[[Any], Awaitable[Any]],
    arg: object,
    name: str,
) -> None:
    if KNOWN and asyncio.get_running_loop().get_task_factory() is None:
        start(nursery, cast("Coroutine[Any, Any, Any]", fn(arg)), context.copy(), name)
    else:  # a factory may take the first step at once, or give tasks that are not asyncio's
        _with_anyio(partial(context.copy().run, partial(nursery.start_soon, fn, arg, name=name)))


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
    open_nursery=anyio.create_task_group,
    start_soon=_start_soon,
    open_scope=Scope if KNOWN else anyio.CancelScope,
    current_time=_current_time,
    current_task=_current_task,
    current_effective_deadline=anyio.current_effective_deadline,
    is_cut=_is_cut,
    mark=_mark,
    is_intact=_is_intact,
    go_on=_go_on,
    take_up=_take_up,
    may_idle=_go_on,
    is_cut_from=_is_cut_from,
    lineage=_lineage,
    ancestry=_ancestry,
    enlist=_enlist,
    have_children=_have_children,
    checkpoint=_checkpoint,
    is_cancel_due=_is_cancel_due,
    checkpoint_if_cancelled=_checkpoint_if_cancelled,
    shielded_checkpoint=_shielded_checkpoint,
    park=_park,
    run_in_thread=_run_in_thread,
    thread_kind=lambda: True,
    leave_loop=leave_loop,
    native_cancels=_native_cancels,
    forget_native_cancels=_forget_native_cancels,
    shed_cancel=_shed_cancel,
    is_innermost=_is_innermost,
    poster=_poster,
    adopt_limiter=_adopt_limiter,
    run=_run,
    make_event=asyncio.Event,
)
