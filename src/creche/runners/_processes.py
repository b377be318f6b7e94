"""`ProcessTaskRunner`: every call runs in a worker process, which can be stopped.

What it does not know: processes; those are the affair of `creche.places.ProcessPlace`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Literal, final

from creche._base import TaskConcurrencyType
from creche._events import Instrument
from creche._limits import Limit, Limiter
from creche._options import NO_LIMITS, read_options
from creche._queueing import QueueingTaskRunner
from creche._rates import Rate


@final
class ProcessTaskRunner(QueueingTaskRunner):
    """Runs every call in one of a number of worker processes (extra ``creche[process]``).

    Functions, arguments, results and exceptions travel by cloudpickle: lambdas, closures and what is
    defined in ``__main__`` as well; async callables run there on a loop of the kind of the runner's.

    A call that is cancelled, whose time has passed, or whose runner closes is stopped: its worker is
    killed, waited for and replaced, also out of code that never returns. What kills a worker costs the
    call in it and no other: that one is CRASHED with a `CallCrashed`. No worker outlives the runner, or
    the process that it was started in.
    """

    def __init__(  # noqa: PLR0913 - its settings
        self,
        max_workers: int | None = None,
        max_calls: int | None = None,
        initializer: Callable[[], object] | None = None,
        prewarm: int = 0,
        kill_grace: float = 0,
        batch: Literal["auto"] | int = "auto",
        context: Iterable[ContextVar[Any]] = (),
        *,
        max_pending: int | None = None,
        on_error: Literal["collect", "cancel"] = "collect",
        retain: bool = True,
        ageing: float | None = None,
        grace: float | None = 0,
        limits: Mapping[str, int | Limiter | Rate | Limit] = NO_LIMITS,
        rate: Rate | float | None = None,
        instruments: Iterable[Instrument] = (),
    ) -> None:
        """Set a runner up; no process is started.

        Args:
            max_workers: how many processes, which is how many calls run at once; `None` for as many as
                the machine has processors that this process may use.
            max_calls: after how many calls a worker is replaced; `None` for never.
            initializer: called once in each worker before its first call; one that raises makes the
                start of the runner fail with that.
            prewarm: how many workers are started with the runner; the others when they are needed.
            kill_grace: how many seconds a worker has after SIGTERM before it is killed; at 0 it is
                killed at once.
            batch: how many small calls are sent to a worker at once: `"auto"` for as many as pays, never
                more than one that takes long; a number, at most that many; 1 for no batches. While calls
                are batched more of them are RUNNING than there are workers.
            context: context variables, of modules, whose values travel along with each call.
            max_pending: how many calls may wait for a place; see `ConcurrentTaskRunner`.
            on_error: `"collect"` or `"cancel"`; see `ConcurrentTaskRunner`. A crash counts as a failure.
            retain: whether settled calls stay on the board.
            ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
            grace: how many seconds running calls get when the run is cancelled from outside; `None`: as
                long as they need.
            limits: what calls may need beside a process, by name; see `ConcurrentTaskRunner`.
            rate: how many calls start in a time; `None` for no limit.
            instruments: who is told what happens; see `creche.instruments.Instrument`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: a number is too small, `on_error` is neither of the two, or one of `context` is
                no variable of a module.
            ImportError: cloudpickle is not installed.
        """
        # Not at the top: a program that starts no processes need not load what they need.
        place = importlib.import_module("creche.places").ProcessPlace(
            max_workers=max_workers,
            max_calls=max_calls,
            initializer=initializer,
            prewarm=prewarm,
            kill_grace=kill_grace,
            batch=batch,
            context=context,
        )
        self._options = read_options(
            max_workers=place.capacity,
            max_pending=max_pending,
            on_error=on_error,
            retain=retain,
            ageing=ageing,
            grace=grace,
            limits=limits,
            rate=rate,
            instruments=instruments,
            place=place,
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`PARALLEL`."""
        return TaskConcurrencyType.PARALLEL
