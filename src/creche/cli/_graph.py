"""``creche graph``: what a flow would run, or what did run, drawn.

What it does not know: how a graph is found and drawn, the spelling of the command line.

Invariant: no task is run. What the body of a flow prints goes to standard error, beside the graph.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from creche._printable import printable, printable_lines
from creche._tracebacks import is_own, users_traceback
from creche.afterwards._drawing import dot, mermaid
from creche.afterwards._graph import Group, Node, fold, from_dry_run, from_history
from creche.afterwards._svg import svg
from creche.flows._dry_run import DryRun
from creche.flows._flow import Flow
from creche.flows._placeholder import NeedsValue

from ._event_files import read_events, write_out
from ._loading import is_there, load_or_show, split_target
from ._parameters import bind_parameters
from ._run import USAGE, call_flow
from ._text import one_line
from ._usage import UsageError

Format = Literal["mermaid", "dot", "svg"]
"""How it is drawn."""


def graph_file(target: str, *, style: Format, params: Sequence[str], each: bool) -> int:
    """Print the graph of a flow, or of an event file.

    Args:
        target: ``FILE``, ``FILE:FLOW``, or an event file.
        style: how it is drawn.
        params: of the flow, ``NAME=VALUE``, each.
        each: draw each call, and not those that are alike as one.

    Returns:
        the exit status.

    Raises:
        UsageError: what was asked for cannot be done.
    """
    path, name = split_target(target)
    if is_event_file(path):
        if name is not None or params:
            what = "--param goes with a flow" if params else f"there is no flow {name!r} in it"
            raise UsageError(f"{path} is an event file: {what}")
        nodes, groups = from_history(read_events(path))
    else:
        flow = load_or_show(target)
        if flow is None:
            return USAGE
        found = _run_dry(flow, params)
        if found is None:
            return USAGE
        nodes, groups = found
    if not each:
        nodes = fold(nodes)
    draw = {"mermaid": mermaid, "dot": dot, "svg": svg}[style]
    write_out("\n".join(draw(nodes, groups)) + "\n")
    return 0


def is_event_file(path: Path) -> bool:
    """Whether a file is one of events, or was meant to be.

    Args:
        path: of anything.

    Returns:
        whether its first line is one of an event file; or it is there, and no Python file.
    """
    if not is_there(path) or path.is_dir():
        return False
    try:
        with path.open("rb") as file:
            record = json.loads(file.readline(10_000))
    except (OSError, ValueError):
        record = None
    if isinstance(record, dict) and "event" in record:
        return True
    return path.suffix != ".py"


def _run_dry(flow: Flow[..., Any], params: Sequence[str]) -> tuple[list[Node], list[Group]] | None:
    """What a flow would run; `None` if it could not be found out, which has been said."""
    arguments = bind_parameters(flow.fn, params)
    dry_run = DryRun()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            dry_run.run(call_flow, flow, arguments.args, arguments.kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - shown
        needed = exc if isinstance(exc, NeedsValue) else dry_run.needed
        if needed is not None:
            raise UsageError(_sentence(flow.name, needed)) from None
        if dry_run.calls and "Placeholder" in str(exc):
            # Python itself has met one, in what the body makes of results: by then it has submitted.
            sys.stderr.write(
                f"creche: the graph goes as far as {_place_of(exc)}, where the body of flow "
                f"{flow.name!r} needs what a task returns ({printable(one_line(exc))})\n"
            )
            return from_dry_run(dry_run.calls, dry_run.boxes)
        sys.stderr.write(printable_lines(users_traceback(exc)))
        sys.stderr.write(
            f"creche: in a dry run, where a placeholder stands for what a task would return, the body "
            f"of flow {flow.name!r} raised: {printable(one_line(exc))}\n"
        )
        return None
    return from_dry_run(dry_run.calls, dry_run.boxes)


def _sentence(name: str, needed: NeedsValue) -> str:
    """What is needed where."""
    return f"flow {name!r} cannot be drawn without running its tasks: at {_place_of(needed)}, {needed}"


def _place_of(exc: BaseException) -> str:
    """The line of the user's that an exception comes from."""
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(exc.__traceback__)
        if not is_own(frame.f_code.co_filename)
    ]
    file, line = frames[-1] if frames else ("?", 0)
    return f"{file}, line {line} ({linecache.getline(file, line).strip()})"
