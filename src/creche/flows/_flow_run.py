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
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import count
from traceback import format_exception_only
from typing import Any, final

from creche._call import Call, is_async_callable, read_call
from creche._carriers import Carriers
from creche._hosting import Run
from creche._portal import Portal
from creche._slot import Slot
from creche._states import Origin, State

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
        one_by_one: whether its runner is a sequential one.
    """

    def __init__(self, name: str, run: Run, *, one_by_one: bool) -> None:
        self.name = name
        self.one_by_one = one_by_one
        self._run = run
        self._home = threading.get_ident()
        self._portal = Portal(run.backend.poster())
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(count)
        self._numbering = threading.Lock()
        self._news: deque[Callable[[], object]] = deque()
        self._is_telling = False

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
        if self.one_by_one and not self.on_loop:
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
        call = read_call(partial(_plain_body, fn, *with_values(arguments)), ())
        slot = self._run.claim(key, call)
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

    def follow(self, fn: Callable[[], object]) -> None:
        """Do what follows from a task's end; one after another, however long a chain of tasks is.

        Args:
            fn: what to do, on the loop's thread; it may settle further tasks.
        """
        self._news.append(fn)
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._news:
                self._news.popleft()()
        finally:
            self._is_telling = False

    def close(self) -> None:
        """The run is over; on the loop's thread."""
        self._portal.close()

    def _halt(self, *, interrupted: bool, reason: str) -> None:
        if interrupted:
            self._run.performer.abandon_threads()
        self._run.halting.halt("outer" if interrupted else "closed", reason)

    def _submit(self, key: str, fn: Callable[..., Any], arguments: Arguments) -> Slot[Any]:
        upstream = dict.fromkeys(slots_in(arguments))
        body = partial(_async_body if is_async_callable(fn) else _plain_body, fn)
        if not upstream:
            return self._start(key, read_call(body, arguments))
        slot = self._run.claim(key, None)
        _Dependent(self, slot, body, arguments, len(upstream)).wait_for(upstream)
        return slot

    def fill(self, slot: Slot[Any], body: Callable[..., Any], arguments: Arguments) -> None:
        """Submit the call of a task whose dependencies have all completed."""
        if not slot.done:
            is_async = is_async_callable(body)
            late = partial(_with_values_async if is_async else _with_values, body)
            self._start(slot.key, read_call(late, arguments))

    def _start(self, key: Hashable, call: Call) -> Slot[Any]:
        if not (self.one_by_one and IN_TASK.get()):
            return self._run.submit(key, call)
        # A task that submits another under a sequential runner waits for it, and has the only place.
        slot = self._run.claim(key, call)
        self._run.carriers.start_at_once(slot, call)
        return slot

    def hold(self, guest: Slot[Any]) -> _Hold | None:
        """Let the flow's exit wait for a slot of another run, while that is open."""
        return None if guest.done or guest.home is self._run.home else _Hold(self._run.carriers)

    def drop(self, slot: Slot[Any], upstream: Slot[Any]) -> None:
        """Cancel a task that depends on one which did not complete."""
        if not slot.done:
            why = f"{upstream.key!r}, which it depends on, is {upstream.state.name}"
            error = upstream.peek_error()
            if error is not None:
                # Not by `str`, which of a user's exception may fail.
                why += f" ({format_exception_only(error)[-1].strip()})"
            elif upstream.origin == "upstream":
                why = upstream.reason or why  # the root of it, not the whole chain
            self._run.cancel(slot, "upstream", why)


@final
class _Dependent:
    """A task that waits for others, as a reservation: it holds no place."""

    def __init__(
        self,
        flow_run: FlowRun,
        slot: Slot[Any],
        body: Callable[..., Any],
        arguments: Arguments,
        missing: int,
    ) -> None:
        self._flow_run = flow_run
        self._slot = slot
        self._body = body
        self._arguments = arguments
        self._missing = missing
        # The call is submitted by whoever settles the last dependency, but its context is ours.
        self._context = copy_context()

    def wait_for(self, upstream: dict[Slot[Any], None]) -> None:
        for slot in upstream:
            slot.add_done_callback(partial(self._one_settled, self._flow_run.hold(slot)))

    def _one_settled(self, hold: _Hold | None, upstream: Slot[Any]) -> None:
        follow = partial(self._flow_run.follow, partial(self._count, hold, upstream))
        if self._flow_run.on_loop:
            follow()
        else:  # a slot of another run, whose loop is another thread's
            self._flow_run.post(follow)

    def _count(self, hold: _Hold | None, upstream: Slot[Any]) -> None:
        self._missing -= 1
        if upstream.state is not State.COMPLETED:
            self._flow_run.drop(self._slot, upstream)
        elif self._missing == 0:
            self._context.run(self._flow_run.fill, self._slot, self._body, self._arguments)
        if hold is not None:
            hold.let_go()


@final
class _Hold:
    """Holds the exit of a flow's run open for a slot of another run."""

    def __init__(self, carriers: Carriers) -> None:
        self._carriers = carriers
        self._held = True
        carriers.hold_open(self)

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The run is halted, and does not wait for others."""
        del origin, reason
        self.let_go()

    def let_go(self) -> None:
        if self._held:
            self._held = False
            self._carriers.let_go(self)


def _with_values(body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    """A body whose arguments have slots among them, all settled when it is called."""
    return body(*with_values((args, kwargs)))


async def _with_values_async(
    body: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # noqa: ANN401
    return await body(*with_values((args, kwargs)))


def _plain_body(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    token = IN_TASK.set(True)
    try:
        return fn(*args, **kwargs)
    finally:
        IN_TASK.reset(token)


async def _async_body(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    IN_TASK.set(True)
    return await fn(*args, **kwargs)
