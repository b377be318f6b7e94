"""The words that the command shows: summary, tracebacks. All pure: numbers in, lines out.

What it does not know: terminals, clocks, where the lines go.
"""

from __future__ import annotations

import traceback

from creche._states import ENDED, State
from creche.instruments import Summary
from creche.instruments._words import plain

_SHOWN = 5
"""Keys of calls that were left behind."""


def summary_lines(name: str, summary: Summary, seconds: float, ended: str) -> list[str]:
    """What is shown at the end.

    Args:
        name: of the flow.
        summary: the run.
        seconds: wall time.
        ended: how the flow ended, in a word.

    Returns:
        the lines.
    """
    states = [f"{summary.counts[state]} {state.name}" for state in ENDED if summary.counts[state]]
    if summary.running:  # they were left behind
        states.append(f"{len(summary.running)} RUNNING")
    lines = [f"flow {plain(name)}: {ended} in {seconds:.2f} s"]
    lines.append(f"calls: {', '.join(states) or 'none'}")
    if summary.running:
        shown = [plain(key) for key in list(summary.running)[:_SHOWN]]
        more = len(summary.running) - len(shown)
        lines.append(f"left behind: {', '.join(shown)}{f' and {more} more' if more else ''}")
    if summary.slowest:
        slowest = (f"{plain(key)} {took:.3f} s" for key, took in summary.slowest)
        lines.append(f"slowest: {', '.join(slowest)}")
    if summary.failures:
        lines.append("failures:")
        lines += [f"  {plain(one.key)} {one.state.name} {plain(one.reason)}" for one in summary.failures]
        more = summary.counts[State.FAILED] + summary.counts[State.CRASHED] - len(summary.failures)
        if more > 0:
            lines.append(f"  and {more} more")
    return lines


def one_line(exc: BaseException) -> str:
    """An exception's class and message.

    Args:
        exc: any exception, also one that cannot be made a string.

    Returns:
        the words, without an end of line.
    """
    return " ".join("".join(traceback.format_exception_only(exc)).split())
