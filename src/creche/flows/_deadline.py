"""The time that one run of a flow has.

What it is for: when it is up, what is left of the flow is cut, and its keys are noted.

What it does not know: what is made of that in the end.

Invariant: it never keeps a run from ending: nothing is left of it once `end` was called, or the run has
drained.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import copy_context
from typing import final

from creche._backend import Event
from creche._ki import protected
from creche._spelling import spell

from ._flow_run import FlowRun

_TASK_NAME = "creche flow timeout"


@final
class Deadline:
    """The timeout of one run of a flow.

    Attributes:
        keys: of the calls that were cut, in the order of their submission; `None` while time is left.
    """

    def __init__(self, flow_run: FlowRun, seconds: float) -> None:
        self.keys: tuple[Hashable, ...] | None = None
        self._flow_run = flow_run
        self._seconds = seconds
        self._ended: Event | None = None

    def start(self) -> None:
        """Let the time run from now on; from any thread."""
        self._flow_run.ask(self._start)

    def _start(self) -> None:
        run = self._flow_run.run
        self._ended = run.backend.make_event()
        if not self._flow_run.is_branch:
            run.when_drained = self._end
        run.start_soon(copy_context(), self._watch, run.backend.current_time(), _TASK_NAME)

    def end(self) -> None:
        """The flow has ended; from any thread."""
        self._flow_run.post(self._end)

    def _end(self) -> None:
        if self._ended is not None:
            self._ended.set()

    @protected
    async def _watch(self, began: float) -> None:
        assert self._ended is not None
        flow_run = self._flow_run
        with flow_run.run.backend.open_scope(deadline=began + self._seconds):
            await self._ended.wait()
        if not self._ended.is_set():
            why = (
                f"flow {spell(flow_run.key)} has not ended within its timeout of {self._seconds} seconds"
            )
            self.keys = flow_run.cut(why)
