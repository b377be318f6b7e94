"""A loop beside a plain function: how the body of a sync flow stays in its own thread.

What it is for: the body runs where it was called, so that the debugger, prints, Ctrl-C and objects that
belong to a thread behave; the loop with the runner runs in a helper thread until the body has ended.

What it does not know: flows, tasks; what the body does.

Invariant: when `run_beside` returns or raises, the loop has ended; unless a second Ctrl-C hits while it
is being waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, final

from creche._backend import Backend, Event
from creche._base import TaskConcurrencyType
from creche._keyed import KeyedTaskRunner
from creche._latch import Latch

from ._flow_run import FlowRun

T = TypeVar("T")


def run_beside(
    name: str,
    runner: KeyedTaskRunner,
    backend: Backend,
    body: Callable[[FlowRun], T],
) -> T:
    """Run a function in this thread, and a started runner on a loop in another.

    Args:
        name: what the flow is called.
        runner: not started yet.
        backend: whose loop to open.
        body: the function; it is handed the flow run to submit to.

    Returns:
        what the body returned, once every call has ended.

    Raises:
        BaseException: what the body raised, bare; a `KeyboardInterrupt` without waiting for calls in
            threads. Or what the runner raised.
    """
    beside = _Beside(name, runner, backend)
    try:
        value = body(beside.open())
        beside.end()
    except BaseException as exc:  # it comes out of the host, or here
        traceback = exc.__traceback__
        try:
            beside.end(exc)
        except KeyboardInterrupt as interrupt:
            if not isinstance(exc, KeyboardInterrupt):
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


@final
class _Beside:
    """The helper thread with its loop."""

    def __init__(self, name: str, runner: KeyedTaskRunner, backend: Backend) -> None:
        self._name = name
        self._runner = runner
        self._backend = backend
        self._opened = Latch()
        self._ended = Latch()
        self._flow_run: FlowRun | None = None
        self._body_ended: Event | None = None
        self._body_raised: BaseException | None = None
        self.error: BaseException | None = None
        # A daemon: an interpreter that exits after a second Ctrl-C does not wait for it.
        self._thread = threading.Thread(target=self._main, name=f"creche flow {name}", daemon=True)

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

    def end(self, exc: BaseException | None = None) -> None:
        """The body has ended, by an exception or not, or Ctrl-C came while it was being ended.

        The host leaves the runner as a body that ends, or raises, itself would; it decides what
        comes out in the end.
        """
        if self._thread.ident is None:
            return  # Ctrl-C came before there was a thread
        self._opened.wait()
        if self._flow_run is not None and self._body_ended is not None:
            if exc is not None:
                self._body_raised = exc
                interrupted = isinstance(exc, KeyboardInterrupt)
                what = "was interrupted" if interrupted else f"raised {type(exc).__name__}"
                self._flow_run.halt(
                    interrupted=interrupted, reason=f"the body of flow {self._name!r} {what}"
                )
            self._flow_run.post(self._body_ended.set)
        # Not by `join` alone: after a Ctrl-C in it that one takes the thread for ended.
        self._ended.wait()
        self._thread.join()

    def _main(self) -> None:
        try:
            self._backend.run(self._host)
        except BaseException as exc:  # noqa: BLE001 - raised in the thread of the body
            self.error = exc
        finally:
            self._opened.set()
            self._ended.set()

    async def _host(self) -> Any:  # noqa: ANN401 - nothing
        with ExitStack() as at_the_end:
            async with self._runner.start():
                assert self._runner._run is not None  # noqa: SLF001 - the flow layer drives the run
                flow_run = FlowRun(
                    self._name,
                    self._runner._run,  # noqa: SLF001
                    one_by_one=self._runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL,
                )
                at_the_end.callback(flow_run.close)
                self._body_ended = self._backend.make_event()
                self._flow_run = flow_run
                self._opened.set()
                # Whatever ends the run before its time, it is left when the body has ended.
                with self._backend.open_scope(shield=True):
                    await self._body_ended.wait()
                self._raise_what_the_body_raised()

    def _raise_what_the_body_raised(self) -> None:
        if self._body_raised is not None:
            raise self._body_raised
