"""An asyncio loop in virtual time, with a look at every step of every task, and a say in who comes next.

What it is for: the stage on asyncio is built on it, and a program of anybody's may run in it.

What it does not know: what is looked for.

How it sees every task: each step of an asyncio task, whoever made the task, is a callback that is handed
to the loop's `call_soon`, and says by its `__self__` which task it is of. A task factory or a wrapper
around coroutines would miss those that are made without a factory, and would change what others
see of a task.

Invariant: when nothing can happen any more, somebody hears of it; it never waits for nothing.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, TypeVarTuple, final

from anyio._backends import _asyncio as anyios

from ._clock import PASSES, HungError, VirtualTime
from ._ending import end
from ._hung_asyncio import Teller, name, tree
from ._in_order import Moment, scopes_in_order, task_factory
from ._stage import Chance, Watcher

Ts = TypeVarTuple("Ts")


# What tells the tasks in a scope of anyio's that they are cancelled, in each pass of the loop until they
# have left it, also those that cannot leave it yet: they wait for a child, or in a `finally` block.
_CANCEL_AGAIN = vars(anyios.CancelScope).get("_deliver_cancellation")
# So many passes with nothing else in them, and time goes on.
_REPEATS = 20


class _Selector(selectors.DefaultSelector):
    """Where a selector would wait for a timer, it moves the clock there instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._time = loop.virtual
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Not what it is told, which is a day where a timer is set for infinity.
        nothing_else = self._loop.repeats >= _REPEATS
        wait = (
            0 if timeout is not None and timeout <= 0 and not nothing_else else self._loop.next_timer()
        )
        ready = super().select(self._time.how_long(wait))
        if ready or wait <= 0:
            self._time.came()
            return ready
        try:
            self._time.nothing_came(wait)
        except HungError as exc:
            if not self._loop.tells(exc):
                raise
        return ready


@final
class _Step:
    """One step of a task, which is looked at before and after."""

    def __init__(self, task: asyncio.Task[Any], step: Callable[..., object], watcher: Watcher) -> None:
        self.__self__ = task  # as what it stands for has it: asyncio shows the task in its messages
        self._step = step
        self._watcher = watcher

    def __call__(self, *args: object) -> None:
        self._watcher.before_step(self.__self__)
        self._step(*args)
        self._watcher.after_step(self.__self__)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in which an hour of sleep costs nothing.

    ``asyncio.Runner(loop_factory=VirtualTimeLoop)``, or the `loop_factory` of anyio's pytest plugin.
    It gives threads and child processes a tenth of a second of real time before it jumps over them.
    When nothing can happen any more, the task that all wait for raises a `HungError` where it waits; if
    that waits for a group or for another task, the one that is waited for does. If it is caught and the
    loop hangs again, it is raised again; at last it comes out of the loop.
    """

    watcher: Watcher | None = None
    chance: Chance | None = None
    tells_tasks: bool = True

    def __init__(self) -> None:
        self.virtual: VirtualTime = VirtualTime(lambda: tree(self))
        self.repeats: int = 0
        self._timers_set = 0
        self._teller = Teller()
        super().__init__(_Selector(self))
        self.set_task_factory(task_factory())

    def time(self) -> float:
        """Virtual seconds, from 0."""
        return self.virtual.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; steps of tasks are looked at."""
        task = _task_of(callback)
        if self.watcher is not None and task is not None:
            callback = _Step(task, callback, self.watcher)
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's; equal timers come in the order in which they are set."""
        self._timers_set += 1
        return super().call_at(Moment(when, self._timers_set), callback, *args, context=context)

    def run_forever(self) -> None:
        """As asyncio's; what anyio cancels it cancels in the same order each time."""
        if self.tells_tasks:
            self.virtual.go_on()
            self._teller = Teller()
        with scopes_in_order():
            super().run_forever()

    def tells(self, hung: HungError) -> bool:
        """Whether a task has been told that the run hangs, and the loop goes on."""
        if not (self.tells_tasks and self._teller.tell(self, hung)):
            return False
        self.virtual.go_on()
        return True

    def next_timer(self) -> float:
        """In how many virtual seconds the next timer is due."""
        timers: Any = self._scheduled  # type: ignore[attr-defined]  # the base of all event loops has it, and no stub
        return timers[0].when() - self.virtual.now if timers else math.inf

    def _run_once(self) -> None:
        """One pass of the loop, before which the tasks that can run change places, or stand back.

        Other callbacks come before tasks that do, in the order in which they were handed in: asyncio
        promises that, and what a future calls first has to be done before who waits for it goes on.
        """
        self.repeats = self.repeats + 1 if self._is_repeating() else 0
        late: list[asyncio.Handle] = []
        if self.chance is not None:
            late = self._choose(self.chance)
        try:
            super()._run_once()  # type: ignore[misc]  # the base of all event loops has it, and no stub
        finally:
            self._ready.extendleft(reversed(late))  # type: ignore[attr-defined]  # the base of all event loops has it, and no stub

    def _choose(self, chance: Chance) -> list[asyncio.Handle]:
        """Have tasks change places; those that are not to run now."""
        ready: Any = self._ready  # type: ignore[attr-defined]  # the base of all event loops has it, and no stub
        tasks = {n: task for n, one in enumerate(ready) if (task := _task_of(one._callback)) is not None}  # noqa: SLF001 - asyncio has no public name for it
        if not tasks:
            return []
        steps = [ready[n] for n in tasks]
        chosen = chance.order([name(task) for task in tasks.values()])
        if [*chosen] == [*range(len(steps))]:
            return []
        others = [one for n, one in enumerate(ready) if n not in tasks]
        ready.clear()
        ready.extend([*others, *(steps[n] for n in chosen)])
        return [one for n, one in enumerate(steps) if n not in chosen]

    def _is_repeating(self) -> bool:
        """Whether all that can run is anyio, telling tasks once more that they are cancelled."""
        again = False
        for handle in self._ready:  # type: ignore[attr-defined]  # the base of all event loops has it, and no stub
            task = _task_of(handle._callback)  # noqa: SLF001 - asyncio has no public name for it
            if getattr(handle._callback, "__func__", None) is _CANCEL_AGAIN:  # noqa: SLF001 - asyncio has no public name for it
                again = True
            elif task is None or not is_cancelled(task):
                return False
        return again


