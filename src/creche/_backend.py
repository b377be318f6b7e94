"""What creche needs of an event loop, as one frozen record of primitives.

What it is for: the core is written once against this record, and two values of it exist: trio's own
functions, and asyncio's with anyio's level-triggered scopes. The names are trio's and mean what they
mean there. A record whose fields are the loop's own functions costs nothing measurable beside
hard-wired trio; a class with wrapper methods costs a quarter more, an ``if`` per operation a third.

What it does not know: any loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from types import TracebackType
from typing import Any, NamedTuple, Protocol

CARRIER_NAME = "creche carrier"
"""Of every task that carries out calls, whatever those have made of it."""


class Scope(Protocol):
    """A cancel scope: `trio.CancelScope`, or anyio's."""

    @property
    def shield(self) -> bool: ...

    @shield.setter
    def shield(self, value: bool, /) -> None: ...

    @property
    def cancel_called(self) -> bool:
        """Whether it was cancelled, or its deadline has passed."""
        ...

    def cancel(self) -> None:
        """Cancel what runs inside, level-triggered; idempotent."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...


class KeptScope(Protocol):
    """A scope that was entered, to be left by another function than the one that has entered it."""

    def cancel(self) -> None:
        """Cancel what runs inside, level-triggered; idempotent."""
        ...

    def leave(self, raised: BaseException | None) -> BaseException | None:
        """Leave it with what is on its way out; gives what still is, outside."""
        ...


class Nursery(Protocol):
    """What holds tasks: `trio.Nursery`, or anyio's task group."""

    @property
    def cancel_scope(self) -> Any: ...  # noqa: ANN401 - a Scope; the loops declare it each their way

    def start_soon(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, name: object) -> Any: ...  # noqa: ANN401 - nobody looks at it, or whatever the function takes


class Event(Protocol):
    """Something that happens once."""

    def set(self) -> Any: ...  # noqa: ANN401 - nobody looks at it, or whatever the function takes

    def is_set(self) -> bool: ...

    async def wait(self) -> Any: ...  # noqa: ANN401 - nobody looks at it, or whatever the function takes


class OpenScope(Protocol):
    """Makes a scope that is not entered yet."""

    def __call__(self, *, deadline: float = ..., shield: bool = ...) -> Scope: ...


class Parkable(Protocol):
    """Where a task may park until it is woken: a slot, a channel."""

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Ask to be woken; False (and nothing enrolled) when there is nothing to wait for."""
        ...

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Do not wake after all; nothing happens if it was never enrolled, or woken already."""
        ...


def perhaps() -> bool:
    """What a `watcher` gives where nothing is known: a cancel point might raise."""
    return True


