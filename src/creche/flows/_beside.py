"""A loop beside a plain function: how the body of a sync flow stays in its own thread.

What it is for: the body runs where it was called, so that the debugger, prints, Ctrl-C and objects that
belong to a thread behave; the loop with the runner runs in a helper thread until the body has ended.

What it does not know: flows, tasks; what the body does.

Invariant: when `run_beside` returns or raises, the loop has ended; unless a second Ctrl-C hits while it
is being waited for: it ends then as soon as its calls let it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from types import FrameType
from typing import Any, TypeVar, final

from creche._backend import Backend, Event
from creche._backends import variables_of_users
from creche._hosting import Run
from creche._keyed import KeyedTaskRunner
from creche._latch import Latch

from ._flow_run import FlowRun

T = TypeVar("T")

_BEGINS_WITHIN = 5.0
"""Seconds that a thread is given to begin, and to end at once, when Ctrl-C hit while it was started."""


def run_beside(
    name: str,
    runner: KeyedTaskRunner,
    backend: Backend,
    open_flow_run: Callable[[Run], FlowRun],
    body: Callable[[FlowRun], T],
) -> T:
    """Run a function in this thread, and a started runner on a loop in another.

    Args:
        name: what the flow is called.
        runner: not started yet.
        backend: whose loop to open.
        open_flow_run: makes the flow run; called on the loop.
        body: the function; it is handed the flow run to submit to.

    Returns:
        what the body returned, once every call has ended.

    Raises:
        BaseException: what the body raised, bare; a `KeyboardInterrupt` without waiting for calls in
            threads. Or what the runner raised.
    """
    beside = _Beside(name, runner, backend, open_flow_run)
    try:
        flow_run = beside.open()
        with beside.seen_in_body():
            value = body(flow_run)
        beside.end()
    except BaseException as exc:  # it comes out of the host, or here
        traceback = exc.__traceback__
        try:
            beside.end(exc)
        except KeyboardInterrupt as interrupt:
            if isinstance(exc, KeyboardInterrupt):
                beside.tell(exc)
            else:
                beside.end(interrupt)
            raise
        if beside.error is None or beside.error is exc or not isinstance(exc, Exception):
            # Bare, and as it was raised here: the host has raised it too.
            exc.__traceback__ = traceback
            raise
        raise beside.error from None
    if beside.error is not None:
        raise beside.error
    return value


def is_ending(frame: FrameType | None) -> bool:
    """Whether the body has ended, and its end is what a thread waits for.

    Args:
        frame: the innermost of the thread.
    """
    while frame is not None:
        if frame.f_code is _Beside.end.__code__:
            return True
        frame = frame.f_back
    return False


@final
class _Beside:
    """The helper thread with its loop."""

    def __init__(
        self,
        name: str,
        runner: KeyedTaskRunner,
        backend: Backend,
        open_flow_run: Callable[[Run], FlowRun],
    ) -> None:
        self._name = name
        self._runner = runner
        self._backend = backend
        self._open_flow_run = open_flow_run
        self._opened = Latch()
        self._ended = Latch()
        self._flow_run: FlowRun | None = None
        self._body_ended: Event | None = None
        self._body_raised: BaseException | None = None
        self._give_up: Callable[[], object] | None = None
        self._is_given_up = False
        self.error: BaseException | None = None
        # What the caller has set is seen on the loop, by instruments above all: the span of the run
        # belongs below that of the caller. Where the caller runs is not: the loop is another one.
        self._outside = variables_of_users(copy_context())
        self._inside: dict[ContextVar[Any], Any] = {}
        context = Context()
        for var, value in self._outside.items():
            context.run(var.set, value)
        # A daemon: an interpreter that exits after a second Ctrl-C does not wait for it.
        main = partial(context.run, self._main)
        self._thread = threading.Thread(target=main, name=f"creche flow {name}", daemon=True)

    def open(self) -> FlowRun:
        """Open the loop and the runner.

        Raises:
            BaseException: the runner failed to start.
        """
        self._thread.start()
        self._opened.wait()
        if self._flow_run is None:
            self._thread.join()
            assert self.error is not None
            raise self.error
        return self._flow_run

    @contextmanager
    def seen_in_body(self) -> Iterator[None]:
        """What is called in here sees what was set where the runner was opened, as in its block."""
        nothing = object()
        with ExitStack() as at_the_end:
            for var, value in self._inside.items():
                if value is not self._outside.get(var, nothing):
                    at_the_end.callback(var.reset, var.set(value))
            yield

    def end(self, exc: BaseException | None = None) -> None:
        """The body has ended, by an exception or not, or Ctrl-C came while it was being ended.

        The host leaves the runner as a body that ends, or raises, itself would; it decides what
        comes out in the end.
        """
        if exc is not None and self._flow_run is None:
            self._give_up_opening()
        if not self._has_begun():
            return
        self._opened.wait()
        self.tell(exc)
        # Not by `join` alone: after a Ctrl-C in it that one takes the thread for ended.
        self._ended.wait()
        self._thread.join()

    def tell(self, exc: BaseException | None) -> None:
        """Have the host end, of which nothing is waited for here; again is as once.

        All of it is one errand: Ctrl-C between two would leave a loop that nobody ever ends.
        """
        if self._flow_run is not None:
            self._flow_run.post(partial(self._end_host, exc))
        elif exc is not None:
            self._give_up_opening()

    def _give_up_opening(self) -> None:
        """While the runner starts, which may take as long as a place of it takes to open."""
        self._is_given_up = True
        if self._give_up is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._give_up()

    def _has_begun(self) -> bool:
        """Whether there is a thread: Ctrl-C may have come before there was one, or while it began.

        In the second case it is there soon, and listed by then; without a number while it begins. A
        list may name one that never begins, too, so that it is not waited for without end.
        """
        if self._thread.ident is not None:
            return True
        return self._thread in threading.enumerate() and self._ended.wait(_BEGINS_WITHIN)

    def _end_host(self, exc: BaseException | None) -> None:
        """On the loop: what the body raised ends the calls, and the end of the body ends the host."""
        assert self._flow_run is not None
        assert self._body_ended is not None
        if exc is not None:
            self._body_raised = exc
            interrupted = isinstance(exc, KeyboardInterrupt)
            what = "was interrupted" if interrupted else f"raised {type(exc).__name__}"
            self._flow_run.halt(
                interrupted=interrupted, reason=f"the body of flow {self._name!r} {what}"
            )
        self._flow_run.post(self._body_ended.set)  # after the halt, which is posted, too

    def _main(self) -> None:
        try:
            self._backend.run(self._host)
        except BaseException as exc:  # noqa: BLE001 - raised in the thread of the body
            self.error = exc
        finally:
            self._opened.set()
            self._ended.set()

    async def _host(self) -> Any:  # noqa: ANN401 - nothing
        scope = self._backend.open_scope()
        self._give_up = partial(self._backend.poster(), scope.cancel)
        if self._is_given_up:
            return
        with scope, ExitStack() as at_the_end:
            async with self._runner.start():
                assert self._runner._run is not None  # noqa: SLF001 - the flow layer drives the run
                flow_run = self._open_flow_run(self._runner._run)  # noqa: SLF001 - a flow runs on the run of its runner
                at_the_end.callback(flow_run.close)
                self._body_ended = self._backend.make_event()
                self._inside = variables_of_users(copy_context())
                self._flow_run = flow_run
                self._opened.set()
                # Whatever ends the run before its time, it is left when the body has ended.
                with self._backend.open_scope(shield=True):
                    await self._body_ended.wait()
                self._raise_what_the_body_raised()

    def _raise_what_the_body_raised(self) -> None:
        if self._body_raised is not None:
            raise self._body_raised
