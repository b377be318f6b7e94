"""`ConcurrentTaskRunner`: calls run beside each other on the loop, plain ones in threads.

What it does not know: how; it is all the run's. What is its own is the signature of its settings and
of `submit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar, TypeVarTuple, final

from creche._base import TaskConcurrencyType
from creche._events import Instrument
from creche._limits import Limit, Limiter
from creche._options import NO_LIMITS, read_options
from creche._queueing import QueueingTaskRunner
from creche._rates import Rate

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class ConcurrentTaskRunner(QueueingTaskRunner):
    """Runs calls beside each other: async ones on the loop, plain ones in worker threads."""

    def __init__(
        self,
        max_workers: int | None = None,
        max_pending: int | None = None,
        *,
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
            max_workers: how many calls run at once; `None` for no limit on the loop, and 40 threads
                (what trio and anyio allow by default) for plain ones. A call that waits for another
                one lends its place meanwhile.
            max_pending: how many calls may wait for a place, 0 or more; `None` for no limit. While as
                many do, `submit` waits, in turn, and `submit_nowait` raises `RunnerFull`, unless the
                call can start at once. What is held by `after`, or only reserved, does not count.
            on_error: `"collect"`: a call that fails stops nobody, and failures that nobody has read
                are logged once at the exit. `"cancel"`: the first failure cancels the rest, and
                `start()` raises an `ExceptionGroup` of all failures, each noted with its key.
            retain: whether settled calls stay on the board. With False a key is free again as soon
                as its call has ended; slots at hand go on working.
            ageing: after how many seconds of waiting a call gains one point of priority, so that none is
                passed over for ever; `None`: never.
            grace: how many seconds the calls that run get to end by themselves when a scope around the
                runner is cancelled, or by Ctrl-C, counted once for all from when that is seen; nothing
                new starts meanwhile. A second Ctrl-C, and a body that raises, cut it short. `None`: as
                long as they need. Calls do not see the deadlines of scopes around the runner then.
            limits: what calls may need beside a place, by names that `submit` is given: how many calls
                have it at once; or a `trio.CapacityLimiter` or `anyio.CapacityLimiter`, which is shared
                with other code; or a `Rate`; or a `Limit`, of a size and a rate. They are not lent by
                calls that wait.
            rate: how many calls start in a time: a `Rate`, or a number of starts in a second; `None` for
                no limit.
            instruments: who is told what happens; see `creche.instruments.Instrument`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: `max_workers` or a limit is less than 1, `max_pending` or `grace` is negative,
                `on_error` is neither of the two, or `ageing` or a rate is not more than 0.
        """
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
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`CONCURRENT`."""
        return TaskConcurrencyType.CONCURRENT
