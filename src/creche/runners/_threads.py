"""`ThreadTaskRunner`: every call runs in a thread.

What it does not know: how; a plain call of any runner does. What is its own is that async ones do, too,
the number of threads, and whether a thread is waited for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Literal, final

from creche._base import TaskConcurrencyType
from creche._events import Instrument
from creche._keyed import DEFAULT_THREADS
from creche._limits import Limit, Limiter
from creche._options import NO_LIMITS, read_options
from creche._queueing import QueueingTaskRunner
from creche._rates import Rate

_THREADS = "threads"


@final
class ThreadTaskRunner(QueueingTaskRunner):
    """Runs every call in a worker thread, async ones on a loop of their own there.

    A thread carries out one call after another, has the key of its call in its name, sees a copy of the
    submitter's context variables, and reaches the runner's loop by `runner.from_thread`,
    `trio.from_thread` and `anyio.from_thread`. With the runner they go back, idle, to the loop's own
    worker threads, which end when nothing has needed them for ten seconds, or with the loop. They are
    daemon threads.

    A thread cannot be stopped. A plain call that is cancelled is waited for, and so is it at the exit of
    the runner; it learns of it by `check_cancelled`. With `abandon_on_cancel` it ends at once instead
    and leaves its thread to itself: what that still does is lost. A thread that was left and still runs
    when the runner has been left is told of by a warning that names the key, and does not keep the
    interpreter from ending. Async calls are cancelled at their next ``await``.
    """

    def __init__(
        self,
        max_workers: int | None = DEFAULT_THREADS,
        max_pending: int | None = None,
        *,
        abandon_on_cancel: bool = False,
        limiter: Limiter | None = None,
        on_error: Literal["collect", "cancel"] = "collect",
        retain: bool = True,
        ageing: float | None = None,
        grace: float | None = 0,
        limits: Mapping[str, int | Limiter | Rate | Limit] = NO_LIMITS,
        rate: Rate | float | None = None,
        instruments: Iterable[Instrument] = (),
    ) -> None:
        """Set a runner up; nothing is started.

        Args:
            max_workers: how many threads, which is how many calls run at once: 40 by default, as trio
                and anyio have it; `None` for as many as there are calls. A call that waits for another
                one lends its place meanwhile, and keeps its thread.
            max_pending: how many calls may wait for a place; see `ConcurrentTaskRunner`.
            abandon_on_cancel: whether a plain call that is cancelled ends at once, and leaves its thread
                to itself.
            limiter: a `trio.CapacityLimiter` or `anyio.CapacityLimiter`, of which every call takes a
                token: to share a number of threads with other code. `None` for none.
            on_error: `"collect"` or `"cancel"`; see `ConcurrentTaskRunner`.
            retain: whether settled calls stay on the board.
            ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
            grace: how many seconds running calls get when the run is cancelled from outside; `None`: as
                long as they need.
            limits: what calls may need beside a thread, by name; see `ConcurrentTaskRunner`.
            rate: how many calls start in a time; `None` for no limit.
            instruments: who is told what happens; see `creche.instruments.Instrument`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: `max_workers` or a limit is less than 1, `max_pending` or `grace` is negative,
                `on_error` is neither of the two, or `ageing` or a rate is not more than 0; or `limits`
                has one of the name `"threads"` beside a `limiter`.
        """
        if limiter is not None and not isinstance(limiter, Limiter):
            msg = f"limiter must be a trio.CapacityLimiter or anyio.CapacityLimiter, not {limiter!r}"
            raise TypeError(msg)
        if limiter is not None and isinstance(limits, Mapping):
            if _THREADS in limits:
                msg = f"limit {_THREADS!r} is the name of the limiter; call the other one differently"
                raise ValueError(msg)
            limits = {**limits, _THREADS: limiter}
        self._options = read_options(
            max_workers=max_workers,
            max_pending=max_pending,
            on_error=on_error,
            retain=retain,
            ageing=ageing,
            grace=grace,
            limits=limits,
            rate=rate,
            instruments=instruments,
            place="thread",
            needs=() if limiter is None else (_THREADS,),
            abandon_on_cancel=abandon_on_cancel,
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`CONCURRENT`."""
        return TaskConcurrencyType.CONCURRENT

    @property
    def _threads(self) -> int:
        return self._workers or sys.maxsize