def _task_of(callback: object) -> asyncio.Task[Any] | None:
    """Whose step a callback is."""
    owner = getattr(callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None


def is_cancelled(task: Any) -> bool:  # noqa: ANN401 - a task
    """Whether the step that a task is about to take begins with a cancellation."""
    waiter = task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
    return bool(task._must_cancel) or (waiter is not None and waiter.cancelled())  # noqa: SLF001 - asyncio has no public name for it


@contextmanager
def as_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Iterator[None]:
    """Be that task, which waits, for a moment in which the loop stands still."""
    asyncio._set_running_loop(loop)  # noqa: SLF001 - documented, for those who make loops
    tasks: Any = asyncio.tasks
    tasks._enter_task(loop, task)  # noqa: SLF001 - documented, for those who make tasks
    try:
        yield
    finally:
        tasks._leave_task(loop, task)  # noqa: SLF001 - the same
        asyncio._set_running_loop(None)  # noqa: SLF001 - the same


def close(loop: asyncio.AbstractEventLoop) -> None:
    """End what is left, kindly, then not; nothing of it is heard of again."""
    left: list[Any] = list(asyncio.all_tasks(loop))
    for task in left:
        with suppress(RecursionError):  # of those that wait for each other
            task.cancel()
    ends: list[Coroutine[Any, Any, object]] = [
        loop.shutdown_asyncgens(),
        loop.shutdown_default_executor(),
    ]
    if left and not (isinstance(loop, VirtualTimeLoop) and loop.virtual.verdict is not None):
        ends.insert(0, asyncio.wait([*left], timeout=1))
    interrupts = [_finish(loop, one, left) for one in ends]
    for task in left:
        task._log_destroy_pending = task._log_traceback = False  # noqa: SLF001 - asyncio has no public name for it
        end(task.get_coro())
    loop.close()
    interrupt = next(filter(None, interrupts), None)
    if interrupt is not None and sys.exception() is None:  # else that is what there is to tell
        raise interrupt


def _finish(
    loop: asyncio.AbstractEventLoop, last: Coroutine[Any, Any, object], left: list[Any]
) -> KeyboardInterrupt | None:
    """Let the loop go on until this has ended, or hangs; a Ctrl-C of those that end is for later."""
    left.append(task := loop.create_task(last))
    interrupt = None
    if isinstance(loop, VirtualTimeLoop):
        # What was spent before, and what came of the others, is no matter.
        loop.virtual.verdict = None
        loop.virtual.allow(PASSES)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except HungError:
            break
        except SystemExit:  # of one of them, and the others are to end, too
            pass
        except KeyboardInterrupt as exc:
            interrupt = exc
    return interrupt
