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
import sys
from asyncio import Future
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, cast, final
from weakref import getweakrefcount

import anyio
import anyio.to_thread

from creche._backend import CARRIER_NAME, Backend, Nursery, Parkable, Scope

from ._daemons import NextThread
from ._inside import KNOWN, STATES, checkpoint, running_task, state_of
from ._left_groups import TAKE_BACK
from ._limiters import adopt_of_anyio
from ._primitives import CHOSEN, with_anyio
from ._threads import ThreadCall, leave_loop, named

# Whom the present code descends from, as far as calls go; asyncio's tasks do not know their parents.
_LINEAGE: ContextVar[Sequence[list[object]]] = ContextVar("creche lineage", default=())

# Exact on CPython. Without it every task is used once.
_references: Callable[[object], Any] = getattr(sys, "getrefcount", lambda _: object())


def _wake(future: Future[None]) -> None:
    try:
        future.set_result(None)
    except asyncio.InvalidStateError:
        return  # cancelled in the same turn of the loop, or by Ctrl-C at this very moment


async def _park(place: Parkable) -> None:
    future: Future[None] = Future()
    wake = partial(_wake, future)
    if not place.enroll(wake):
        await checkpoint()
        return
    try:
        await future
    except BaseException:
        place.withdraw(wake)
        raise


_NEXT_THREAD = NextThread()


async def _run_in_thread(
    fn: Callable[[], Any],
    name: str,
    guard: Scope,
    when_interrupted: Callable[[], object] = lambda: None,
) -> Any:  # noqa: ANN401 - whatever the loop gives, or a task of any class
    call = ThreadCall(partial(named, name, fn))
    with guard:
        try:
            return await anyio.to_thread.run_sync(
                call,
                abandon_on_cancel=True,
                limiter=cast("Any", _NEXT_THREAD),
            )
        except asyncio.CancelledError:
            # By `Task.cancel`, which no shield stops, if the guard is one still. Asked first: what was
            # not begun is not begun any more.
            if not (call.has_begun() and guard.shield):
                raise
            when_interrupted()
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


async def _while_readable(link: Any, look: Callable[[], bool]) -> None:  # noqa: ANN401 - a socket
    # A task that is woken each time would cost as much as what is read.
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def look_on() -> None:
        is_open = False
        try:
            is_open = look()
        finally:
            if not is_open:
                loop.remove_reader(link)
                ended.set()

    loop.add_reader(link, look_on)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(link)


def _native_cancels() -> int:
    return running_task().cancelling()  # type: ignore[no-any-return]  # a task of any class


def _forget_native_cancels(before: int) -> None:
    task = running_task()
    while task.cancelling() > before:
        task.uncancel()


def _renew_native_cancel(before: int) -> bool:
    task = running_task()
    if task.cancelling() <= before or CHOSEN.is_cut():
        return False
    task.uncancel()
    task.cancel()
    return True


def _shed_cancel(task: Any) -> Awaitable[None] | None:  # noqa: ANN401 - whatever the loop gives, or a task of any class
    # Before Python 3.13 it comes although it was taken back: a task that ends then ends as cancelled,
    # and anyio cancels the whole group.
    return _let_it_come() if task._must_cancel else None  # noqa: SLF001 - nothing public tells


async def _let_it_come() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        _forget_native_cancels(0)


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
    if mark is None or mark.state.cancel_scope is not mark.scope or task.cancelling():
        return False
    scope = mark.scope
    while scope is not None and not scope._cancel_called:  # noqa: SLF001 - `is_cancelled` in this frame
        if scope._shield:  # noqa: SLF001 - as above
            return True
        scope = scope._parent_scope  # noqa: SLF001 - as above
    return scope is None


def _go_on(task: Any, mark: _Mark | None, context: Context) -> bool | None:  # noqa: ANN401 - whatever the loop gives, or a task of any class
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
        and len(task._callbacks or ()) == mark.callbacks  # noqa: SLF001 - asyncio has no public name for it
    ):
        now = copy_context()
        # Most have no variables, and there is nothing but the lineage to be seen.
        if (len(now) == 1 and not context) or _is_same(now, context):
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
    return (running_task(), *(task for cell in _LINEAGE.get() for task in cell))


