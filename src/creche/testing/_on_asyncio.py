"""The stage on asyncio: what the kit knows of its tasks, and how it cancels them.

What it is for: `ASYNCIO` is the one value; its twin is in `_on_trio`.

What it does not know: what is looked for.

Invariant: what it says of a task is so between two steps, when the loop looks; it changes none but the
one that it is told to cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar, cast, final

import anyio

from ._asyncio_insides import can_fail, is_absorbed, is_internal, is_passed_on
from ._asyncio_loop import VirtualTimeLoop, close, is_cancelled
from ._clock import VirtualTime
from ._hung_asyncio import name
from ._stage import Chance, Watcher
from ._where import never_fails

T = TypeVar("T")

_HANDLE: tuple[type[Any], ...] = tuple(filter(None, [getattr(anyio, "TaskHandle", None)]))


@final
class AsyncioStage:
    """Asyncio, as the kit sees it."""

    name = "asyncio"
    cancelled: type[BaseException] = asyncio.CancelledError

    def run(
        self,
        main: Callable[[VirtualTime], Awaitable[T]],
        watcher: Watcher | None = None,
        chance: Chance | None = None,
    ) -> T:
        """Run it in virtual time; it is given the clock.

        Raises:
            HungError: it did not end.
        """
        loop = VirtualTimeLoop()
        loop.tells_tasks = False
        loop.watcher = watcher
        loop.chance = chance
        try:
            return loop.run_until_complete(
                loop.create_task(cast("Coroutine[Any, Any, T]", main(loop.virtual)), name="main")
            )
        except BaseException:
            # Also an exit out of another task, past the first one: that is closed now, and not to go on.
            loop.virtual.hung = True
            raise
        finally:
            loop.watcher = loop.chance = None
            close(loop)

    def current(self) -> asyncio.Task[Any]:
        """The task that runs."""
        return cast("asyncio.Task[Any]", asyncio.current_task())

    def tasks(self) -> set[asyncio.Task[Any]]:
        """All there are."""
        return asyncio.all_tasks()

    def name_of(self, task: Any) -> str:  # noqa: ANN401 - a task
        """What the task is called."""
        return name(task)

    def coro_of(self, task: Any) -> Any:  # noqa: ANN401 - a task
        """The coroutine that it runs."""
        return task.get_coro()

    def is_its_own(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether it is the function's, and none that asyncio has started for itself."""
        return not is_internal(task.get_coro())

    # Points ---------------------------------------------------------------------------------------

    def cancel_points(self, task: Any) -> int:  # noqa: ANN401 - a task
        """Asyncio does not count them; whether the task waits for something that is there by now."""
        return int(task._fut_waiter is not None)  # noqa: SLF001 - asyncio has no public name for it

    def waits(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether it has stopped where a cancellation would reach it."""
        return not task.done()

    def is_late(self, task: Any, before: int) -> bool:  # noqa: ANN401, ARG002 - as the twin has it
        """Whether a cancellation just before the step that has just ended makes a difference."""
        return bool(before)

    def takes(self, task: Any, *, late: bool) -> bool:  # noqa: ANN401 - a task
        """Whether what it waits for can raise an error of another kind than cancellation."""
        waiter = task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
        if late or waiter is None or isinstance(waiter, asyncio.Task) or waiter.done():
            return False
        return not never_fails(task.get_coro()) and can_fail(task.get_coro(), waiter)

    def inject(self, task: Any, exc: BaseException, *, late: bool) -> None:  # noqa: ANN401, ARG002 - as the twin has it
        """Let what it waits for raise this."""
        task._fut_waiter.set_exception(exc)  # noqa: SLF001 - asyncio has no public name for it

    def interrupt(self, main: Any) -> None:  # noqa: ANN401 - a task
        """What Ctrl-C does under `asyncio.run`, and anybody who holds the task may do.

        Not in a step of its own: a timeout that it enters in that step takes such a cancellation for
        its own when it expires.
        """
        is_running = self.current() is main
        if is_running:
            main.get_loop().call_soon(main.cancel)
        else:
            main.cancel()

    async def calm_down(self) -> bool:
        """Forget a native cancellation that is over; whether it had not arrived yet."""
        task = self.current()
        pending = False
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            pending = True
        while task.cancelling():
            task.uncancel()
        return pending

    def open_scope(self) -> anyio.CancelScope:
        """A cancel scope that is not entered yet."""
        return anyio.CancelScope()

    def cancel_task(self, task: Any) -> None:  # noqa: ANN401 - a task
        """Cancel this task and what it has started, as anybody may who holds it, and nobody else.

        A task of a group of anyio's is cancelled by its own scope: a native cancellation of it would be
        one of the whole group.
        """
        frame = getattr(task.get_coro(), "cr_frame", None)
        handle: Any = frame.f_locals.get("self") if frame is not None else None
        if isinstance(handle, _HANDLE):
            handle.cancel()
        else:
            task.cancel()

    def is_hit(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether the step that it is about to take begins with an error."""
        waiter = task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
        if task._must_cancel or waiter is None or not waiter.done():  # noqa: SLF001 - asyncio has no public name for it
            return bool(task._must_cancel)  # noqa: SLF001 - asyncio has no public name for it
        return waiter.cancelled() or waiter.exception() is not None

    def is_cancelled(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether that error is a cancellation."""
        return is_cancelled(task)

    def is_reached(self, task: Any, scope: Any, *, natively: bool) -> bool:  # noqa: ANN401 - a task, a scope
        """Whether that error is the cancellation of this scope; or a native one, if that was ours.

        A timeout of asyncio's cancels natively, too, and asyncio knows how to tell them apart.
        """
        if is_absorbed(task.get_coro()):
            return False
        # Who cancels a task that waits for a future cancels that, and leaves the message there.
        waiter = None if task._must_cancel else task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
        message = str((task if waiter is None else waiter)._cancel_message)  # noqa: SLF001 - asyncio has no public name for it
        return f"cancel scope {id(scope):x}" in message or (natively and "cancel scope" not in message)

    def is_handed_on(self, task: Any, scope: Any, cancelled: Collection[Any], waiting: Any) -> bool:  # noqa: ANN401 - tasks, a scope
        """Whether that error came to a task of the function's from there, too."""
        if not self.is_cancelled(task) or is_absorbed(task.get_coro()):
            return False
        waiter = task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
        first = waiter if waiter is not None and waiter.cancelled() else task
        message = str(first._cancel_message)  # noqa: SLF001 - asyncio has no public name for it
        return f"cancel scope {id(scope):x}" in message or is_passed_on(task, cancelled, waiting)

    def has_returned(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether it has ended, and not by an error."""
        # To ask for the error would be to have seen it.
        return task.done() and not task.cancelled() and task._exception is None  # noqa: SLF001 - asyncio has no public name for it


ASYNCIO = AsyncioStage()
