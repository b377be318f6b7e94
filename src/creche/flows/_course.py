"""One call of a flow: how it begins, and what is told of its end.

What it is for: what sync and async flows have in common, with a runner of their own and with that of the
flow around them: the prefix of the keys, the time that there is, prints, hooks.

What it does not know: how a loop is opened, or a body called.

Invariant: every call of a flow ends by `returned` or by `failed`, which tell the hooks once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

from outcome import Error, Outcome, Value

from creche._capture import split
from creche._errors import CallCancelled, FlowTimedOut
from creche._hosting import Run
from creche._states import State

from ._bodies import IN_TASK
from ._deadline import Deadline
from ._flow_run import CURRENT, FlowRun
from ._hooks import FlowEnd, HookCaller
from ._options import FlowWays
from ._prints import printing_as, prints_logged

NOTHING: Any = object()
"""What a flow has given whose body was cut."""


@final
class Course:
    """One call of a flow."""

    def __init__(self, flow: object, ways: FlowWays, outer: FlowRun | None) -> None:
        """Begin it.

        Args:
            flow: for its hooks.
            ways: how it runs.
            outer: the run of the flow that it is called in.
        """
        self.outer = outer
        self._flow = flow
        self._ways = ways
        self._prefix = "" if outer is None else outer.prefix_for(ways.name)
        self._key = self._prefix.removesuffix("/") or ways.name
        self._log_prints = ways.log_prints
        if self._log_prints is None:
            self._log_prints = outer is not None and outer.log_prints
        self._flow_run: FlowRun | None = None
        self._deadline: Deadline | None = None
        self._stopped_by: str | None = None

    def open(self, run: Run, *, one_by_one: bool) -> FlowRun:
        """The flow run, on a run of its own; on the loop of that.

        Args:
            run: open.
            one_by_one: whether a submit waits for its call.

        Returns:
            the flow run.
        """
        flow_run = FlowRun(
            self._ways.name,
            run,
            one_by_one=one_by_one,
            prefix=self._prefix,
            log_prints=bool(self._log_prints),
        )
        self._begin(flow_run)
        return flow_run

    def make_branch(self) -> FlowRun:
        """The flow run, on the run of the flow around it.

        Returns:
            the flow run; `open_branch` and `close_branch` it.
        """
        assert self.outer is not None
        return self.outer.branch(self._ways.name, self._prefix, log_prints=bool(self._log_prints))

    def open_branch(self, flow_run: FlowRun) -> None:
        """Begin a branch; from any thread.

        Args:
            flow_run: what `make_branch` gave.

        Raises:
            RunnerClosed: the flow around it has ended, or is ending.
        """
        assert self.outer is not None
        self.outer.adopt(flow_run)
        self._begin(flow_run)

    def close_branch(self, flow_run: FlowRun) -> None:
        """All of it has ended, or it was not begun."""
        assert self.outer is not None
        if self._deadline is not None:
            self._deadline.end()
        self.outer.release(flow_run)

    def stop(self, reason: str) -> None:
        """End it before its time; from any thread, also before it has begun.

        Args:
            reason: why, as a sentence.
        """
        self._stopped_by = reason
        if self._flow_run is not None:
            self._flow_run.cancel("outer", reason)

    def prints(self) -> AbstractContextManager[None]:
        """Open as long as what is printed in it is to go to the log."""
        return prints_logged() if self._log_prints else nullcontext()

    @contextmanager
    def body(self, flow_run: FlowRun) -> Iterator[None]:
        """What is called in here is the body of the flow."""
        outer = None if flow_run.is_branch else self.outer
        try:
            if outer is not None:
                outer.adopt(flow_run)
            current, in_task = CURRENT.set(flow_run), IN_TASK.set("")
            try:
                with printing_as(self._key if self._log_prints else None):
                    yield
            finally:
                IN_TASK.reset(in_task)
                CURRENT.reset(current)
        finally:
            if outer is not None:
                outer.release(flow_run)

    def returned(self, value: Any) -> Any:  # noqa: ANN401 - whatever it is
        """The body has returned, or was cut, and every task has ended.

        Args:
            value: what it returned; `NOTHING` if it was cut.

        Returns:
            the value.

        Raises:
            FlowTimedOut: the time of the flow was up before.
            CallCancelled: the flow around it has ended it.
        """
        error: Exception | None = self._timed_out()
        if error is None and value is NOTHING:
            error = CallCancelled(self._key, "closed", self._why_ended() or "its runner was closing")
            self._tell(State.CANCELLED, Error(error))
        elif error is not None:
            self._tell(State.FAILED, Error(error))
        else:
            self._tell(State.COMPLETED, Value(value))
            return value
        raise error

    def failed(self, exc: BaseException) -> None:
        """Something came out of the flow, and every task has ended.

        Args:
            exc: what did; the caller raises it again.

        Raises:
            FlowTimedOut: instead, since the time of the flow was up before.
        """
        is_cancellation = False
        if self._flow_run is not None:
            is_cancellation = split(exc, self._flow_run.run.backend.cancelled)[1] is None
        if is_cancellation:  # never a loop's own: it is valid there only
            cancelled = CallCancelled(self._key, "outer", "a scope around the flow was cancelled")
            self._tell(State.CANCELLED, Error(cancelled))
            return
        error = self._timed_out() if isinstance(exc, Exception) else None
        if error is not None:
            self._tell(State.FAILED, Error(error))
            raise error from exc
        state = State.FAILED if isinstance(exc, Exception) else State.CRASHED
        if state is State.FAILED and self._why_ended() is not None:
            state = State.CANCELLED
        self._tell(state, Error(exc))

    def _begin(self, flow_run: FlowRun) -> None:
        self._flow_run = flow_run
        if self._ways.timeout is not None:
            self._deadline = Deadline(flow_run, self._ways.timeout)
            self._deadline.start()
        if self._stopped_by is not None:
            flow_run.cancel("outer", self._stopped_by)

    def _timed_out(self) -> FlowTimedOut | None:
        if self._deadline is None or self._deadline.keys is None or self._ways.timeout is None:
            return None
        return FlowTimedOut(self._key, self._ways.timeout, self._deadline.keys)

    def _why_ended(self) -> str | None:
        return None if self._flow_run is None else self._flow_run.ended_by

    def _tell(self, state: State, outcome: Outcome[Any]) -> None:
        if self._ways.hooks:
            end = FlowEnd(self._key, state, outcome)
            HookCaller().tell(self._ways.hooks, self._flow, end, state)
