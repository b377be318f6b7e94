"""The stage on trio: a look at every step of every task, a say in who comes next, and a way to strike.

What it is for: `TRIO` is the one value; with its twin in `_on_asyncio` all that the kit knows of loops.

What it does not know: what is looked for.

What is trio's own and not public is read here and in `_trio_clock`, and nowhere else: here the flag and
the source of chance that trio has for hypothesis, a task's next step, what is pending in a nursery, and
the way in which trio itself hands a Ctrl-C to a task.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import takewhile
from typing import Any, TypeVar, final
from weakref import WeakKeyDictionary, WeakSet

import trio
from outcome import Error
from trio._core import _run as trios

from creche._capture import leaves

from ._clock import HungError, VirtualTime
from ._stage import Chance, Watcher
from ._trio_clock import VirtualClock, abandon, below, context, is_trios, runner_here
from ._where import awaiting, never_fails, short_name

T = TypeVar("T")

_TRIO = os.path.dirname(trio.__file__) + os.sep  # noqa: PTH120 - the beginning of names
_TOLD = trio.Event.wait.__code__.co_filename


def _is_told(coro: Any) -> bool:  # noqa: ANN401 - a coroutine
    """Whether it waits for what others do: a lock, an event, the end of a nursery; that never fails."""
    codes = [frame.f_code for frame in awaiting(coro)]
    parked = takewhile(lambda code: code.co_filename.startswith(_TRIO), reversed(codes))
    return any(code.co_filename == _TOLD or code.co_name == "_nested_child_finished" for code in parked)


class _Look(trio.abc.Instrument):
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not is_trios(task):
            self._watcher.before_step(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not is_trios(task):
            self._watcher.after_step(task)


@contextmanager
def as_task(task: Any) -> Iterator[None]:  # noqa: ANN401 - a task
    """Be that task, which waits, for a moment in which the run stands still."""
    here = context()
    library: Any = vars(trios)["sniffio_library"]
    before, library.name = library.name, "trio"
    here.task = task
    try:
        yield
    finally:
        del here.task
        library.name = before


@contextmanager
def ordered(chance: Chance | None) -> Iterator[None]:
    """Have a run ask this chance for the order of its tasks; or none, and be the same each time."""
    here = threading.get_ident()

    class Source(random.Random):
        def shuffle(self, batch: list[Any]) -> None:  # type: ignore[override]  # trio gives it lists only
            # It is taken from the end. What is not in it goes on in the next pass.
            chosen: Sequence[int] = range(len(batch))
            # A function may have runs of its own, in threads: these are left in peace.
            if chance is not None and batch and threading.get_ident() == here:
                chosen = chance.order([short_name(one.name) for one in batch])
                context().runner.runq.extend(batch[n] for n in set(range(len(batch))) - {*chosen})
            batch[:] = [batch[n] for n in reversed(chosen)]

    before = trios._r, trios._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001 - trio has no public name for it
    trios._r, trios._ALLOW_DETERMINISTIC_SCHEDULING = Source(), True  # type: ignore[misc] # noqa: SLF001 - trio has no public name for it
    try:
        yield
    finally:
        trios._r, trios._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc] # noqa: SLF001 - trio has no public name for it


@final
class TrioStage:
    """Trio, as the kit sees it."""

    name = "trio"
    cancelled: type[BaseException] = trio.Cancelled

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
        clock = VirtualClock()
        clock.tells_tasks = False
        living: list[Any] = []

        async def main_() -> T:
            living.append(runner_here())
            return await main(clock.time)

        main_.__qualname__ = "main"
        # Only a watcher cancels tasks one by one; a scope for each costs half as much again.
        with ordered(chance), _scoped() if watcher is not None else nullcontext():
            try:
                return trio.run(main_, clock=clock, instruments=[_Look(watcher)] if watcher else [])
            except trio.TrioInternalError as exc:
                if not isinstance(exc.__cause__, HungError):
                    raise
                hung = exc.__cause__
        abandon(living[0])
        raise hung.with_traceback(None) from None

    def current(self) -> trio.lowlevel.Task:
        """The task that runs."""
        return trio.lowlevel.current_task()

    def tasks(self) -> set[trio.lowlevel.Task]:
        """All there are."""
        found: set[trio.lowlevel.Task] = set()
        root = trio.lowlevel.current_root_task()
        waiting = [root] if root is not None else []
        while waiting:
            found.add(task := waiting.pop())
            waiting.extend(below(task))
        return found

    def name_of(self, task: Any) -> str:  # noqa: ANN401 - a task
        """What the task is called."""
        return short_name(str(task.name))

    def coro_of(self, task: Any) -> Any:  # noqa: ANN401 - a task
        """The coroutine that it runs."""
        return task.coro

    def is_its_own(self, task: Any) -> bool:  # noqa: ANN401, ARG002 - as the twin has it
        """Whether it is the function's; those that trio has started for itself are not watched."""
        return True

    # Points ---------------------------------------------------------------------------------------

    def cancel_points(self, task: Any) -> int:  # noqa: ANN401 - a task
        """How many times it asked so far whether it is cancelled."""
        return int(task._cancel_points)  # noqa: SLF001 - trio has no public name for it

    def waits(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether it has stopped where a cancellation would reach it."""
        return task._abort_func is not None  # noqa: SLF001 - trio has no public name for it

    def is_late(self, task: Any, before: int) -> bool:  # noqa: ANN401 - a task
        """Whether a cancellation just before the step that has just ended would have been seen in it."""
        return self.cancel_points(task) - before > self.waits(task)

    def takes(self, task: Any, *, late: bool) -> bool:  # noqa: ANN401 - a task
        """Whether what it waits for can raise an error of another kind than cancellation."""
        if not late:
            return not (never_fails(task.coro) or _is_told(task.coro))
        return any(frame.f_code is trio.lowlevel.checkpoint.__code__ for frame in awaiting(task.coro))

    def inject(self, task: Any, exc: BaseException, *, late: bool) -> None:  # noqa: ANN401 - a task
        """Let what it waits for raise this."""

        def fail() -> None:
            raise exc

        if late:
            task._next_send = Error(exc)  # noqa: SLF001 - trio has no public name for it
        else:
            task._attempt_abort(fail)  # noqa: SLF001 - trio has no public name for it

    def interrupt(self, main: Any) -> None:  # noqa: ANN401, ARG002 - as the twin has it
        """What Ctrl-C does."""
        context().runner.deliver_ki()

    async def calm_down(self) -> bool:
        """Forget a Ctrl-C that nobody has taken; whether there was one."""
        runner = context().runner
        pending, runner.ki_pending = runner.ki_pending, False
        return bool(pending)

    def open_scope(self) -> trio.CancelScope:
        """A cancel scope that is not entered yet."""
        return trio.CancelScope()

    def cancel_task(self, task: Any) -> None:  # noqa: ANN401 - a task
        """Cancel this task, and what it has started."""
        _SCOPES[task].cancel()

    def is_hit(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether the step that it is about to take begins with an error."""
        return isinstance(task._next_send, Error) or _nursery_raises(task)  # noqa: SLF001 - trio has no public name for it

    def is_reached(self, task: Any, scope: Any, *, natively: bool = False) -> bool:  # noqa: ANN401, ARG002 - a task, a scope; as the twin has it
        """Whether that error is the cancellation of this scope, or Ctrl-C."""
        sent = task._next_send  # noqa: SLF001 - trio has no public name for it
        if isinstance(sent, Error):
            errors, status = [sent.error], task._cancel_status  # noqa: SLF001 - trio has no public name for it
        else:
            errors, status = _at_its_end(task)
        if any(isinstance(error, KeyboardInterrupt) for error in errors):
            return True
        # The property would cancel the scope if it is late.
        is_cancelled = any(isinstance(error, trio.Cancelled) for error in errors)
        if not is_cancelled or not scope._cancel_called:  # noqa: SLF001 - trio has no public name for it
            return False
        while status is not None and status is not scope._cancel_status:  # noqa: SLF001 - trio has no public name for it
            status = None if status._scope.shield else status._parent  # noqa: SLF001 - trio has no public name for it
        return status is not None

    def is_handed_on(self, task: Any, scope: Any, cancelled: object, waiting: object) -> bool:  # noqa: ANN401, ARG002 - as the twin has it
        """Whether that error came to a task of the function's from there."""
        return self.is_reached(task, scope)

    def has_returned(self, task: Any) -> bool:  # noqa: ANN401 - a task
        """Whether it has ended, and not by an error."""
        return task in _RETURNED


def _at_its_end(task: Any) -> tuple[list[BaseException], Any]:  # noqa: ANN401 - a task, a cancel status
    """What the nursery has to raise whose end the task comes back from, and where that is.

    A task that waits there is sent no error, it finds those of its children; and trio adds no
    cancellation of its own to them, so that a nursery of which none was cancelled just ends.
    """
    nursery = task.child_nurseries[-1] if task.child_nurseries else None
    if not getattr(nursery, "_closed", False):
        return [], None
    pending = getattr(nursery, "_pending_excs", ())
    return [one for error in pending for one in leaves(error)], getattr(nursery, "_cancel_status", None)


def _nursery_raises(task: Any) -> bool:  # noqa: ANN401 - a task
    """Whether a cancellation, or Ctrl-C, comes out of the nursery that the task is about to leave."""
    errors, status = _at_its_end(task)
    # If its own scope is all that is cancelled, they end there.
    goes_on = getattr(status, "parent_cancellation_is_visible_to_us", False)
    return any(
        isinstance(error, KeyboardInterrupt) or (goes_on and isinstance(error, trio.Cancelled))
        for error in errors
    )


# The scope around each task of a run, so that one can be cancelled alone.
_SCOPES: WeakKeyDictionary[trio.lowlevel.Task, trio.CancelScope] = WeakKeyDictionary()
# Those of them whose function has returned.
_RETURNED: WeakSet[trio.lowlevel.Task] = WeakSet()


@contextmanager
def _scoped() -> Iterator[None]:
    """Have a scope of its own around each task that is started."""
    spawn: Callable[..., Any] = trios.Runner.spawn_impl

    def spawn_scoped(
        self: Any,  # noqa: ANN401 - trio's own
        async_fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        nursery: Any,  # noqa: ANN401 - trio's own
        name: object,
        **options: Any,  # noqa: ANN401 - trio's own
    ) -> Any:  # noqa: ANN401 - trio's own
        scope = trio.CancelScope()

        async def scoped(*given: Any) -> Any:  # noqa: ANN401 - as it comes
            with scope:
                value = await async_fn(*given)
                _RETURNED.add(task)
                return value

        if options.get("system_task"):
            return spawn(self, async_fn, args, nursery, name, **options)
        task = spawn(self, scoped, args, nursery, async_fn if name is None else name, **options)
        _SCOPES[task] = scope
        return task

    trios.Runner.spawn_impl = spawn_scoped  # type: ignore[method-assign]  # trio's own names, put in the place of each other
    try:
        yield
    finally:
        trios.Runner.spawn_impl = spawn  # type: ignore[method-assign]  # trio's own names, put in the place of each other


TRIO = TrioStage()
