"""Grace: the time that running calls get when the run is cancelled from outside, or by Ctrl-C.

What it is for: a call that is storing something may finish it. Nothing new starts meanwhile. Each call's
own scope is a shield as long as there may be grace: what cancels the run does not reach it until the
time is up, and what cancels the call alone does.

What it does not know: carriers, how a call is carried out, what comes out of the run in the end.

Invariant: the time is counted once for all, from when the cancellation was seen. When it is over, or was
never due, no shield is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from ._backend import Backend, Nursery, Scope
from ._halting import SCOPE_CANCELLED, Halting
from ._ki import protected
from ._parking import Parking

_TASK_NAME = "creche watcher"


@final
class Grace(Parking):
    """The grace of one run.

    Attributes:
        is_over: whether nothing is shielded any more.
        when_over: told when that comes.
    """

    def __init__(self, backend: Backend, halting: Halting, seconds: float) -> None:
        super().__init__()
        self.is_over = False
        self.when_over: Callable[[], object] = lambda: None
        self._backend = backend
        self._halting = halting
        self._seconds = seconds
        # Of the calls, once the cancellation was seen.
        self._deadline: float | None = None
        self._is_drained = False
        self._shields: dict[Scope, None] = {}

    def cover(self, scope: Scope) -> None:
        """A call begins; its scope is a shield from now on."""
        scope.shield = not self.is_over
        self._shields[scope] = None

    def uncover(self, scope: Scope) -> None:
        """A call has ended."""
        del self._shields[scope]
        if not self._shields:
            self._wake_all()

    def end(self) -> None:
        """The calls that run still get no more time."""
        if not self.is_over:
            self.is_over = True
            for scope in self._shields:
                scope.shield = False
            self.when_over()
            self._wake_all()

    def let_go(self) -> None:
        """No call runs any more, and none will: nobody need watch."""
        self._is_drained = True
        self._wake_all()

    def watch_in(self, nursery: Nursery) -> None:
        """Have a task see the cancellation at once: the body may take its time to unwind."""
        nursery.start_soon(self._watch, name=_TASK_NAME)

    @protected
    async def _watch(self) -> None:
        try:
            await self._wait()
        except BaseException:
            self._halting.note_cancelled()
            await self._give()
            raise

    async def wait(self) -> list[BaseException]:
        """Wait until no call runs, or the time is over; for the host, at the exit.

        Returns:
            what has interrupted it and comes only once: Ctrl-C, asyncio's own cancellations.
        """
        came: list[BaseException] = []
        native = self._backend.native_cancels()
        if self._halting.halted is None:
            try:
                await self._wait()
            except BaseException as exc:  # noqa: BLE001 - raised by the caller, when the calls have ended
                why = SCOPE_CANCELLED
                if not isinstance(exc, self._backend.cancelled):
                    why = "the runner was interrupted at its exit"
                # Else the scope that is cancelled does the cancelling, and goes on doing it.
                comes_once = why is not SCOPE_CANCELLED or self._backend.native_cancels() > native
                if comes_once:
                    came.append(exc)
                self._halting.halt("outer", why, cancel=comes_once)
        try:
            await self._give()
        except BaseException as exc:  # noqa: BLE001 - the second one: it does not wait any longer
            came.append(exc)
            self.end()
        self.let_go()
        return came

    async def _wait(self) -> None:
        """Until no call runs, and none will."""
        while not self._is_drained:
            await self._backend.park(self)

    async def _give(self) -> None:
        """Give the calls their time, if it is due; then it is over."""
        halted = self._halting.halted
        if halted is not None and halted.origin == "outer":
            if self._deadline is None:
                self._deadline = self._backend.current_time() + self._seconds
            with self._backend.open_scope(shield=True, deadline=self._deadline):
                while self._shields and not self.is_over:
                    await self._backend.park(self)
        self.end()
