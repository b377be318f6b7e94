"""A nursery of bare asyncio tasks, in a scope of anyio's.

What it is for: anyio's task group adds a handle, a scope and an event to each task, which nobody here
asks for, and which cost four times as much as the task. This nursery writes what anyio itself looks at,
see `_inside`, and nothing else: inside a child all of anyio works as in a child of anyio's task group.

What it does not know: slots, runners, trio.

Invariant: a child has a name and a record from its making to its last step, and the nursery closes
after the last child. A child that `Task.cancel` has ended cancels nobody else, unless it was ended
before its first step and nobody wants to be told; anyio's group is cancelled by either, silently.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, current_task
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any, final
from weakref import ref

from ._inside import (
    DATA,
    STATES,
    Scope,
    State,
    checkpoint_if_cancelled,
    is_cancelled,
    pass_unseen,
    see_to_delivery,
)

Unbegun = Callable[[Callable[[Any], Awaitable[Any]], Any], object]
"""Called on the loop, in no task, with what a child would have called and its argument."""


@final
class BareNursery:
    """Holds asyncio tasks as `trio.Nursery` holds trio's.

    Attributes:
        cancel_scope: around the body and the children.
    """

    __slots__ = (
        "_context",
        "_errors",
        "_is_looking",
        "_loop",
        "_make",
        "_native",
        "_parent",
        "_tasks",
        "_unbegun",
        "_waiter",
        "_when_unbegun",
        "cancel_scope",
    )

    def __init__(self, when_unbegun: Unbegun | None = None) -> None:
        """Make a nursery, which is not entered yet.

        Args:
            when_unbegun: told of each child that `Task.cancel` has ended before its first step. Without
                it the nursery is cancelled then: somebody would wait for what is never called.
        """
        self.cancel_scope: Any = Scope()
        self._when_unbegun = when_unbegun
        # By their records. Strong references, since the loop keeps none to a task that waits.
        self._tasks: dict[Any, asyncio.Task[Any]] = {}
        # What those are to call who have not taken their first step.
        self._unbegun: dict[Any, tuple[Callable[[Any], Awaitable[Any]], Any]] = {}
        self._is_looking = False
        self._errors: list[BaseException] = []
        self._waiter: asyncio.Future[None] | None = None
        # While it is open.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> BareNursery:
        self.cancel_scope.__enter__()
        self._loop = asyncio.get_running_loop()
        self._make = _maker(self._loop)
        self._parent = id(current_task())
        self._native = _native_cancels()
        self._context = copy_context()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Wait for all children, those included that are started meanwhile. A checkpoint.

        Cancelled while it waits, it cancels them and goes on waiting.

        Args:
            kind: not used.
            exc: what the body has raised.
            traceback: not used.

        Returns:
            whether `exc` was nothing but a cancellation by `cancel_scope`.

        Raises:
            BaseException: cancellation from further out; `exc` and what has come out of children, in
                one group, if anything has.
        """
        del kind, traceback
        try:
            if exc is not None:
                self.cancel_scope.cancel()
                if not isinstance(exc, CancelledError):
                    self._errors.append(exc)
            try:
                await self._wait_and_raise(exc)
            except BaseException as caught:
                is_ours = self.cancel_scope.__exit__(type(caught), caught, caught.__traceback__)
                # Older scopes take a `Task.cancel` that comes together with their own for their own.
                if is_ours and _native_cancels() <= self._native:
                    return True
                raise
            self.cancel_scope.__exit__(None, None, None)
            return False
        finally:
            self._loop = None
            self._errors = []
            del exc  # what is raised must not lead to itself

    async def _wait_and_raise(self, due: BaseException | None) -> None:
        """Wait until there are no children, then raise what has come, or else what is due."""
        came: BaseException | None = None
        try:
            if not self._tasks:
                await pass_unseen()
            while self._tasks:
                came = await self._until_empty()
                due = due or came
            if self._errors:
                raise BaseExceptionGroup("unhandled errors in a nursery", self._errors) from None
            if due is not None:
                raise due
        finally:
            del due, came  # see __aexit__

    async def _until_empty(self) -> CancelledError | None:
        """Wait until there are no children; gives the cancellation that has come first."""
        came: CancelledError | None = None
        try:
            with Scope() as wait:
                while self._tasks:
                    self._waiter = asyncio.Future(loop=self._loop)
                    try:
                        await self._waiter
                    except CancelledError as exc:
                        # Whoever it was, they are cancelled, and that is all there is to do.
                        wait.shield = True
                        self.cancel_scope.cancel()
                        came = came or exc
                    self._waiter = None
            if came is None:
                try:
                    # The children may have been quicker to end by it.
                    await checkpoint_if_cancelled()
                except CancelledError as exc:
                    self.cancel_scope.cancel()
                    came = exc
            return came
        finally:
            del came  # see __aexit__

    def start_soon(
        self,
        fn: Callable[..., Awaitable[Any]],
        /,
        *args: Any,  # noqa: ANN401 - the function's
        name: object,
    ) -> None:
        """Start a child, in a copy of the present context; as trio's.

        Args:
            fn: an async function.
            *args: its arguments.
            name: of the task.

        Raises:
            RuntimeError: the nursery is not open.
        """
        self.start(copy_context(), partial(_call, fn), args, str(name))

    def start(
        self, context: Context, fn: Callable[[Any], Awaitable[Any]], arg: object, name: str
    ) -> None:
        """Start a child in a context as it is, not in a copy; also from a callback of the loop.

        Args:
            context: in which no other task of the nursery should run.
            fn: an async function, called with the child's first step.
            arg: its argument.
            name: of the task.

        Raises:
            RuntimeError: the nursery is not open.
        """
        if self._loop is None:
            msg = "this nursery is not open; no tasks can be started in it"
            raise RuntimeError(msg)
        state = State(self._parent, self.cancel_scope)
        self._unbegun[state] = fn, arg
        child = _child(self, state)
        try:
            task = self._make(child, loop=self._loop, name=name, context=context)
        except BaseException:
            child.close()
            self._unbegun.pop(state, None)
            raise
        # Else a task factory has let it begin at once, as one of Python 3.12 may.
        if state in self._unbegun:  # pragma: no branch
            self._tasks[state] = task
            STATES[task] = state
            self.cancel_scope._tasks.add(task)  # noqa: SLF001 - as anyio's own groups do
            if not self._is_looking:
                self._look_soon()

    def _adopt(  # pragma: no cover - since Python 3.12
        self,
        state: Any,  # noqa: ANN401 - a record of anyio's
    ) -> None:
        """The running task is a child that began before its maker could note it."""
        task = current_task()
        assert task is not None, "a coroutine runs in a task"
        self._tasks[state] = task
        STATES[task] = state
        self.cancel_scope._tasks.add(task)  # noqa: SLF001 - as anyio's own groups do

    def _end(self, state: Any) -> None:  # noqa: ANN401 - a record of anyio's
        """A child has taken its last step, or is about to have."""
        tasks = self._tasks
        task = tasks.pop(state)
        state.cancel_scope._tasks.discard(task)  # noqa: SLF001 - as anyio's own groups do
        DATA.pop(ref(task), None)
        if not tasks and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end_badly(self, state: Any, exc: BaseException) -> None:  # noqa: ANN401 - a record of anyio's
        """The same; it raises."""
        if asyncio._get_running_loop() is not self._loop:  # noqa: SLF001 - documented; get_running_loop() raises instead
            return  # nobody runs it: it is thrown away, after its loop
        if not isinstance(exc, CancelledError):
            self._tasks[state].add_done_callback(_take_note)
            self._fail(exc)
        self._end(state)

    def _fail(self, exc: BaseException) -> None:
        self._errors.append(exc)
        self._cancel()

    def _cancel(self) -> None:
        if not is_cancelled(self.cancel_scope):
            self.cancel_scope.cancel()

    def _look_soon(self) -> None:
        assert self._loop is not None, "it is open"
        self._is_looking = True
        self._loop.call_soon(self._look, context=self._context)

    def _look(self) -> None:
        """Look for children that were ended before their first step: they cannot say so themselves.

        Once in a pass of the loop, and nearly always there are none: a callback at the end of each
        task would cost a quarter more.
        """
        self._is_looking = False
        lost = [state for state in self._unbegun if self._tasks[state].done()]
        if len(lost) < len(self._unbegun):  # a loop with an order of its own
            self._look_soon()
        for state in lost:
            fn, arg = self._unbegun.pop(state)
            self._end(state)
            self._tell(fn, arg)

    def _tell(self, fn: Callable[[Any], Awaitable[Any]], arg: object) -> None:
        """Nobody else will ever know that this was not called."""
        if self._when_unbegun is None:
            self._cancel()
            return
        try:
            self._when_unbegun(fn, arg)
        except Exception as exc:  # noqa: BLE001 - raised by the exit
            self._fail(exc)


