"""One run of a flow: where its tasks go, under which keys.

What it is for: the tasks of a flow ask the present `FlowRun` to submit them. It gives out readable keys
that are the same from run to run, and lets a task that has slots among its arguments wait for them
without occupying a place.

What it does not know: decorators, how the loop was opened.

Invariant: a task whose dependency did not complete never runs: it is CANCELLED with origin
`upstream`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any, final

from creche._call import is_async_callable, read_call
from creche._hosting import Run
from creche._portal import Portal
from creche._slot import Slot

from ._arguments import slots_in, with_values

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

CURRENT: ContextVar[FlowRun | None] = ContextVar("creche flow run", default=None)
"""The flow run that the present code belongs to."""

IN_TASK: ContextVar[bool] = ContextVar("creche in task", default=False)
"""Whether the present code is the body of a task."""


@final
class FlowRun:
    """One run of a flow; made on the thread of its loop.

    Attributes:
        name: the flow's.
    """

    def __init__(self, name: str, run: Run, *, one_by_one: bool) -> None:
        self.name = name
        self._one_by_one = one_by_one
        self._run = run
        self._home = threading.get_ident()
        self._portal = Portal(run.backend.poster())
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(count)
        self._numbering = threading.Lock()

    @property
    def on_loop(self) -> bool:
        """Whether the present code runs on the loop's thread, which it must not block."""
        return threading.get_ident() == self._home

    def submit(self, name: str, fn: Callable[..., Any], arguments: Arguments) -> Slot[Any]:
        """Submit a task from any thread; without waiting, on the loop's own.

        Args:
            name: the task's.
            fn: its function.
            arguments: positional and keyword ones; slots among them are dependencies.

        Returns:
            the slot.

        Raises:
            RunnerClosed: the flow has ended, or is ending.
        """
        with self._numbering:
            key = f"{name}[{next(self._numbers[name])}]"
        slot = self._portal.call(partial(self._submit, key, fn, arguments))
        if self._one_by_one and not self.on_loop:
            slot.block(None)
        return slot

    def run_inline(self, name: str, fn: Callable[..., Any], arguments: Arguments) -> Any:  # noqa: ANN401
        """Run a plain task on the loop's thread, recorded under its key.

        Args:
            name: the task's.
            fn: its function.
            arguments: positional and keyword ones; the slots among them have settled.

        Returns:
            what it returned.

        Raises:
            BaseException: what it raised.
        """
        key = f"{name}[{next(self._numbers[name])}]"
        call = read_call(partial(_plain_body, fn), with_values(arguments))
        slot = self._run.intake.claim(key, call)
        self._run.performer.perform_inline(slot, call)
        return slot.result()

    async def call(self, slot: Slot[Any]) -> Any:  # noqa: ANN401
        """Wait for a task as for a function: cancelled, it cancels the task."""
        return await self._run.call(slot)

    def halt(self, *, interrupted: bool, reason: str) -> None:
        """From any thread: drop what is pending, cancel what runs.

        Args:
            interrupted: by Ctrl-C, which does not wait for threads either.
            reason: why, as a sentence.
        """
        self._portal.post(partial(self._halt, interrupted=interrupted, reason=reason))

    def post(self, fn: Callable[[], object]) -> None:
        """From any thread: have a function called on the loop soon."""
        self._portal.post(fn)

    def close(self) -> None:
        """The run is over; on the loop's thread."""
        self._portal.close()

    def _halt(self, *, interrupted: bool, reason: str) -> None:
        if interrupted:
            self._run.performer.abandon_threads()
        self._run.halting.halt("outer" if interrupted else "closed", reason)

    def _submit(self, key: str, fn: Callable[..., Any], arguments: Arguments) -> Slot[Any]:
        upstream = list(slots_in(arguments))
        body = partial(_async_body if is_async_callable(fn) else _plain_body, fn)
        # A task that submits another under a sequential runner waits for it, and has the only place.
        at_once = self._run.carriers.start_at_once if self._one_by_one and IN_TASK.get() else None
        return self._run.intake.submit(key, read_call(body, arguments), upstream, ready=at_once)


def _plain_body(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    """A plain task; by the time it is called, the slots among its arguments have settled."""
    token = IN_TASK.set(True)
    try:
        args, kwargs = with_values((args, kwargs))
        return fn(*args, **kwargs)
    finally:
        IN_TASK.reset(token)


async def _async_body(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    IN_TASK.set(True)
    args, kwargs = with_values((args, kwargs))
    return await fn(*args, **kwargs)
