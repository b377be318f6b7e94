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
from ._bulk import BulkTaskRunner
from ._errors import RunnerFull
from ._from_thread import FromThread
from ._hosting import Run
from ._options import OnCollision
from ._place import Place, PlaceOptions
from ._retry import Retry
from ._slot import Slot
from ._submitting import begin, when_room
from ._waiting_room import Applicant

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from anyio.abc import TaskGroup


class AdaptableTaskRunner(BulkTaskRunner):
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
        raises what failed, which `on_error` then does not see. Children are coroutines, which cannot
        be sent anywhere: they run on the loop, also where calls of the runner run elsewhere.

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

    def as_executor(self, *, name: str | None = None) -> Executor:
        """Stand in for an executor of `concurrent.futures`, for code in threads; from any thread.

        What is submitted to it is a call, async or plain, with a slot under a key that is made of the
        name of the function, and follows the runner's `on_error`; reading its future counts as reading.
        Shutting it down does not close the runner.

        `Future.cancel` cancels a call that has not begun, and an async one that runs; a plain one in its
        thread ends as it ends. On the thread of an event loop `submit` works, and whatever would
        block there (`result`, ``shutdown(wait=True)``) raises `RuntimeError`.

        Args:
            name: what to make the keys of, instead of the names of the functions.

        Returns:
            a `concurrent.futures.Executor`.

        Raises:
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `name` is no string.
        """
        if name is not None and not isinstance(name, str):
            msg = (
                f"name must be a string to make keys of, or None for the functions' names, not {name!r}"
            )
            raise TypeError(msg)
        run = self._known(None)
        run.intake.check_open(name)
        facade = importlib.import_module("creche.facades._executor")
        return cast("Executor", facade.RunnerExecutor(run, name))

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
        retry: int | Retry | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        after: Iterable[Hashable | Slot[Any]] = (),
        after_any_end: bool = False,
        place: str | Place | None = None,
        place_options: PlaceOptions | None = None,
    ) -> Slot[Any] | Applicant:
        run, work = self._prepare(
            key, call, args, on_collision, timeout, retry, priority, limits, place, place_options
        )
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
                return await submit(key, call, *args, **options)  # type: ignore[no-any-return]  # its overloads do not take a dict of options
            return await when_room(run, applicant)

        return Submission(run, partial(self._submit_at_home, key, call, *args, **options), go_on)