async def _child(nursery: BareNursery, state: Any) -> None:  # noqa: ANN401 - a record of anyio's
    """The whole of a child's task."""
    fn, arg = nursery._unbegun.pop(state)  # noqa: SLF001 - the nursery is this module's
    if state not in nursery._tasks:  # noqa: SLF001 - the nursery is this module's  # pragma: no cover - since Python 3.12
        nursery._adopt(state)  # noqa: SLF001 - the nursery is this module's
    scope = nursery.cancel_scope
    if scope._cancel_called or (scope._parent_scope is not None and is_cancelled(scope)):  # noqa: SLF001 - of anyio's scope
        see_to_delivery()
    try:
        work = fn(arg)
        del fn, arg  # the child decides how long it needs them
        await work
    except BaseException as exc:
        nursery._end_badly(state, exc)  # noqa: SLF001 - the nursery is this module's
        raise
    nursery._end(state)  # noqa: SLF001 - the nursery is this module's


def _native_cancels() -> int:
    task = current_task()
    assert task is not None, "a coroutine runs in a task"
    return task.cancelling()


def _call(fn: Callable[..., Awaitable[Any]], args: Sequence[Any]) -> Awaitable[Any]:
    return fn(*args)


def _take_note(task: asyncio.Task[Any]) -> None:
    """Else asyncio says, when the task is thrown away, that nobody has looked at its exception."""
    task.exception()


