"""``creche run``: load a flow, run it, show how it goes, say how it went.

What it does not know: the spelling of the command line (`_app` does).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal

import creche.instruments._painting  # noqa: F401 - without rich it is said before anything is done
from creche._backends import by_name
from creche._capture import split
from creche._errors import CallCancelled, RunnerClosed
from creche._keyed import DEFAULT_THREADS, KeyedTaskRunner
from creche._printable import printable, printable_lines
from creche._states import State
from creche._tracebacks import users_traceback
from creche.flows._flow import Flow, duplicate_with
from creche.instruments import Progress, Summary
from creche.runners._concurrent import ConcurrentTaskRunner
from creche.runners._dask import DaskTaskRunner
from creche.runners._processes import ProcessTaskRunner
from creche.runners._sequential import SequentialTaskRunner
from creche.runners._threads import ThreadTaskRunner

from ._event_files import flush_out
from ._events import check_log, open_log
from ._last_resort import printable_log
from ._loading import load_or_show, split_target
from ._parameters import bind_parameters
from ._signals import Manners
from ._text import summary_lines
from ._usage import ReaderGone, UsageError

Kind = Literal["concurrent", "sequential", "thread", "process", "dask"]
"""The runners, as they are called on the command line."""

COMPLETED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""The exit statuses."""


def run_file(
    target: str,
    *,
    runner: Kind | None,
    address: str | None,
    backend: Literal["trio", "asyncio"] | None,
    max_workers: int | None,
    params: Sequence[str],
    allow_failed_calls: bool,
    quiet: bool,
    log_events: Path | None,
    log_values: bool,
    grace: float,
) -> int:
    """Run the flow of a file.

    Args:
        target: ``FILE`` or ``FILE:FLOW``.
        runner: which runner its tasks run on; `None` for the flow's own.
        address: of the scheduler, for `"dask"`.
        backend: which loop; `None` for the flow's own.
        max_workers: how many calls at once; `None` for what the runner has.
        params: ``NAME=VALUE``, each.
        allow_failed_calls: whether calls that failed leave the status alone.
        quiet: no progress and no summary.
        log_events: the file for what happens.
        log_values: whether arguments and results go into it.
        grace: seconds that running calls get after the first Ctrl-C.

    Returns:
        the exit status.

    Raises:
        UsageError: what was asked for cannot be done.
    """
    if not grace >= 0:
        raise UsageError(f"--grace must be 0 seconds or more, not {grace}")
    summary = Summary()
    progress = Progress(quiet=quiet, leaves_line=False)
    say = _mute if quiet else _say
    manners = Manners(grace, say=say, tell=progress.tell)
    make_runner(runner or "concurrent", max_workers, [], address)  # what can be known by now
    file = split_target(target)[0]
    check_log(log_events, file, values=log_values)
    with ExitStack() as at_the_end:
        at_the_end.callback(manners.uninstall)
        manners.listen()
        try:
            flow = load_or_show(target)
            if flow is None:
                return manners.status or USAGE
            arguments = bind_parameters(flow.fn, params)
            log = open_log(log_events, values=log_values)  # not before: what is in the file is gone then
            listeners = [summary, progress, *log]
            flow = flow.with_options(
                task_runner=own_runner(flow, max_workers, listeners)
                if runner is None
                else make_runner(runner, max_workers, listeners, address),
                backend=backend,
            )
        except KeyboardInterrupt:
            say(f"{manners.ended or 'interrupted'} before the flow began")
            return manners.status or INTERRUPTED
        status, ended, shown = COMPLETED, "completed", ""
        progress.title = f"flow {flow.name}"
        at_the_end.enter_context(printable_log())
        say(f"running flow {flow.name} of {file.resolve()}")
        try:
            progress.start()  # inside: whoever sees it may press Ctrl-C at once
            call_flow(flow, arguments.args, arguments.kwargs, manners)
        except BaseException as exc:
            if (
                address is not None
                and not progress.has_runner
                and isinstance(exc, (OSError, TypeError, ValueError))
            ):
                raise UsageError(f"--address {address}: {exc}") from exc
            status, ended, shown = read_ending(exc, is_stopped=manners.status is not None)
        finally:
            progress.stop()
            for one in log:
                one.close()
        if manners.status is not None:
            status, ended = manners.status, manners.ended
        lost = _flush()
        status = status or (FAILED if lost else COMPLETED)
        sys.stderr.write(lost + printable_lines(shown))
        if not quiet:
            lines = summary_lines(flow.name, summary, progress.seconds, ended)
            sys.stderr.write("\n".join(lines) + "\n")
    # A call that crashed took the flow with it, whatever status it asked for.
    counts = summary.counts
    failed = counts[State.CRASHED] or (counts[State.FAILED] and not allow_failed_calls)
    return FAILED if status == COMPLETED and failed else status


