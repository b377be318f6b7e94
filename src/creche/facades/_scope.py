"""The cancel scope of a task group whose children are calls.

What it is for: the children run in the nursery of the runner, where no scope of the group's is around
them. So cancelling it means cancelling each of them, and its deadline is handed on to each.

What it does not know: what the children are.

Invariant: whoever cancels it has cancelled the children when `cancel` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Self, final

from anyio import CancelScope


@final
class GroupScope(CancelScope):
    """The `cancel_scope` of a task group.

    Attributes:
        real: the loop's own scope: entered by a group that is, to cancel its block; else only asked.
    """

    __slots__ = ("_cancel", "_set_deadline", "real")

    def __new__(cls, *_: object) -> Self:
        """Make this one; anyio's would ask the loop for one of its own."""
        return object.__new__(cls)

    def __init__(
        self,
        real: Any,  # noqa: ANN401 - a scope, of which each loop's has more than the backend needs
        cancel: Callable[[str | None], object],
        set_deadline: Callable[[float], object],
    ) -> None:
        self.real = real
        self._cancel = cancel
        self._set_deadline = set_deadline

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the children, and the block of the group if it was entered; idempotent.

        Args:
            reason: why, for people.

        Raises:
            RuntimeError: this is not the thread of the runner's loop.
        """
        self._cancel(reason)

    @property
    def deadline(self) -> float:
        """When it is cancelled, in the loop's time."""
        deadline: float = self.real.deadline
        return deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self.real.deadline = value
        self._set_deadline(value)

    @property
    def cancel_called(self) -> bool:
        """Whether it was cancelled, by whomever, or its deadline has passed."""
        called: bool = self.real.cancel_called
        return called

    @property
    def cancelled_caught(self) -> bool:
        """Whether a cancellation of the block's was its own; of a group that was not entered: never."""
        caught: bool = self.real.cancelled_caught
        return caught

    @property
    def shield(self) -> bool:
        """Whether a cancellation from outside does not reach the block, and the children through it.

        What cancels the runner cancels its calls all the same.
        """
        shield: bool = self.real.shield
        return shield

    @shield.setter
    def shield(self, value: bool) -> None:
        self.real.shield = value

    def __enter__(self) -> NoReturn:
        raise self._not_to_be_entered()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> NoReturn:
        raise self._not_to_be_entered()

    @staticmethod
    def _not_to_be_entered() -> RuntimeError:
        return RuntimeError("this scope is that of a task group; enter the group: 'async with group:'")