class Backend(NamedTuple):
    """One event loop's primitives.

    A named tuple, since a frozen dataclass costs a hundredth of what importing trio costs.

    Attributes:
        name: `"trio"` or `"asyncio"` (uvloop is asyncio to everybody).
        cancelled: the exception by which the loop cancels.
        open_nursery: a nursery that is not entered yet; entering it is no checkpoint.
        start_soon: start a task in a nursery, in a copy of a context; also from a callback of the
            loop, where no task is running.
        open_scope: a cancel scope that is not entered yet.
        keep_scope: a cancel scope that the running task, which is the argument, has entered just now.
        current_time: the loop's clock, in seconds.
        current_task: the running task, which is only ever compared.
        current_effective_deadline: of all the scopes around the running task, in the loop's time;
            minus infinity once one is cancelled.
        is_cut: whether a scope around the running task is cancelled; the same as that deadline's being
            minus infinity, and quicker.
        mark: what the running task is like, in a scope that was entered just now; for these to compare
            with, or `None`:
        is_intact: whether the running task is in that scope still, and in no other, and neither it nor
            one around it is cancelled.
        go_on: whether the running task may carry out another call, in a given context; False when it
            goes on in that after a schedule point, `None` when the call needs another task.
        take_up: the same of an idle task that is about to be woken: whether it goes on in the context.
        may_idle: whether the running task may be kept for another call, in a given context from its next
            step on: that of the last one is let go.
        is_cut_from: whether the scope of a nursery is cancelled, or one around it.
        lineage: the running task, and those that it descends from, as far as the loop tells; at least
            the one that carries out the call which the running one is a part of.
        is_within: whether one of those is in a container of tasks.
        ancestry: what those who are started from the running task on behalf of a run descend from.
        enlist: the running task, the first argument, carries out a call from now on, until what this
            gives is cleared; the second is the ancestry. `None` where tasks know their parents.
        has_marks: whether it matters to Ctrl-C which functions are marked; see `_ki`.
        have_children: whether one of these tasks has child tasks, as far as the loop tells.
        checkpoint: a cancel point and a schedule point.
        watcher: gives a function that says whether a cancel point would raise in the running task; also
            if that is not known, as on another loop. It is quickest in the task that runs now.
        checkpoint_if_cancelled: a cancel point that lets nobody else run unless it raises.
        shielded_checkpoint: a schedule point that is no cancel point.
        park: wait until woken; a checkpoint. Cancelled, it withdraws and raises.
        while_readable: whenever a socket, the first argument, has something to read, call a function,
            which must not raise, in the context of the task; until that gives False. A checkpoint.
        run_in_thread: call a function, which must not raise, in a worker thread, in a copy of the
            context, and give back what it returned. The second argument names the thread. The third
            is a scope that is not entered yet, and goes around the wait: while it is a shield the
            thread is waited for, cancelled or not; without it a cancellation leaves the thread to
            itself. A fourth is called when what no shield stops has interrupted the wait, and the
            thread is waited for all the same.
        thread_kind: what code in a worker thread that is begun now finds there; only ever compared. On
            trio it depends on whether anyio has been imported.
        leave_loop: take out of a context what says which loop runs; for code in worker threads.
        native_cancels: how many cancellations asyncio's own ``Task.cancel`` has left on the running
            task; 0 on trio, which has no such thing.
        forget_native_cancels: bring that count back down to what it was.
        renew_native_cancel: if there are more of these than there were, and no scope around the task is
            cancelled, which would show again by itself, let the last one come again at the next await:
            what it came as gave way to something else. Whether it does.
        when_thrown: told of what the running task awaits, and of an exception that is about to be
            thrown into it: sees to it that what is counted as `native_cancels` came from outside of it.
            `None` where there is nothing to see to.
        shed_cancel: let the running task, which is the argument and about to end, not be hit by one that
            was forgotten: gives what to await, if there is one.
        is_innermost: whether a nursery is the innermost of its task, as far as the loop tells.
        poster: called on the loop; gives a function that any thread may hand a callable to, to be
            called on the loop soon. It raises `RuntimeError` once the loop has ended.
        adopt_limiter: check that a limiter object (the second argument) belongs to this loop, and see to
            it that it does from now on; gives the exceptions by which it says that it has no token. It
            raises `TypeError` for one of another loop's, with the name that is the first argument.
        run: open a loop in this thread, and run an async function in it to its end.
        make_event: an event to wait for; set on the loop's own thread.
        clock: called on the loop; gives a function that tells its time in any thread.
        coroutine_of: what a task runs; to look at.
        kin: gives a function that gives the tasks below a task, as the loop tells of them now.
        name_of: what people call a task.
    """

    name: str
    cancelled: type[BaseException]
    open_nursery: Callable[[], AbstractAsyncContextManager[Any, bool | None]]
    start_soon: Callable[[Nursery, Context, Callable[[Any], Awaitable[Any]], object, str], None]
    open_scope: OpenScope
    keep_scope: Callable[[Any], KeptScope]
    current_time: Callable[[], float]
    current_task: Callable[[], object]
    current_effective_deadline: Callable[[], float]
    is_cut: Callable[[], bool]
    mark: Callable[[Any], object]
    is_intact: Callable[[Any, Any], bool]
    go_on: Callable[[Any, Any, Context], bool | None]
    take_up: Callable[[Any, Any, Context], bool]
    may_idle: Callable[[Any, Any, Context], bool | None]
    is_cut_from: Callable[[Nursery], bool]
    lineage: Callable[[], Sequence[object]]
    is_within: Callable[[Container[object]], bool]
    ancestry: Callable[[], Sequence[Any]]
    enlist: Callable[[Any, Sequence[Any]], list[Any]] | None
    has_marks: bool
    have_children: Callable[[Iterable[Any]], bool]
    checkpoint: Callable[[], Awaitable[None]]
    watcher: Callable[[], Callable[[], bool]]
    checkpoint_if_cancelled: Callable[[], Awaitable[None]]
    shielded_checkpoint: Callable[[], Awaitable[None]]
    park: Callable[[Parkable], Awaitable[None]]
    while_readable: Callable[[Any, Callable[[], bool]], Awaitable[None]]
    run_in_thread: Callable[..., Awaitable[Any]]
    thread_kind: Callable[[], object]
    leave_loop: Callable[[Context], None]
    native_cancels: Callable[[], int]
    forget_native_cancels: Callable[[int], None]
    renew_native_cancel: Callable[[int], bool]
    when_thrown: Callable[[Any, BaseException], None] | None
    shed_cancel: Callable[[Any], Awaitable[None] | None]
    is_innermost: Callable[[Nursery], bool]
    poster: Callable[[], Callable[[Callable[[], object]], None]]
    adopt_limiter: Callable[[str, Any], tuple[type[BaseException], ...]]
    run: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    make_event: Callable[[], Event]
    clock: Callable[[], Callable[[], float]]
    coroutine_of: Callable[[Any], Any]
    kin: Callable[[], Callable[[Any], Sequence[Any]]]
    name_of: Callable[[Any], str]
