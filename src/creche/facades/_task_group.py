"""A task group for code that knows anyio and nothing of creche; its children are calls.

What it is for: `AdaptableTaskRunner.as_task_group`. Used at once, its children live as long as the
runner and follow its `on_error`. As ``async with``, it waits for them, a child that fails cancels its
siblings and the block, and what failed is raised in a group, as anyio's own does.

What it does not know: how calls are carried out. It submits to the run, as a runner does.

Invariant: a child that is refused has left nothing behind, and its coroutine is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeVar, final

from anyio.abc import TaskGroup

from creche._hosting import Run
from creche._ki import protected
from creche._slot import Slot
from creche._spelling import spell
from creche._submitting import begin_under, submit_now, when_room
from creche._waiting_room import Applicant

from ._block import Block
from ._child import Child, Starting
from ._children import Children
from ._handle import ChildHandle
from ._scope import GroupScope

T = TypeVar("T")


@final
class RunnerTaskGroup(TaskGroup):
    """An `anyio.abc.TaskGroup` whose children are calls; see `ConcurrentTaskRunner.as_task_group`."""

    def __init__(
        self,
        run: Any,  # noqa: ANN401 - a Run, which is private
    ) -> None:
        self._run: Run = run
        self._scope: Any = run.backend.open_scope()
        self._children = children = Children(run, self._scope)
        # Nothing of it leads back here: a group that was left is gone without the collector.
        self.cancel_scope = GroupScope(self._scope, children.cancel_all, children.set_deadline)
        self._block: Block | None = None
        self._is_used = self._is_left = False

    # Starting children -----------------------------------------------------------------------------

    @protected
    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> ChildHandle[T]:
        """Submit a coroutine as a call, without waiting; it runs when there is a place for it.

        One that is cancelled before it has begun is closed, and never runs.

        Args:
            coro: the coroutine.
            name: the key of its slot if that is free; else the key is made from it.
            context: to run in a copy of; by default that of the caller.

        Returns:
            a handle.

        Raises:
            TypeError: `coro` is no coroutine.
            RuntimeError: the group has been left, or this is not the thread of the runner's loop.
            RunnerClosed: the runner has closed, or is closing.
            RunnerFull: `max_pending` calls wait for a place, and this one could not start at once.
        """
        if not isinstance(coro, Coroutine):
            msg = f"create_task needs a coroutine, not {coro!r}; start_soon takes the function"
            raise TypeError(msg)
        if context is not None:
            return context.run(self._submit, coro, name)
        return self._submit(coro, name)

    @protected
    async def start(
        self,
        func: Callable[..., Coroutine[Any, Any, Any]],
        *args: object,
        name: object = None,
        return_handle: bool = False,
    ) -> Any:  # noqa: ANN401 - whatever the child reports
        """Submit a call, and wait until it has reported that it is ready. A checkpoint.

        It waits for room and for a place, too, and lends its own meanwhile if it is called from a
        call. When it raises, the child has ended: cancelled, it cancels the child; cancelled already, it
        starts none.

        Args:
            func: given the keyword argument `task_status`, on which it calls `started`.
            *args: its positional arguments.
            name: the key of its slot if that is free; else the key is made from it.
            return_handle: give a handle, which has the `start_value`.

        Returns:
            what the child has passed to `started`, or the handle.

        Raises:
            TypeError: `func` gives no coroutine.
            CallCancelled: the child was cancelled before it was ready.
            RuntimeError: the child has ended without a report; or the group has been left, or this
                is not the thread of the runner's loop.
            RunnerClosed: the runner has closed, or is closing.
            BaseException: what the child raised before it was ready.
        """
        self._check_open()
        await self._run.home.pass_by()
        starting = Starting()
        coro = func(*args, task_status=starting)
        if not isinstance(coro, Coroutine):
            msg = f"{_name_of(func)}() must give a coroutine, as an async function does, not {coro!r}"
            raise TypeError(msg)
        handle = await self._submit_in_turn(coro, _name_of(func) if name is None else name, starting)
        slot = handle.slot
        try:
            await self._until_ready(starting, slot)
            if not starting.is_started:
                await slot.give_way()
                slot.result()
                msg = f"child {spell(slot.key)} has ended without calling task_status.started()"
                raise RuntimeError(msg)
            return handle if return_handle else starting.value
        finally:
            del self, starting, slot, handle, coro  # a raised exception must not hold the slot

    def _submit(self, coro: Coroutine[Any, Any, T], name: object) -> ChildHandle[T]:
        run = self._run
        title = _name_of(coro) if name is None else str(name)
        try:
            self._check_open()
            child = Child(self, run.backend, coro, None)
            call = child.as_call(contained=self._block is not None)
            slot = submit_now(run, run.board.free_key(title), call)
        except BaseException:
            coro.close()
            raise
        return self._take_in(child, slot, title)

    async def _submit_in_turn(
        self,
        coro: Coroutine[Any, Any, T],
        name: object,
        starting: Starting,
    ) -> ChildHandle[T]:
        """Submit a child as `_submit` does, but wait for room."""
        run = self._run
        title = str(name)
        child = Child(self, run.backend, coro, starting)
        try:
            call = child.as_call(contained=self._block is not None)
            starting.child = child
            begun = begin_under(run, title, call)
            if isinstance(begun, Applicant):
                # By the time that we hear of it, it may have begun, or ended. The block waits for it.
                child.slot = begun.slot
                self._children.add(child)
                slot: Any = None
                try:
                    slot = await when_room(run, begun)
                finally:
                    if slot is not child.slot:
                        self._children.discard(child)
            else:
                slot = begun
        except BaseException:
            coro.close()  # which has ended, if it ever began
            raise
        return self._take_in(child, slot, title)

    def _take_in(self, child: Child, slot: Slot[Any], title: str) -> ChildHandle[Any]:
        self._is_used = True
        if slot is not child.slot:
            child.slot = slot
            self._children.add(child)
        return ChildHandle(child, title, self._children.cancel)

    async def _until_ready(self, starting: Starting, slot: Slot[Any]) -> None:
        """Wait until a child has reported, or has ended; cancelled, wait for its end."""
        run = self._run
        try:
            while not starting.is_decided:
                await run.home.park(run.backend, starting)
        except BaseException:
            run.cancel(slot, "cancel", "the start() that waited for it was cancelled")
            with run.backend.open_scope(shield=True):
                await slot.wait(None)
            if not starting.is_started and slot.peek_error() is not None:
                slot.result()
            raise
        finally:
            del self, starting, slot  # see start

    # What the children tell ------------------------------------------------------------------------

    def deadline(self) -> float:
        """Of the scope."""
        return self.cancel_scope.deadline

    def has_joined(self, child: Any) -> None:  # noqa: ANN401 - a Child, which is private
        """A child that was being started is ready."""
        if self._block is None:
            child.hand_over()
        self._children.has_joined(child)

    def has_expired(self) -> None:
        """The deadline of the scope has passed, as one of the children has seen first."""
        self._children.cancel_all("its deadline has passed")

    def has_ended(self, child: Child) -> None:
        """A child has settled."""
        if self._block is not None and child.is_member:
            self._block.has_ended(child.slot)
        self._children.discard(child)

    # The scope, and the block ----------------------------------------------------------------------

    @protected
    async def __aenter__(self) -> Self:
        """Begin: from now on the group is that of a block. Not a checkpoint.

        Raises:
            RuntimeError: it was entered before, or has children already, or this is not the thread of
                the runner's loop.
        """
        if self._is_used or self._block is not None:
            what = "it has children already" if self._block is None else "it was entered before"
            msg = f"cannot enter this task group: {what}; runner.as_task_group() gives another"
            raise RuntimeError(msg)
        self._run.intake.check_thread("a task group")
        self._block = Block(self._run, self._scope, self._children)
        await self._block.enter()
        return self

    @protected
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Wait for the children, with the place of the call lent, if it is one. A checkpoint.

        Raises:
            BaseExceptionGroup: the block or children of the group raised something; with all of it.
        """
        assert self._block is not None
        try:
            return await self._block.leave(exc)
        finally:
            self._is_left = True
            del self, exc, traceback  # what is raised must not lead to itself

    def _check_open(self) -> None:
        if self._is_left:
            msg = "this task group takes no more children, since its block has been left"
            raise RuntimeError(msg)


def _name_of(thing: Any) -> str:  # noqa: ANN401 - a function or a coroutine
    """What anyio would call it: its module and its name."""
    frame = getattr(thing, "cr_frame", None)
    module = getattr(thing, "__module__", None) or (frame and frame.f_globals.get("__name__"))
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    return f"{module}.{name}" if module else str(name)
