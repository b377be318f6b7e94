"""The children of a task group that have not ended: to be cancelled together, and waited for.

What it is for: it is where the block of a group parks until the last child has ended.

What it does not know: what the end of a child means; the block, and how the scope is around it.

Invariant: whoever parks here is woken by the settling of the last child, and by nothing before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from creche._hosting import Run
from creche._ki import protected
from creche._parking import Parking

from ._child import Child


@final
class Children(Parking):
    """Those who have not ended, ones that are still being started included."""

    def __init__(self, run: Run, scope: Any) -> None:  # noqa: ANN401 - the loop's
        super().__init__()
        self._run = run
        self._scope = scope
        self._open: dict[Child, None] = {}
        self._cut: str | None = None

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, child: Child) -> None:
        """One more; it is cancelled at once if the others were."""
        self._open[child] = None
        child.slot.add_done_callback(child.settled)
        if child.is_member:
            self.has_joined(child)

    def has_joined(self, child: Child) -> None:
        """One that was being started belongs to the group from now on."""
        if self._cut is not None:
            self.cancel(child, self._cut)

    def discard(self, child: Child) -> None:
        """It has ended."""
        self._open.pop(child, None)
        if not self._open:
            self._wake_all()

    def cancel(self, child: Child, why: str) -> None:
        """Cancel one.

        Args:
            child: whom; nothing happens if it has ended.
            why: for people.

        Raises:
            RuntimeError: this is not the thread of the runner's loop.
        """
        self._run.intake.check_thread(child.slot.key)
        self._run.cancel(child.slot, "cancel", why)

    @protected
    def cancel_all(self, reason: str | None) -> None:
        """Cancel the scope, and so the block if there is one, and all who belong to the group.

        Args:
            reason: for people.

        Raises:
            RuntimeError: this is not the thread of the runner's loop.
        """
        self._run.intake.check_thread("a task group")
        self._scope.cancel(reason)
        why = "the scope of its task group was cancelled"
        self.cut(why if reason is None else f"{why}: {reason}")

    def cut(self, why: str) -> None:
        """Cancel all who belong to the group, and those who are still to come."""
        self._cut = self._cut or why
        for child in tuple(self._open):
            if child.is_member:
                self.cancel(child, why)

    def set_deadline(self, deadline: float) -> None:
        """Hand the deadline of the scope on."""
        for child in self._open:
            if child.is_member:
                child.set_deadline(deadline)

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park until there is none; part of the protocol between a loop and what is waited for."""
        return bool(self._open) and super().enroll(wake)
