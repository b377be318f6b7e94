"""The handle of a child: anyio's `TaskHandle`, with a slot in its place.

What it is for: what `start_soon` and `create_task` give. anyio's own can be driven by a private method
only, and only by awaiting the coroutine; this one overrides all that is public of it, and reads the
slot. tests/test_task_group_handles.py tells when anyio adds to it.

What it does not know: groups.

Invariant: nothing of anyio's own state of the handle is touched; there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, cast, final

import anyio
from outcome import Error

from creche._slot import Slot
from creche._spelling import spell
from creche._states import State

from ._child import Child

T = TypeVar("T")

Status = anyio.TaskHandle.Status

_STATUS = {
    State.COMPLETED: Status.FINISHED,
    State.FAILED: Status.FAILED,
    State.CANCELLED: Status.CANCELLED,
    State.CRASHED: Status.FAILED,
}


@final
class ChildHandle(anyio.TaskHandle[T, Any]):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]  # see above
    """A `TaskHandle` that reads the slot of a child."""

    __slots__ = ("_cancel_child", "_child", "_child_name", "_was_cancelled")

    def __init__(
        self,
        child: Any,  # noqa: ANN401 - a Child, which is private
        name: str,
        cancel: Callable[[Any, str], object],
    ) -> None:
        self._child: Child = child
        self._child_name = name
        self._cancel_child = cancel
        self._was_cancelled = False

    def cancel(self) -> None:
        """Cancel the child; nothing happens if it has ended. One that has not begun never does.

        Raises:
            RuntimeError: this is not the thread of the runner's loop.
        """
        if not self._child.slot.done:
            self._cancel_child(self._child, "its handle was cancelled")
            self._was_cancelled = True

    @property
    def slot(self) -> Slot[T]:
        """The slot of the child, as the runner has it under its key."""
        slot: Slot[T] = self._child.slot
        return slot

    @property
    def coro(self) -> Coroutine[Any, Any, T]:
        """The coroutine of the child."""
        return self._child.coro

    @property
    def name(self) -> str:
        """The name of the child, which need not be the key of its slot."""
        return self._child_name

    @property
    def status(self) -> Status:
        """Where the child is on its way."""
        open_status = Status.CANCELLING if self._was_cancelled else Status.PENDING
        return _STATUS.get(self._child.slot.state, open_status)

    @property
    def exception(self) -> BaseException | None:
        """What the child raised; `None` if it has returned.

        Raises:
            anyio.TaskNotFinished: the child has not ended.
            anyio.TaskCancelled: it was cancelled.
        """
        status = self.status
        if status is Status.PENDING:
            msg = f"child {self._child_name!r} has not finished yet; await the handle"
            raise anyio.TaskNotFinished(msg)
        msg = f"child {self._child_name!r} was cancelled"
        if status is Status.CANCELLING:
            raise anyio.TaskCancelled(msg)
        ended = self._child.slot.outcome
        error = ended.error if isinstance(ended, Error) else None
        try:
            if status is Status.CANCELLED:
                raise anyio.TaskCancelled(msg) from error
            return error
        finally:
            del self, ended, error  # a traceback leads back to this frame

    @property
    def return_value(self) -> T:
        """What the child returned.

        Raises:
            anyio.TaskNotFinished: the child has not ended.
            anyio.TaskCancelled: it was cancelled.
            anyio.TaskFailed: it raised something.
        """
        error = self.exception
        try:
            if error is not None:
                msg = f"child {self._child_name!r} raised an exception"
                raise anyio.TaskFailed(msg) from error
            return cast("T", self._child.slot.result())
        finally:
            del self, error  # see exception

    @property
    def start_value(self) -> Any:  # noqa: ANN401 - whatever the child has reported
        """What the child has passed to ``task_status.started()``.

        Raises:
            RuntimeError: the child was not started by `start()`.
        """
        starting = self._child.starting
        if starting is None:
            msg = f"child {self._child_name!r} was not started with start()"
            raise RuntimeError(msg)
        return starting.value

    async def wait(self) -> None:
        """Wait until the child has ended, however it did."""
        slot = self._child.slot
        await slot.wait(None)
        await slot.give_way()

    def __await__(self) -> Generator[Any, Any, T]:
        yield from self.wait().__await__()
        return self.return_value

    def __repr__(self) -> str:
        status = self.status.name.lower()
        return f"<creche.ChildHandle {status} name={self._child_name!r} key={spell(self.slot.key)}>"
