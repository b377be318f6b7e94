"""Where a task is: the chain of what it awaits, and the line of it that its author knows.

What it is for: a report that says ``pipeline.py:31``, not a line of the event loop.

What it does not know: event loops; a coroutine tells by itself what it waits in.
"""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, cast

from creche._awaiting import awaiting as awaiting
from creche._capture import leaves
from creche._stacks import shorten
from creche._tracebacks import OWN

_STDLIB = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_BACKENDS = os.path.join(OWN, "_backends") + os.sep  # noqa: PTH118 - the beginning of names
_KIT = str(Path(__file__).parent) + os.sep
_AROUND = ("TaskHandle._run_coro", "TaskGroup._run_wrapped_task")  # of anyio's, newer and older
_LOOPS = tuple(
    os.path.dirname(cast("Any", find_spec(name)).origin) + os.sep  # noqa: PTH120 - the beginning of names
    for name in ("trio", "anyio", "outcome", "asyncio")
)


class Place(NamedTuple):
    """A line of source."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{shorten(self.file)}:{self.line} in {self.function}"


def short_name(name: str) -> str:
    """A task's name without what is around its function, if it was named after that."""
    last = name.rpartition(".")[2]
    return last if last.isidentifier() and " " not in name else name


def is_own(file: str) -> bool:
    """Whether it is neither the standard library's, nor creche's, nor of anything that is installed."""
    installed = any(part in file for part in _INSTALLED)
    return not (installed or file.startswith((OWN, _STDLIB, "<frozen")))


def _rank(file: str) -> int:
    """How well an author knows a file: 2 for one of theirs, 1 for a library's, 0 for the loop's."""
    if is_own(file):
        return 2
    return 0 if file.startswith(_LOOPS) else 1


def _pick(coro: Any) -> tuple[list[FrameType], int]:  # noqa: ANN401 - the same
    """What is awaited, and which of it its author knows best: the innermost line of their own."""
    # What the kit has put around the author's function is not there for them.
    frames = [one for one in awaiting(coro) if not one.f_code.co_filename.startswith(_KIT)]
    # Nor is what anyio has put around a function of a library's, if that has begun.
    frames = [one for one in frames if one.f_code.co_qualname not in _AROUND] or frames
    ranks = [_rank(frame.f_code.co_filename) for frame in frames]
    best = max(ranks, default=0)
    # Of the loop's own, the outermost says most.
    if not frames:
        return frames, 0
    return frames, ranks.index(best) if not best else len(ranks) - 1 - ranks[::-1].index(best)


def innermost(coro: Any) -> Place | None:  # noqa: ANN401 - the same
    """The innermost line of the author's own, else of a library's; `None` if it stands nowhere."""
    return next(_standing(coro), None)


def lines(coro: Any) -> tuple[Place, ...]:  # noqa: ANN401 - the same
    """The same place, and those that wait for it: the author's own lines, the innermost first."""
    return tuple(_standing(coro))


def _standing(coro: Any) -> Iterator[Place]:  # noqa: ANN401 - the same
    frames, chosen = _pick(coro)
    if not frames or (inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == "CORO_CREATED"):
        return
    for at in range(chosen, -1, -1):
        code = frames[at].f_code
        if at == chosen or is_own(code.co_filename):
            yield Place(code.co_filename, frames[at].f_lineno, code.co_qualname)


def is_authors(coro: Any) -> bool:  # noqa: ANN401 - the same
    """Whether it is a function of the author's own that runs there, whatever that calls."""
    frames, _ = _pick(coro)
    return bool(frames) and is_own(frames[0].f_code.co_filename)


def never_fails(coro: Any) -> bool:  # noqa: ANN401 - the same
    """Whether it is parked by creche itself, where nothing but a cancellation or Ctrl-C can come."""
    files = [frame.f_code.co_filename for frame in awaiting(coro)]
    parked = next((file for file in files[::-1] if not file.startswith(_LOOPS)), "")
    return parked.startswith(_BACKENDS)


def waits_in(coro: Any) -> str:  # noqa: ANN401 - the same
    """What is awaited at that line, as a function's name; of the loop's own lines, the outermost."""
    frames, chosen = _pick(coro)
    if frames and not _rank(frames[chosen].f_code.co_filename):
        return frames[chosen].f_code.co_qualname
    return frames[chosen + 1].f_code.co_qualname if chosen + 1 < len(frames) else "a future"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from or while handling."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def comes_of(error: BaseException, cause: BaseException) -> bool:
    """Whether it is that one, or came of it; a group comes out in other groups, too, and in parts."""
    known = {id(one) for one in (cause, *leaves(cause))}
    return any(id(part) in known for one in _chain(error) for part in (one, *leaves(one)))


def told(error: BaseException) -> str:
    """What was raised, and at which line of the author's own."""
    found: Place | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_own(frame.f_code.co_filename):
            found = Place(frame.f_code.co_filename, line, frame.f_code.co_qualname)
    said = _said(error)
    if error.__cause__ is not None:  # of trio's internal errors it says what there is to know
        said += f" (from {_said(error.__cause__)})"
    return f"{said}, raised at {found}" if found else said


def _said(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
