"""Where suspended code stands: the frames of a coroutine and of what it awaits, as lines for people.

What it does not know: loops, tasks, calls.

Invariant: it only looks. What it does not understand ends the walk; nothing raises.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from ._tracebacks import OWN

_LOOPS = {"trio", "anyio", "asyncio", "uvloop", "concurrent", "threading", "outcome"}
_MOST = 200


def frames_of(coroutine: Any, thread: int | None) -> list[tuple[FrameType, int]]:  # noqa: ANN401 - anything that is awaited
    """The frames of a coroutine, and of what it awaits, the outermost first.

    Args:
        coroutine: of a task.
        thread: the one that runs it, if it runs now.

    Returns:
        each frame with the line it is at.
    """
    found: list[tuple[FrameType, int]] = []
    one = coroutine
    while one is not None and len(found) < _MOST:
        frame, is_running, following = _look_at(one)
        if frame is None:
            break
        if is_running and thread is not None:
            inside = inner_frames(thread, frame)
            return [*found, *inside] if inside else [*found, (frame, frame.f_lineno)]
        found.append((frame, frame.f_lineno))
        one = following
    return found


def inner_frames(thread: int, outermost: FrameType | None = None) -> list[tuple[FrameType, int]]:
    """The frames that a thread is in now, the outermost first.

    Args:
        thread: its number.
        outermost: leave out those around this one; `None` for all of them.

    Returns:
        each frame with its line; nothing if the thread is not in that frame.
    """
    found: list[tuple[FrameType, int]] = []
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    while frame is not None and len(found) < _MOST:
        found.append((frame, frame.f_lineno))
        if frame is outermost:
            break
        frame = frame.f_back
    else:
        if outermost is not None:
            return []
    return found[::-1]


def tell_frames(frames: Sequence[tuple[FrameType, int]]) -> list[str]:
    """Frames as lines: those of the user's, and into which function of a loop's they have called.

    If there is none of the user's, it is the function of the loop's that the task is.

    Args:
        frames: the outermost first.

    Returns:
        such as ``census.py:12 in fetch``.
    """
    lines: list[str] = []
    around = ""
    is_own = False
    for frame, number in frames:
        file, root = frame.f_code.co_filename, str(frame.f_globals.get("__name__")).partition(".")[0]
        if file.startswith(OWN):
            is_own = True
            continue
        if root in _LOOPS:
            within = f"{frame.f_globals['__name__']} in {frame.f_code.co_qualname}"
            if lines:
                # How creche itself waits is nobody's affair.
                return lines if is_own else [*lines, within]
            around = around or within  # what the loop itself does, around the user's code
            continue
        is_own = False
        lines.append(f"{shorten(file)}:{number} in {frame.f_code.co_qualname}")
    return lines or [around] * bool(around)


def _look_at(one: Any) -> tuple[FrameType | None, bool, Any]:  # noqa: ANN401 - a coroutine, generator or whatever is awaited
    for prefix, inner in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
        if hasattr(one, f"{prefix}_frame"):
            frame = getattr(one, f"{prefix}_frame")
            return frame, getattr(one, f"{prefix}_running"), getattr(one, f"{prefix}_{inner}")
    # What a step of an async generator is does not say which generator; the collector knows.
    known = [
        inner for inner in _referents(one) if hasattr(inner, "ag_frame") or hasattr(inner, "cr_frame")
    ]
    return _look_at(known[0]) if known else (None, False, None)


def _referents(one: Any) -> Iterator[Any]:  # noqa: ANN401 - a coroutine, generator or whatever is awaited
    if type(one).__name__ in {"async_generator_asend", "async_generator_athrow", "coroutine_wrapper"}:
        yield from gc.get_referents(one)


def shorten(file: str) -> str:
    """A path as one would write it: from the working directory, if it is below that."""
    here = str(Path.cwd()) + os.sep
    return file.removeprefix(here)
