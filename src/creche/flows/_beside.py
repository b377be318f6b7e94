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
from typing import Any, TypeVar, final

from creche._backend import Backend, Event
from creche._base import TaskConcurrencyType
from creche._keyed import KeyedTaskRunner

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
    flow_run = beside.open()
    try:
        value = body(flow_run)
    except BaseException as exc:
        interrupted = isinstance(exc, KeyboardInterrupt)
        flow_run.halt(
            interrupted=interrupted,
            reason=f"the body of flow {name!r} "
            + ("was interrupted" if interrupted else f"raised {type(exc).__name__}"),
        )
        beside.close()
        if beside.error is not None and beside.error is not exc:
            raise beside.error  # noqa: B904 - the body's is its context already
        raise
    beside.close()
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
        self._opened = threading.Event()
        self._flow_run: FlowRun | None = None
        self._body_ended: Event | None = None
        self.error: BaseException | None = None
        # A daemon: an interpreter that exits after a second Ctrl-C does not wait for it.
        self._thread = threading.Thread(target=self._main, name=f"creche flow {name}", daemon=True)

    def open(self) -> FlowRun:
        self._thread.start()
        self._opened.wait()
        if self._flow_run is None:
            self._thread.join()
            assert self.error is not None
            raise self.error
        return self._flow_run

    def close(self) -> None:
        assert self._flow_run is not None
        assert self._body_ended is not None
        self._flow_run.post(self._body_ended.set)
        self._thread.join()

    def _main(self) -> None:
        try:
            self._backend.run(self._host)
        except BaseException as exc:  # noqa: BLE001 - raised in the thread of the body
            self.error = exc
        finally:
            self._opened.set()

    async def _host(self) -> Any:  # noqa: ANN401 - nothing
        flow_run: FlowRun | None = None
        try:
            async with self._runner.start():
                assert self._runner._run is not None  # noqa: SLF001 - the flow layer drives the run
                flow_run = FlowRun(
                    self._name,
                    self._runner._run,  # noqa: SLF001
                    one_by_one=self._runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL,
                )
                self._body_ended = self._backend.make_event()
                self._flow_run = flow_run
                self._opened.set()
                await self._body_ended.wait()
        finally:
            if flow_run is not None:
                flow_run.close()