def _is_within(tasks: Container[object]) -> bool:
    cells = _LINEAGE.get()
    return running_task() in tasks or (
        bool(cells) and any(task in tasks for cell in cells for task in cell)
    )


def _ancestry() -> Sequence[list[object]]:
    task, cells = running_task(), _LINEAGE.get()
    return cells if cells and task in cells[0] else ([task], *cells)


def _enlist(task: object, ancestry: Sequence[list[object]]) -> list[object]:
    # What the call starts copies its context, and so learns whom it descends from: for as long as the
    # call goes on, since its task may carry out another one then.
    cell = [task]
    _LINEAGE.set((cell, *ancestry))
    return cell


def _have_children(tasks: Iterable[asyncio.Task[Any]]) -> bool:
    """Those in anyio's task groups; of asyncio's own tasks nobody knows who has started them."""
    parents = {task.parent_id for task in with_anyio(anyio.get_running_tasks)}
    return any(id(task) in parents for task in tasks)


def _kin() -> Callable[[asyncio.Task[Any]], Sequence[asyncio.Task[Any]]]:
    """Tells of those in task groups, anyio's and asyncio's own; nothing does of others."""
    below: dict[int, list[asyncio.Task[Any]]] | None = None

    def children_of(task: asyncio.Task[Any]) -> Sequence[asyncio.Task[Any]]:
        nonlocal below
        if below is None:  # once for all of them: to ask all tasks about each would take long
            below = {}
            for other in asyncio.all_tasks(task.get_loop()):
                for parent in _parents_of(other):
                    below.setdefault(parent, []).append(other)
        return below.get(id(task), ())

    return children_of


def _parents_of(task: asyncio.Task[Any]) -> set[int]:
    state = None if STATES is None else STATES.get(task)
    found = set() if state is None else {state.parent_id}
    # A group of asyncio's own waits for its tasks by a method of its.
    waiters = (getattr(callback, "__self__", None) for callback, _ in task._callbacks or ())  # noqa: SLF001 - as above
    return found | {id(getattr(waiter, "_parent_task", None)) for waiter in waiters}


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


def _run(fn: Callable[[], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401 - whatever the loop gives, or a task of any class
    return asyncio.run(fn())


BACKEND = Backend(
    name="asyncio",
    cancelled=asyncio.CancelledError,
    open_nursery=CHOSEN.open_nursery,
    start_soon=CHOSEN.start_soon,
    open_scope=CHOSEN.open_scope,
    keep_scope=CHOSEN.keep_scope,
    current_time=_current_time,
    current_task=running_task,
    current_effective_deadline=anyio.current_effective_deadline,
    is_cut=CHOSEN.is_cut,
    mark=_mark,
    is_intact=_is_intact,
    go_on=_go_on,
    take_up=_take_up,
    may_idle=_go_on,
    is_cut_from=CHOSEN.is_cut_from,
    lineage=_lineage,
    is_within=_is_within,
    ancestry=_ancestry,
    enlist=_enlist,
    has_marks=False,
    have_children=_have_children,
    checkpoint=checkpoint,
    watcher=CHOSEN.watcher,
    checkpoint_if_cancelled=CHOSEN.checkpoint_if_cancelled,
    shielded_checkpoint=CHOSEN.shielded_checkpoint,
    park=_park,
    while_readable=_while_readable,
    run_in_thread=_run_in_thread,
    thread_kind=lambda: True,
    leave_loop=leave_loop,
    native_cancels=_native_cancels,
    forget_native_cancels=_forget_native_cancels,
    renew_native_cancel=_renew_native_cancel,
    when_thrown=TAKE_BACK,
    shed_cancel=_shed_cancel,
    is_innermost=_is_innermost,
    poster=_poster,
    adopt_limiter=_adopt_limiter,
    run=_run,
    make_event=asyncio.Event,
    clock=lambda: asyncio.get_running_loop().time,
    coroutine_of=lambda task: task.get_coro(),
    kin=_kin,
    name_of=lambda task: task.get_name(),
)