def _maker(loop: asyncio.AbstractEventLoop) -> Callable[..., asyncio.Task[Any]]:
    """What makes a task on a loop that does not begin at once."""
    factory = loop.get_task_factory()
    if factory is None:
        # What the loops' own methods come down to.
        return asyncio.Task if _is_plain(type(loop)) else partial(_make_by, loop)
    eager = getattr(asyncio, "eager_task_factory", None)
    # There is one since Python 3.12.
    code = getattr(factory, "__code__", None)
    if eager is not None and code is eager.__code__:  # pragma: no cover - since Python 3.12
        # As anyio does: what it makes its tasks with is known to its closure only.
        constructor: Callable[..., asyncio.Task[Any]] = factory.__closure__[0].cell_contents  # type: ignore[attr-defined]  # a function has one, if it has cells
        return constructor
    return partial(_make_by, loop)


def _is_plain(kind: type[asyncio.AbstractEventLoop]) -> bool:
    """Whether a loop makes tasks as the known ones do."""
    owner = next(one for one in kind.__mro__ if "create_task" in vars(one))
    return owner.__module__ in {"asyncio.base_events", "uvloop.loop"}


def _make_by(
    maker: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any],
    *,
    loop: asyncio.AbstractEventLoop,
    name: str,
    context: Context,
) -> asyncio.Task[Any]:
    del loop
    return maker.create_task(work, name=name, context=context)