def read_ending(exc: BaseException, *, is_stopped: bool = False) -> tuple[int, str, str]:
    """How a flow has ended that raised.

    Args:
        exc: what came out of it; may be a group.
        is_stopped: whether a signal has stopped it, so that what only says that is not worth showing.

    Returns:
        the exit status as far as the flow says, how it ended in a word, and what to show of it.
    """
    interrupt, rest = split(exc, KeyboardInterrupt)
    if rest is not None and is_stopped:
        rest = split(rest, CallCancelled)[1]
    if rest is not None and is_stopped:
        rest = split(rest, RunnerClosed)[1]
    if is_stopped or interrupt is not None:
        return INTERRUPTED, "interrupted", "" if rest is None else users_traceback(rest)
    if not isinstance(exc, SystemExit):
        return FAILED, "failed", users_traceback(exc)
    # As Python reads it.
    if exc.code is None:
        return COMPLETED, "exited", ""
    if isinstance(exc.code, int):
        return exc.code, "exited", ""
    return FAILED, "exited", f"{exc.code}\n"


def make_runner(
    kind: Kind,
    max_workers: int | None,
    instruments: list[Any],
    address: str | None = None,
) -> KeyedTaskRunner:
    """The runner that the options ask for.

    Args:
        kind: which.
        max_workers: how many calls at once.
        instruments: who listens.
        address: of the scheduler, for `"dask"`.

    Returns:
        the runner.

    Raises:
        UsageError: the options do not go together, a number is out of range, or what the runner needs is
            not installed.
    """
    if address is not None and kind != "dask":
        raise UsageError(f"--address is of a Dask scheduler: it goes with --runner dask, not {kind}")
    if kind == "sequential":
        if max_workers is not None:
            raise UsageError("--max-workers does not go with --runner sequential, which has one")
        return SequentialTaskRunner(instruments=instruments)
    if max_workers is not None and max_workers < 1:
        raise UsageError(
            f"--max-workers must be at least 1, not {max_workers}; leave it out for no limit",
        )
    try:
        if kind == "process":
            return ProcessTaskRunner(max_workers, instruments=instruments)
        if kind == "dask":
            return DaskTaskRunner(address, max_workers=max_workers, instruments=instruments)
    except ImportError as exc:
        raise UsageError(f"--runner {kind}: {exc}") from exc
    except ValueError as exc:
        raise UsageError(f"--{exc}") from exc
    if kind == "thread":
        threads = DEFAULT_THREADS if max_workers is None else max_workers
        return ThreadTaskRunner(threads, instruments=instruments)
    return ConcurrentTaskRunner(max_workers, instruments=instruments)


def own_runner(flow: Flow[..., Any], max_workers: int | None, instruments: list[Any]) -> KeyedTaskRunner:
    """The runner that a flow has, with its limits and whatever it is set to.

    Args:
        flow: the flow; one without a runner of its own has the default one.
        max_workers: how many calls at once; `None` for as many as the runner has.
        instruments: who listens, beside its own.

    Returns:
        the runner.

    Raises:
        UsageError: it is of a kind of which the number is not known to the runner alone.
    """
    runner = flow.task_runner
    if max_workers is None:
        return duplicate_with(runner, instruments)
    if not isinstance(runner, (ConcurrentTaskRunner, ThreadTaskRunner)):
        kinds = {SequentialTaskRunner: "which has one", ProcessTaskRunner: "or --runner process"}
        raise UsageError(
            f"--max-workers does not go with the flow's own {type(runner).__name__}, "
            f"{kinds.get(type(runner), 'or --runner dask')}; set it there, or name another --runner"
        )
    return duplicate_with(runner, instruments, max_workers=max_workers)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"creche: {printable(line)}\n")
        sys.stderr.flush()


def _flush() -> str:
    """Have written what the flow has printed; if it cannot be, a line that says so."""
    try:
        with suppress(ReaderGone):
            flush_out()
    except UsageError as exc:
        return f"creche: what the flow has printed is lost: {printable(str(exc))}\n"
    return ""


def _mute(line: str) -> None:
    del line


def call_flow(
    flow: Flow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], manners: Manners | None = None
) -> None:
    """Call a flow, on a loop of its own if it is async.

    Args:
        flow: the flow.
        args: its positional arguments.
        kwargs: its keyword arguments.
        manners: what signals do meanwhile; `None` for what they do anyway.

    Raises:
        BaseException: what the flow raised.
    """

    def watching(*, is_sync: bool) -> AbstractContextManager[None]:
        return nullcontext() if manners is None else manners.watching(is_sync=is_sync)

    if not flow.is_async:
        with watching(is_sync=True):
            flow(*args, **kwargs)
        return

    async def main() -> None:
        with watching(is_sync=False):  # inside: the loop has handlers of its own
            await flow(*args, **kwargs)

    by_name(flow.backend).run(main)
