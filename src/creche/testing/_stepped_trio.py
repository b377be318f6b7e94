"""A trio run that goes on only when it is told to, and stands still in between.

What it is for: state machines, each step of which is a piece of one run. It is trio's guest mode with
a host that has nothing else to do.

What it does not know: what is run.

Invariant: between two calls of `advance` no task takes a step and virtual time does not pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, final

import trio
from outcome import Error, Outcome

from ._clock import PASSES, HungError
from ._on_trio import as_task, ordered
from ._stage import Chance
from ._trio_clock import VirtualClock, abandon, runner_here


@final
class SteppedTrio:
    """One run of trio's."""

    cancelled: type[BaseException] = trio.Cancelled

    def __init__(
        self, main: Callable[[], Awaitable[None]], chance: Chance | None, *, virtual: bool
    ) -> None:
        self._chance = chance
        self._clock = VirtualClock() if virtual else None
        if self._clock is not None:
            self._clock.tells_tasks = False
        self._ticks: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._ended: Outcome[Any] | None = None
        self._task: trio.lowlevel.Task | None = None
        self._parked = False

        async def main_() -> None:
            self._task = trio.lowlevel.current_task()
            await main()

        main_.__qualname__ = "main"
        trio.lowlevel.start_guest_run(
            main_, run_sync_soon_threadsafe=self._ticks.put, done_callback=self._done, clock=self._clock
        )
        self._runner = runner_here()

    def _done(self, how: Outcome[Any]) -> None:
        self._ended = how

    async def park(self) -> None:
        """In `main`: let the run stand still as soon as those have had their turn who have it now."""
        self._parked = True
        if self._clock is not None:
            self._clock.time.held = True
        # A cancellation that comes meanwhile is seen at the next checkpoint.
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    def advance(self) -> None:
        """Let the run go on until `main` parks, or the end.

        Raises:
            HungError: neither happens, or not within 200,000 passes of the loop.
        """
        __tracebackhide__ = True
        if self._clock is not None:
            self._clock.time.allow(PASSES)
        if self._parked and self._task is not None:
            self._parked = False
            if self._clock is not None:
                self._clock.time.held = False
            trio.lowlevel.reschedule(self._task)
        with ordered(self._chance):
            while not self._parked and self._ended is None:
                self._ticks.get()()
        if isinstance(self._ended, Error):
            cause = self._ended.error.__cause__
            if not isinstance(cause, HungError):  # pragma: no cover - a fault of ours, or of trio's
                self._ended.unwrap()
            abandon(self._runner)
            raise cause.with_traceback(None) from None

    def call(self, fn: Callable[[], Any]) -> Any:  # noqa: ANN401 - what it returns
        """Call a plain function as if `main` called it, while the run stands still."""
        __tracebackhide__ = True
        assert self._task is not None
        with as_task(self._task):
            return self._task.context.run(fn)

    def is_main(self) -> bool:
        """Whether the task that runs is `main`."""
        return trio.lowlevel.current_task() is self._task

    def close(self) -> None:
        """Nothing is left of a run that has ended."""
