"""Virtual time on trio: the clock, who waits for what, and the end of a run in which nothing can happen.

What it is for: `VirtualClock`, for the kit's own runs and for those of others.

What it does not know: what runs, and who looks at it.

Invariant: a run that hangs ends. Those of the kit are ended at once, by an error out of the clock, which
no task can catch; the kit sees to what is left. In a run of anybody else's, of which the host may not
even hear that trio fell, a task raises the error where it waits, and the run goes on from there.

What is trio's own and not public is read here and in `_on_trio`: here the run queue (a clock that jumps
must know whether anything can run), and the way in which trio hands a Ctrl-C to a task.
"""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from types import FrameType, coroutine
from typing import Any, NoReturn, final

import trio
from trio._core import _run as trios

from ._clock import TELLINGS, HungError, VirtualTime
from ._ending import end
from ._where import innermost, short_name, waits_in


def context() -> Any:  # noqa: ANN401 - trio's own
    """What trio keeps for each thread."""
    return trios.GLOBAL_RUN_CONTEXT


@final
class VirtualClock(trio.abc.Clock):
    """A clock for `trio.run` in which an hour of sleep costs nothing.

    ``trio.run(main, clock=VirtualClock())``. Unlike `trio.testing.MockClock` it gives threads and child
    processes a tenth of a second of real time before it jumps over them, and it ends a run in which
    nothing can happen any more: a `HungError` is raised where the main task waits, as trio raises a
    Ctrl-C there; or, if that waits for the only task in a nursery, where that one does. If it is caught
    and the run hangs again, others raise one, too; at last `trio.run` raises a `trio.TrioInternalError`
    whose cause is the `HungError`, and the host of a guest run is handed a function that raises it.
    """

    def __init__(self) -> None:
        self.time: VirtualTime = VirtualTime(tree)
        # Whether a task is told that the run hangs; else that is an error of the clock's.
        self.tells_tasks: bool = True
        self._deadline: float | None = None
        self._told = 0

    def start_clock(self) -> None:
        """Part of trio's protocol: a run begins; that the last one hung is no fault of it."""
        self.time.go_on()
        self._told = 0

    def current_time(self) -> float:
        """Virtual seconds, from 0.

        Raises:
            HungError: when trio asks, nothing can happen any more, and no task can be told.
        """
        here = context()
        if hasattr(here, "task") or not hasattr(here, "runner"):
            return self.time.now
        # Trio itself asks, after it has looked for input and output, and before it expires deadlines.
        deadline, self._deadline = self._deadline, None
        if here.runner.runq or deadline is None:
            self.time.came()
            self.time.how_long(0)
        elif not here.runner.waiting_for_idle:
            try:
                self.time.nothing_came(deadline - self.time.now)
            except HungError as exc:
                if self.tells_tasks:
                    self._tell(exc)
                else:
                    raise
            if math.isfinite(deadline):
                self._told = 0
        return self.time.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Part of trio's protocol: it asks when nothing can run.

        Raises:
            HungError: it was given up.
        """
        self._deadline = deadline
        if self.time.held:
            return 0
        if context().runner.waiting_for_idle:
            return math.inf  # those come first, and trio knows how long they need
        return self.time.how_long(deadline - self.time.now)

    def _tell(self, hung: HungError) -> None:
        """Have a task raise it, or have the run end with it.

        Raises:
            HungError: the run is ended; its host is told, and what is left of it is seen to.
        """
        hung = hung.with_traceback(None)

        def fail() -> NoReturn:
            raise hung

        self._told += 1
        task = _who_can_be_told()
        if task is not None and self._told <= TELLINGS:
            self.time.go_on()
            task._attempt_abort(fail)  # noqa: SLF001 - trio has no public name for it
            return
        runner, host = runner_here(), _host()

        def end_guest() -> NoReturn:
            abandon(runner)
            raise hung

        if host is None:
            abandon(runner)
        else:
            # Not before the host has heard: it would take what closing a test raises for its outcome.
            host(end_guest)
        raise hung


def below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """The tasks that it has started, in that order."""
    found = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return sorted(found, key=lambda child: child._counter)  # noqa: SLF001 - they are in a set


def tree() -> str:
    """Who waits for what, as the nurseries are nested; trio's own tasks left out."""
    lines: list[str] = []

    def tell(task: trio.lowlevel.Task, depth: int) -> None:
        where = innermost(task.coro)
        at = f"waits in {waits_in(task.coro)}, at {where}" if where else "has not begun"
        lines.append(f"{'  ' * depth}{short_name(task.name)}: {at}")
        for child in below(task):
            tell(child, depth + 1)

    tell(runner_here().main_task, 1)
    return "\n".join(lines)


def _waited_for(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """The tasks of the nursery at whose end it waits."""
    nursery = task.child_nurseries[-1] if task.child_nurseries else None
    waits = getattr(nursery, "_parent_waiting_in_aexit", False)
    return [child for child in below(task) if waits and child.parent_nursery is nursery]


def _who_can_be_told() -> Any:  # noqa: ANN401 - a task
    """The task that all wait for, if it waits where an error can be raised; else another of them.

    Not one that nobody waits for: what such a task raises in the background of a fixture, say, would
    end all that its nursery is around.
    """
    first = runner_here().main_task
    tasks = [first]
    for task in tasks:
        tasks += _waited_for(task)
    while len(waited := _waited_for(first)) == 1:
        first = waited[0]
    return next((one for one in (first, *tasks) if one._abort_func is not None), None)  # noqa: SLF001 - trio has no public name for it


def _host() -> Callable[[Callable[[], object]], object] | None:
    """What hands a function to the host of a guest run; trio itself keeps it where only a tick knows."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented
    while frame is not None and frame.f_code is not trios.GuestState.guest_tick.__code__:
        frame = frame.f_back
    return frame.f_locals["self"].run_sync_soon_threadsafe if frame is not None else None


def is_trios(task: trio.lowlevel.Task) -> bool:
    """Whether it is a task of trio's own: the first one, and those of the system nursery."""
    nursery = task.parent_nursery
    root = trio.lowlevel.current_root_task()
    return nursery is None or (
        root is not None and nursery is root.child_nurseries[0] and task is not runner_here().main_task
    )


def runner_here() -> Any:  # noqa: ANN401 - trio's own
    """What trio knows of the run that goes on in this thread."""
    return context().runner


@coroutine
def _stands() -> Generator[None]:
    yield


async def _closes(generator: AsyncGenerator[Any, Any]) -> None:
    """Close it, as soon as this is closed itself."""
    try:
        await _stands()
    finally:
        await generator.aclose()  # pragma: no cover - coverage is off then, see `_ending`


def abandon(runner: Any) -> None:  # noqa: ANN401 - trio's own
    """See to what is left of a run that did not end; nothing of it is heard of again."""
    for task in list(runner.tasks):
        end(task.coro)
        for nursery in task.child_nurseries:
            nursery._children.clear()  # noqa: SLF001 - trio would complain when it is collected
    # The hook of those that are collected later would call the run.
    for generator in list(runner.asyncgens.alive):
        closes = _closes(generator)
        closes.send(None)
        end(closes)
