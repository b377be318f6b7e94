"""The block of a task group that was entered: ``async with``.

What it is for: the scope around the block, the wait for the children at its end, and what comes out:
all that the block and the children have raised, in one group, or else the cancellation that has come
in from outside.

What it does not know: how children are submitted.

Invariant: when the block has been left, every child has settled.

How the children learn of a cancellation from outside: they are not in the scope, but in the nursery of
the runner, and are cancelled by key. So a watcher inside the scope tells them, since the block may be
where it does not see it, behind a shield.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, final

from creche._capture import leaves, split
from creche._errors import RunnerClosed
from creche._hosting import Run
from creche._ki import protected
from creche._slot import Slot
from creche._spelling import spell
from creche._states import Origin

from ._children import Children

_WATCHER = "creche task group"
_SCOPE_CANCELLED = "a scope around its task group was cancelled"

# Where the end of a child comes from that nobody who has the group has asked for.
_BY_RUNNER: tuple[Origin, ...] = ("outer", "closed", "lost")


@final
class Block:
    """One block."""

    def __init__(self, run: Run, scope: Any, children: Children) -> None:  # noqa: ANN401 - see GroupScope
        self._backend = run.backend
        self._home = run.home
        self._scope = scope
        self._children = children
        self._errors: list[BaseException] = []
        self._lost: Slot[Any] | None = None
        self._has_cut = False
        self._leaving = self._backend.make_event()
        self._watched = self._backend.make_event()
        self._nursery = self._backend.open_nursery()
        self._native = self._backend.native_cancels()

    async def enter(self) -> None:
        """Begin. Not a checkpoint."""
        self._scope.__enter__()
        nursery = await self._nursery.__aenter__()
        nursery.start_soon(self._watch, name=_WATCHER)

    def cancel(self, why: str) -> None:
        """Cancel the block and the children.

        Args:
            why: for people.
        """
        self._scope.cancel(why)
        self._children.cut(why)

    def has_ended(self, slot: Slot[Any]) -> None:
        """A child has settled: what it has raised is raised by the block, which ends for it.

        Args:
            slot: the child's.
        """
        error = slot.peek_error()
        if error is not None:
            slot.mark_read()
            self._errors.append(error)
            self.cancel(
                f"another child of its task group, {spell(slot.key)}, raised {type(error).__name__}"
            )
        elif slot.origin in _BY_RUNNER:
            self._lost = slot

    async def leave(self, exc: BaseException | None) -> bool:
        """Wait for the children, then raise what is due. A checkpoint.

        Args:
            exc: what the block has raised.

        Returns:
            whether `exc` is nothing but the scope's own cancellation, and must not come out.

        Raises:
            BaseException: see the head of this module.
        """
        cancellation = self._note(exc)
        try:
            if not self._goes_on():  # at once: the watcher has not had its turn yet
                self._cut_children()
            # The watcher first: a call that waits must not seem to have a child task that goes on.
            cancellation = await self._dismiss_watcher(cancellation)
            while self._children:
                shield = cancellation is not None or bool(self._errors)
                wait = partial(self._home.park, self._backend, self._children)
                cancellation = await self._endure(wait, cancellation, shield=shield)
            if self._has_cut and cancellation is None:  # the code behind us must not take them for done
                look = self._backend.checkpoint_if_cancelled
                cancellation = await self._endure(look, cancellation, shield=False)
            return self._close(exc, cancellation)
        finally:
            del self, exc, cancellation  # what is raised must not lead to itself

    @protected
    async def _watch(self) -> None:
        """Tell the children when the scope is cancelled, as long as the block goes on."""
        try:
            await self._leaving.wait()
        except self._backend.cancelled:
            self._cut_children()
        finally:
            self._watched.set()

    def _cut_children(self) -> None:
        self._has_cut = self._has_cut or bool(self._children)
        self._children.cut(_SCOPE_CANCELLED)

    async def _dismiss_watcher(self, cancellation: BaseException | None) -> BaseException | None:
        """Let the watcher go, whether the scope is cancelled or not: that is no cancel point."""
        self._leaving.set()
        while not self._watched.is_set():
            cancellation = await self._endure(self._watched.wait, cancellation, shield=True)
        try:
            # It has no tasks any more, so that this is a schedule point and nothing else.
            await self._nursery.__aexit__(None, None, None)
        except BaseException as caught:  # noqa: BLE001 - by `Task.cancel`; noted, and raised at the end
            return self._note(caught) or cancellation
        return cancellation

    async def _endure(
        self,
        wait: Callable[[], Awaitable[Any]],
        cancellation: BaseException | None,
        *,
        shield: bool,
    ) -> BaseException | None:
        """Wait, and note what comes instead.

        Args:
            wait: what to do.
            cancellation: the one that is under way already.
            shield: whether no scope is to cancel the wait.

        Returns:
            the cancellation that came last.
        """
        try:
            with self._backend.open_scope(shield=shield):
                await wait()
        except BaseException as caught:  # noqa: BLE001 - noted, and raised at the end
            return self._note(caught) or cancellation
        return cancellation

    def _note(self, exc: BaseException | None) -> BaseException | None:
        """Note what has come out of the block, or of a wait at its end, and cancel all for it.

        Args:
            exc: what came.

        Returns:
            it, if it is cancellation and nothing else.
        """
        if exc is None:
            return None
        if split(exc, self._backend.cancelled)[1] is None:
            self.cancel("the block of its task group was cancelled")
            return next(leaves(exc))
        self._errors.append(exc)
        self.cancel(f"the block of its task group raised {type(exc).__name__}")
        return None

    def _close(self, given: BaseException | None, cancellation: BaseException | None) -> bool:
        """Leave the scope, with what is to come out; whether nothing is."""
        errors, self._errors = self._errors, []
        lost, self._lost = self._lost, None
        if lost is not None and not errors and cancellation is None and self._goes_on():
            errors.append(
                RunnerClosed(f"child {spell(lost.key)} of the task group ended: {lost.reason}")
            )
        what = cancellation
        if errors:
            what = BaseExceptionGroup("unhandled errors in a task group", errors)
        try:
            if what is None:
                self._scope.__exit__(None, None, None)
                return False
            if self._scope.__exit__(type(what), what, what.__traceback__):
                return True
            if what is given:
                return False
            if errors and cancellation is not None:
                self._backend.renew_native_cancel(self._native)
            raise what from None
        finally:
            del self, given, cancellation, errors, lost, what  # see leave

    def _goes_on(self) -> bool:
        """Whether no scope around the task of the block is cancelled."""
        return not self._backend.is_cut()
