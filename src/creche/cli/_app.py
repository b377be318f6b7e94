"""The command line: its commands and options, and what a mistake in it looks like.

What it does not know: what the commands do.

Invariant: bad input is one sentence on standard error and exit status 2.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from creche._printable import printable

from ._event_files import console, flush_out
from ._event_rows import want
from ._events import show_events
from ._graph import Format, graph_file
from ._parameters import convert_exactly
from ._report import write_report
from ._run import INTERRUPTED, USAGE, Kind, run_file
from ._simulate import simulate_file
from ._trace import write_trace
from ._usage import ReaderGone, UsageError

app = App(
    name="creche",
    help="Run keyed calls under structured concurrency.",
    version=importlib.metadata.version("creche"),
    console=console(),  # help and version are Cyclopts' to write
    suppress_keyboard_interrupt=False,  # the exit status is decided in `main`
)


@app.command
def run(
    target: Annotated[str, Parameter(name="FILE[:FLOW]")],
    /,
    *,
    runner: Kind | None = None,
    address: str | None = None,
    backend: Literal["trio", "asyncio"] | None = None,
    max_workers: Annotated[
        int | None,
        Parameter(converter=partial(convert_exactly, "--max-workers", int)),
    ] = None,
    param: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    allow_failed_calls: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
    log_events: Path | None = None,
    log_values: Annotated[bool, Parameter(negative=())] = False,
    grace: Annotated[float, Parameter(converter=partial(convert_exactly, "--grace", float))] = 10.0,
) -> int:
    """Run a flow, show progress, and end with a summary.

    The file is imported, so its code runs. What the flow prints goes to standard output; progress and
    summary go to standard error. The exit status is 0 when the flow and all its calls completed,
    1 when the flow or one of its calls failed, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM; or
    the flow's own, when it exits with one.

    Args:
        target: a Python file, and the flow in it if there are several.
        runner: which runner the tasks run on; the flow's own by default.
        address: the scheduler of a Dask cluster, for --runner dask; without it a cluster of processes is
            started here.
        backend: which event loop; the flow's own by default.
        max_workers: how many calls run at once; as the flow's own runner has it by default.
        param: a parameter of the flow, as NAME=VALUE; may be repeated.
        allow_failed_calls: do not count failed calls, as long as the flow itself completes.
        quiet: show neither progress nor summary.
        log_events: write what happens into this file, for creche events, report, trace and others.
        log_values: write arguments and results of calls into it as well; they may be secret.
        grace: how many seconds running calls get to end after Ctrl-C or SIGTERM; once more cancels them.

    Returns:
        the exit status.
    """
    return run_file(
        target,
        runner=runner,
        address=address,
        backend=backend,
        max_workers=max_workers,
        params=param,
        allow_failed_calls=allow_failed_calls,
        quiet=quiet,
        log_events=log_events,
        log_values=log_values,
        grace=grace,
    )


@app.command
def events(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    state: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    tag: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    since: float | None = None,
    until: float | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    follow: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Read what happened, from a file that creche run --log-events has written.

    A table on a terminal; elsewhere columns that are separated by tabs.

    Args:
        file: an event file; may be one that is being written.
        state: only events after which a call is in this state; may be repeated.
        key: only calls with this in their keys, or whose whole key matches it where it has * or ?; may
            be repeated.
        tag: only calls with this tag; may be repeated.
        since: only what happened at this second of the history, or later.
        until: only what happened at this second, or before.
        json: one JSON object a line, as in the file, with the seconds as "at".
        follow: go on while the file is being written.

    Returns:
        the exit status.
    """
    return show_events(file, want(state, key, tag, since, until), as_json=json, follow=follow)


@app.command
def trace(
    file: Annotated[Path, Parameter(name="EVENTS")],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
) -> int:
    """Make a trace of what happened, to be opened in Perfetto or chrome://tracing.

    Args:
        file: an event file, as creche run --log-events writes it.
        output: the JSON file to write.

    Returns:
        the exit status.
    """
    return write_trace(file, output)


@app.command
def report(
    events: Annotated[Path, Parameter(name="EVENTS")],
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
) -> int:
    """Make a page of HTML of an event file, to look at what has run.

    The page is one file that needs no network: summary, timeline, critical path, table of calls,
    dependencies, limits, failures, retries.

    Args:
        events: a file that an event log has written; one that was cut, as far as it goes.
        output: where the page goes; what was there is gone.

    Returns:
        the exit status.
    """
    return write_report(events, output)


@app.command
def graph(
    target: Annotated[str, Parameter(name="FILE[:FLOW]")],
    /,
    *,
    style: Annotated[Format, Parameter(name="--format")] = "mermaid",
    param: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    each: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Draw what a flow would run, or what did run.

    Of a Python file the body of the flow is run, and none of its tasks; so it must get along without
    what they return. Of an event file the calls are drawn that are in it.

    Args:
        target: a Python file, and the flow in it if there are several; or an event file.
        style: as text for Mermaid, as text for Graphviz, or as a picture.
        param: a parameter of the flow, as NAME=VALUE; may be repeated.
        each: draw each call; by default calls that are alike are drawn as one, with their number.

    Returns:
        the exit status.
    """
    return graph_file(target, style=style, params=param, each=each)


@app.command
def simulate(
    events: Annotated[str, Parameter(name="EVENTS")],
    /,
    *,
    max_workers: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    limit: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Say whether more workers would have helped.

    The measured times and dependencies of a run are replayed in virtual time with each number of
    workers, and the makespans shown beside the critical path, which no number of workers gets below.

    Args:
        events: an event file.
        max_workers: a number of workers, or several as in 1,2,4; may be repeated. By default twice and
            four times as many as there were.
        limit: the size of a named limit, as NAME=N, in place of the run's own; may be repeated.
        json: print one JSON object.

    Returns:
        the exit status.
    """
    return simulate_file(events, workers=max_workers, limits=limit, as_json=json)


def main(tokens: Sequence[str]) -> int:
    """Run the command.

    Args:
        tokens: the command line, without the program's name.

    Returns:
        the exit status.
    """
    status = 0
    try:
        status = _call(tokens)
        flush_out()
    except ReaderGone:
        pass
    except UsageError as exc:
        status = status or refuse(str(exc))
    return status


def _call(tokens: Sequence[str]) -> int:
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as exc:
        return refuse(" ".join(str(exc).split()))
    except UsageError as exc:
        return refuse(str(exc))
    except ReaderGone:
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def refuse(sentence: str) -> int:
    """Say what is wrong.

    Args:
        sentence: one.

    Returns:
        the exit status.
    """
    sys.stderr.write(f"creche: {printable(sentence)}\n")
    return USAGE
