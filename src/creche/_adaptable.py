"""A runner that can be handed to code which knows nothing of creche.

What it is for: the interfaces that such code asks for, one method each; and what the runners share of
being submitted to from other threads.

What it does not know: how they are made; that is in `facades`.

Invariant: what a facade carries out are calls of this runner, with slots like all others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ._afar import Submission
from ._errors import RunnerFull
from ._from_thread import FromThread
from ._hosting import Run
from ._keyed import KeyedTaskRunner
from ._options import OnCollision
from ._slot import Slot
from ._submitting import begin, when_room
from ._waiting_room import Applicant

if TYPE_CHECKING:
    from anyio.abc import TaskGroup


class AdaptableTaskRunner(KeyedTaskRunner):
    """A runner of creche's own that stands in for what others know, and works from other threads."""

    @property
    def from_thread(self) -> FromThread:
        """`submit`, `wait`, `result`, `cancel`, `map` for threads that run no event loop: they block."""
        return FromThread(self._known, self._from_afar)

    def as_task_group(self) -> TaskGroup:
        """Stand in for an anyio task group, on trio, too; its children are calls, with slots.

        The key of a child is its name, or if that is taken, the name and a number: `name=`, or else
        what anyio calls it, the module and name of its function. A child waits for a place.

        Used at once, its children live as long as the runner and follow its `on_error`; its
        `cancel_scope` cancels them and nothing else. Used as ``async with``, it waits for its children
        at the end of the block; one that fails cancels its siblings and the block, and the group
        raises what failed, which `on_error` then does not see.

        Returns:
            an `anyio.abc.TaskGroup`.

        Raises:
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            RuntimeError: this is not the thread of the runner's loop.
        """
        run = self._running(None)
        # Not at the top: it loads anyio, which a program on trio alone never needs.
        facade = importlib.import_module("creche.facades._task_group")
        return cast("TaskGroup", facade.RunnerTaskGroup(run))

    def _submit_at_home(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        **options: Any,  # noqa: ANN401 - those of `submit_nowait`
    ) -> Slot[Any] | Applicant | None:
        """Submit for another thread, on that of the loop.

        Returns:
            the slot; an applicant, if it has to wait for room; `None` if it has to wait otherwise.
        """
        try:
            return self.submit_nowait(key, call, *args, **options)
        except RunnerFull:
            return self._apply(key, call, args, **options)

    def _apply(
        self,
        key: Hashable,
        call: Callable[..., Any],
        args: tuple[object, ...],
        *,
        on_collision: OnCollision = "raise",
        timeout: float | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        after: Iterable[Hashable | Slot[Any]] = (),
        after_any_end: bool = False,
    ) -> Slot[Any] | Applicant:
        run, work = self._prepare(key, call, args, on_collision, timeout, priority, limits)
        return begin(run, key, work, on_collision, after, any_end=after_any_end)

    def _from_afar(
        self,
        run: Run,
        key: Hashable,
        call: Callable[..., Any],
        args: tuple[object, ...],
        options: dict[str, Any],
    ) -> Submission:
        """A submission that is made in another thread than that of the run's loop."""

        async def go_on(applicant: Applicant | None) -> Slot[Any]:
            submit: Any = self.submit
            if applicant is None:
                return await submit(key, call, *args, **options)  # type: ignore[no-any-return]
            return await when_room(run, applicant)

        return Submission(run, partial(self._submit_at_home, key, call, *args, **options), go_on)
