"""``creche trace``: an event file as a trace for Perfetto.

What it does not know: what is in a trace (`creche.instruments._trace` does).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from creche.instruments._trace import LEFT_OUT, MOST_WAITING, trace_of
from creche.report._words import count

from ._event_files import check_output, read_events, write_output


def write_trace(file: Path, output: Path) -> int:
    """Make a trace of an event file.

    Args:
        file: the event file.
        output: the trace.

    Returns:
        the exit status.

    Raises:
        UsageError: one of the two cannot be read or written, or the first is no event file.
    """
    check_output("--output", output, file)
    history = read_events(file)
    trace = trace_of(history)
    # At once: piece by piece Python does it by itself, and takes ten times as long.
    text = json.dumps(trace, separators=(",", ":")) + "\n"
    write_output("--output", output, text.encode("ascii"))
    left_out = trace["otherData"][LEFT_OUT]
    if left_out:
        of = count(left_out, "call")
        sys.stderr.write(f"of {of} the waiting is not shown: more than {MOST_WAITING} waited at once\n")
    what = f"{count(len(history.calls), 'call')} of {count(len(history.runs), 'run')}"
    sys.stderr.write(f"{output}: {what}; open it at ui.perfetto.dev\n")
    return 0
