"""``creche run``: load a flow, run it, show how it goes, say how it went.

What it does not know: the spelling of the command line (`_app` does).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

from creche._backends import by_name
from creche._capture import split
from creche._keyed import KeyedTaskRunner
from creche._states import State
from creche.flows._flow import Flow
from creche.instruments import Summary
from creche.runners._concurrent import ConcurrentTaskRunner
from creche.runners._sequential import SequentialTaskRunner

from ._loading import load_flow
from ._parameters import bind_parameters
from ._progress import Progress
from ._text import summary_lines, users_traceback
from ._usage import UsageError

COMPLETED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""The exit statuses."""


def run_file(
    target: str,
    *,
    runner: Literal["concurrent", "sequential"],
    backend: Literal["trio", "asyncio"] | None,
    max_workers: int | None,
    params: Sequence[str],
    allow_failed_calls: bool,
    quiet: bool,
) -> int:
    """Run the flow of a file.

    Args:
        target: ``FILE`` or ``FILE:FLOW``.
        runner: which runner its tasks run on.
        backend: which loop; `None` for the flow's own.
        max_workers: how many calls at once; `None` for no limit.
        params: ``NAME=VALUE``, each.
        allow_failed_calls: whether calls that failed leave the status alone.
        quiet: no progress and no summary.

    Returns:
        the exit status.

    Raises:
        UsageError: what was asked for cannot be done.
    """
    summary = Summary()
    progress = Progress(summary, quiet=quiet)
    task_runner = make_runner(runner, max_workers, [summary, progress])
    try:
        flow = load_flow(target)
    except UsageError:
        raise
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as exc:  # noqa: BLE001 - shown
        sys.stderr.write(users_traceback(exc))
        return USAGE
    arguments = bind_parameters(flow.fn, params)
    flow = flow.with_options(task_runner=task_runner, backend=backend)
    status, ended, shown = COMPLETED, "completed", ""
    progress.start()
    try:
        call_flow(flow, arguments.args, arguments.kwargs)
    except BaseException as exc:  # noqa: BLE001 - shown
        status, ended, shown = read_ending(exc)
    finally:
        progress.stop()
    sys.stdout.flush()
    sys.stderr.write(shown)
    if not quiet:
        lines = summary_lines(flow.name, summary, progress.seconds, ended)
        sys.stderr.write("\n".join(lines) + "\n")
    # A call that crashed took the flow with it, whatever status it asked for.
    counts = summary.counts
    failed = counts[State.CRASHED] or (counts[State.FAILED] and not allow_failed_calls)
    return FAILED if status == COMPLETED and failed else status


def read_ending(exc: BaseException) -> tuple[int, str, str]:
    """How a flow has ended that raised.

    Args:
        exc: what came out of it; may be a group.

    Returns:
        the exit status as far as the flow says, how it ended in a word, and what to show of it.
    """
    interrupt, rest = split(exc, KeyboardInterrupt)
    if interrupt is not None:
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
    kind: Literal["concurrent", "sequential"],
    max_workers: int | None,
    instruments: list[Any],
) -> KeyedTaskRunner:
    """The runner that the options ask for.

    Args:
        kind: which.
        max_workers: how many calls at once.
        instruments: who listens.

    Returns:
        the runner.

    Raises:
        UsageError: the options do not go together, or a number is out of range.
    """
    if kind == "sequential":
        if max_workers is not None:
            raise UsageError("--max-workers does not go with --runner sequential, which has one")
        return SequentialTaskRunner(instruments=instruments)
    if max_workers is not None and max_workers < 1:
        raise UsageError(
            f"--max-workers must be at least 1, not {max_workers}; leave it out for no limit",
        )
    return ConcurrentTaskRunner(max_workers, instruments=instruments)


def call_flow(flow: Flow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call a flow, on a loop of its own if it is async.

    Args:
        flow: the flow.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Raises:
        BaseException: what the flow raised.
    """
    if not flow.is_async:
        flow(*args, **kwargs)
        return

    async def main() -> None:
        await flow(*args, **kwargs)

    by_name(flow.backend).run(main)
