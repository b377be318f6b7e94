"""Running a flow: with a runner of its own or on that of the flow around it; sync and async.

What it is for: the body is called inside of its `Course`, and what it has submitted ends before the flow
does.

What it does not know: the options of a flow; what is made of its end.

Invariant: when one of these returns or raises, every call of the flow has ended; unless by Ctrl-C or a
timeout, which do not wait for threads.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from outcome import Error, Outcome, capture

from creche._backend import Backend, Event
from creche._base import TaskConcurrencyType
from creche._errors import RunnerClosed
from creche._keyed import KeyedTaskRunner
from creche._ki import protected

from ._beside import run_beside
from ._course import NOTHING, Course
from ._flow_run import FlowRun

Body = Callable[[], Any]
AsyncBody = Callable[[], Coroutine[Any, Any, Any]]


def on_own_run(course: Course, name: str, runner: KeyedTaskRunner, backend: Backend, body: Body) -> Any:  # noqa: ANN401 - whatever the body gives
    """Run a sync flow with a runner of its own, on a loop in a helper thread.

    Args:
        course: of this call.
        name: of the flow.
        runner: not started yet.
        backend: whose loop to open.
        body: the function.

    Returns:
        what it returned.

    Raises:
        BaseException: what it raised, or the runner.
    """

    def inside(flow_run: FlowRun) -> Any:  # noqa: ANN401 - whatever the body gives
        with course.body(flow_run):
            return body()

    one_by_one = runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL
    return run_beside(name, runner, backend, partial(course.open, one_by_one=one_by_one), inside)


async def on_own_run_async(course: Course, runner: KeyedTaskRunner, body: AsyncBody) -> Any:  # noqa: ANN401 - whatever the body gives
    """Run an async flow with a runner of its own, on the running loop.

    Args:
        course: of this call.
        runner: not started yet.
        body: the function.

    Returns:
        what it returned; `NOTHING` if it was cut.

    Raises:
        BaseException: what it raised, or the runner.
    """
    value = NOTHING
    async with runner.start():
        assert runner._run is not None  # noqa: SLF001 - the flow layer drives the run
        flow_run = course.open(runner._run, one_by_one=False)  # noqa: SLF001 - a flow runs on the run of its runner
        # The body runs in the caller's own context: set here, reset by the same task.
        with course.body(flow_run):
            value = await body()
    return value


def on_branch(course: Course, body: Body) -> Any:  # noqa: ANN401 - whatever the body gives
    """Run a sync flow on the run of the flow around it.

    Args:
        course: of this call.
        body: the function.

    Returns:
        what it returned.

    Raises:
        BaseException: what it raised.
    """
    flow_run = course.make_branch()
    try:
        course.open_branch(flow_run)
        with course.body(flow_run):
            value = body()
        _wait_for_all(flow_run)
    except KeyboardInterrupt:
        flow_run.halt(interrupted=True, reason=f"the body of flow {flow_run.name!r} was interrupted")
        raise
    except BaseException as exc:
        flow_run.halt(interrupted=False, reason=_why(flow_run, exc))
        with suppress(RunnerClosed):  # all that was open has ended then
            _wait_for_all(flow_run)
        raise
    finally:
        course.close_branch(flow_run)
    return value


async def on_branch_async(course: Course, backend: Backend, body: AsyncBody) -> Any:  # noqa: ANN401 - whatever the body gives
    """Run an async flow on the run of the flow around it.

    Args:
        course: of this call.
        backend: the running loop, which need not be the one of that run.
        body: the function.

    Returns:
        what it returned; `NOTHING` if it was cut.

    Raises:
        BaseException: what it raised.
    """
    value, scope = NOTHING, backend.open_scope()
    flow_run = course.make_branch()
    flow_run.when_halted = partial(backend.poster(), scope.cancel)
    try:
        course.open_branch(flow_run)
        with scope:
            with course.body(flow_run):
                returned = await body()
            await _wait_for_all_async(flow_run)
            value = returned
    except BaseException as exc:
        flow_run.halt(interrupted=False, reason=_why(flow_run, exc))
        raise
    finally:
        with backend.open_scope(shield=True), suppress(RunnerClosed):
            await _wait_for_all_async(flow_run)
        course.close_branch(flow_run)
    return value


async def in_thread(backend: Backend, name: str, course: Course, body: Body) -> Any:  # noqa: ANN401 - whatever the body gives
    """Run a sync flow in a worker thread; cancelled, end it, and wait for it.

    Args:
        backend: the running loop.
        name: of the flow.
        course: of this call.
        body: runs it.

    Returns:
        what it gave.

    Raises:
        BaseException: what it raised.
    """
    outcomes: list[Outcome[Any]] = []
    stop = partial(course.stop, f"the code that awaited flow {name!r} was cancelled")

    def run() -> None:
        outcomes.append(capture(body))

    ended = backend.make_event()
    native = backend.native_cancels()
    async with backend.open_nursery() as nursery:
        nursery.start_soon(_stop_if_cancelled, ended, stop, name=f"creche flow {name}")
        try:
            shield = backend.open_scope(shield=True)
            await backend.run_in_thread(run, f"creche flow {name}", shield, stop)
        finally:
            ended.set()
    (outcome,) = outcomes
    # It has ended the wait for the thread, or come after it.
    if backend.renew_native_cancel(native) and isinstance(outcome, Error):
        await backend.checkpoint()  # what the body makes of that is not what comes out
    if isinstance(outcome, Error):
        await backend.checkpoint_if_cancelled()
    return outcome.unwrap()


@protected
async def _stop_if_cancelled(ended: Event, stop: Callable[[], object]) -> None:
    try:
        await ended.wait()
    except BaseException:  # noqa: BLE001 - what has cancelled it shows where the thread is waited for
        stop()


def _wait_for_all(flow_run: FlowRun) -> None:
    while left := flow_run.still_open():
        for slot in left:
            slot.block(None)


async def _wait_for_all_async(flow_run: FlowRun) -> None:
    while left := flow_run.still_open():
        for slot in left:
            await slot.wait(None)


def _why(flow_run: FlowRun, exc: BaseException) -> str:
    return f"the body of flow {flow_run.name!r} raised {type(exc).__name__}"
