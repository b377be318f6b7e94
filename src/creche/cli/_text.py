"""The words that the command shows: progress, summary, tracebacks. All pure: numbers in, lines out.

What it does not know: terminals, clocks, where the lines go.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import creche
from creche._states import State
from creche.instruments import Summary

_OWN = Path(creche.__file__).parent
_ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED, State.CRASHED)


def progress_line(summary: Summary, seconds: float) -> str:
    """How it stands, in one line.

    Args:
        summary: the run so far.
        seconds: since its start.

    Returns:
        the line.
    """
    parts = [f"{summary.settled} of {summary.submitted} calls", f"{len(summary.running)} running"]
    parts += [
        f"{summary.counts[state]} {state.name.lower()}" for state in _ENDED[1:] if summary.counts[state]
    ]
    return f"{', '.join(parts)}, {seconds:.1f} s"


def progress_view(summary: Summary, now: float, seconds: float, width: int) -> list[str]:
    """How it stands, in a few lines: the numbers, and the calls that have run longest.

    Args:
        summary: the run so far.
        now: the time of the run's own clock, in seconds.
        seconds: since its start.
        width: of the terminal, in characters.

    Returns:
        the lines, none longer than `width`.
    """
    longest = sorted(summary.running.items(), key=lambda pair: pair[1])[:3]
    lines = [progress_line(summary, seconds)]
    lines += [f"  {key} {max(0.0, now - started):.1f} s" for key, started in longest]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


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
    states = [f"{summary.counts[state]} {state.name}" for state in _ENDED if summary.counts[state]]
    lines = [f"flow {name}: {ended} in {seconds:.2f} s"]
    lines.append(f"calls: {', '.join(states) or 'none'}")
    if summary.slowest:
        slowest = (f"{key} {took:.3f} s" for key, took in summary.slowest)
        lines.append(f"slowest: {', '.join(slowest)}")
    if summary.failures:
        lines.append("failures:")
        lines += [f"  {one.key} {one.state.name} {one.reason}" for one in summary.failures]
        more = summary.counts[State.FAILED] + summary.counts[State.CRASHED] - len(summary.failures)
        if more > 0:
            lines.append(f"  and {more} more")
    return lines


def users_traceback(exc: BaseException) -> str:
    """The traceback of an exception without the frames of creche and of Python's import machinery.

    Args:
        exc: any exception.

    Returns:
        the text, with its end of line.
    """
    told = traceback.TracebackException.from_exception(exc)
    # Each exception is in there once, however they refer to one another.
    parts = [told]
    while parts:
        part = parts.pop()
        part.stack[:] = [frame for frame in part.stack if not _is_own(frame.filename)]
        related = (part.__cause__, part.__context__, *(part.exceptions or ()))
        parts += [other for other in related if other is not None]
    return "".join(told.format())


def one_line(exc: BaseException) -> str:
    """An exception's class and message.

    Args:
        exc: any exception, also one that cannot be made a string.

    Returns:
        the words, without an end of line.
    """
    return " ".join("".join(traceback.format_exception_only(exc)).split())


def _is_own(file: str) -> bool:
    return file.startswith("<frozen importlib") or Path(file).is_relative_to(_OWN)
