"""Who waits for what on asyncio, and who is told where nothing can happen any more.

What it is for: the twin of half of `_trio_clock`. In the kit's own runs a `HungError` comes out of the
loop, and the kit closes that. In a run of anybody else's a task raises it where it waits, and the loop
goes on from there: anyio's pytest plugin runs one test after another in one task, and would wait for
ever behind the one that hangs.

What it does not know: the clock.

Invariant: whoever is told has waited for nothing but a future, and the others wait for it.
"""

from __future__ import annotations

import asyncio
from typing import Any, final

from anyio._backends import _asyncio as anyios

from ._clock import TELLINGS, HungError
from ._ending import end
from ._where import awaiting, innermost, short_name, waits_in

# Where those who wait for the end of a group stand: asyncio's, anyio's and creche's own.
_AT_THE_END = ("__aexit__", "_aexit", "_until_empty")


def name(task: asyncio.Task[Any]) -> str:
    """Its name; where nobody gave it one, its coroutine's: a number would be another in each run."""
    given = task.get_name()
    if given.startswith("Task-"):
        given = str(getattr(task.get_coro(), "__qualname__", given))
    return short_name(given)


def tree(loop: asyncio.AbstractEventLoop) -> str:
    """Who waits for what; a task that waits for another one stands above it."""
    tasks: list[Any] = sorted(asyncio.all_tasks(loop), key=name)
    awaited = {task: task._fut_waiter for task in tasks if task._fut_waiter in tasks}  # noqa: SLF001 - asyncio has no public name for it
    lines: list[str] = []
    told: set[Any] = set()

    def tell(task: Any, depth: int) -> None:  # noqa: ANN401 - a task
        where = innermost(task.get_coro())
        at = f"waits in {waits_in(task.get_coro())}, at {where}" if where else "has not begun"
        lines.append(f"{'  ' * depth}{name(task)}: {at}")
        told.add(task)
        if task in awaited and awaited[task] not in told:
            tell(awaited[task], depth + 1)

    # Those that nobody waits for, first; of those that wait for each other, one.
    for task in sorted(tasks, key=lambda task: task in awaited.values()):
        if task not in told:
            tell(task, 1)
    return "\n".join(lines)


@final
class Teller:
    """Tells the tasks of one loop."""

    def __init__(self) -> None:
        self._told = 0

    def tell(self, loop: asyncio.AbstractEventLoop, hung: HungError) -> bool:
        """Have a task raise it; False if there is none, or if that has been in vain.

        Then what was told is thrown away, so that who runs the loop can close it, or run another test.
        """
        main: Any = next(filter(_is_run, asyncio.all_tasks(loop)), None)
        if main is None:
            return False
        outermost = next(awaiting(main.get_coro()), None)
        runner: Any = outermost and outermost.f_locals.get("self")
        is_test = isinstance(runner, anyios.TestRunner)
        first = runner._runner_task if is_test else main  # noqa: SLF001 - anyio has no public name for it
        task, waiter = _who(first)
        self._told += 1
        if self._told <= TELLINGS and waiter is not None:
            waiter.set_exception(hung.with_traceback(None))
            return True
        for one in {task, first}:
            one._log_destroy_pending = False  # noqa: SLF001 - asyncio has no public name for it
            end(one.get_coro())
            asyncio._unregister_task(one)  # noqa: SLF001 - documented, for those who make tasks
        if is_test:
            runner._runner_task = None  # noqa: SLF001 - anyio has no public name for it
        return False


def _is_run(task: Any) -> bool:  # noqa: ANN401 - a task
    """Whether it is what the loop runs until it is complete."""
    stop = vars(asyncio.base_events)["_run_until_complete_cb"]
    return any(callback is stop for callback, _ in task._callbacks or ())  # noqa: SLF001 - asyncio has no public name for it


def _who(task: Any) -> tuple[Any, Any]:  # noqa: ANN401 - tasks
    """Of those whom a task waits for, the first that waits for a future; and that."""
    seen = set()
    while True:
        seen.add(task)
        waiter = task._fut_waiter  # noqa: SLF001 - asyncio has no public name for it
        below = [waiter] if isinstance(waiter, asyncio.Task) else _awaited(task, waiter)
        if not below:
            return task, waiter
        if below[0] in seen:
            return task, None  # they wait for each other
        task = below[0]


def _awaited(task: Any, waiter: Any) -> list[Any]:  # noqa: ANN401 - a task, a future
    """The tasks at whose end, in a group or a `gather`, it waits."""
    held = [getattr(waiter, "_children", ())]
    for frame in awaiting(task.get_coro()):
        if frame.f_code.co_name in _AT_THE_END:
            group: Any = getattr(frame.f_locals.get("self"), "_tasks", ())
            held.append(group.values() if hasattr(group, "values") else group)
    return [
        one for some in held[::-1] for one in some if isinstance(one, asyncio.Task) and not one.done()
    ]
