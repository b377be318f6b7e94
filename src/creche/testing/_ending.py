"""The end of a coroutine whose loop is gone: whatever it catches, it does not go on.

What it is for: `close` alone is not enough. It throws `GeneratorExit` into the coroutine, and one that
catches everything and tries again (``while True: try: ... except BaseException: pass``) awaits the
next thing, or does not even get there, since without a loop that raises at once, for ever. These are
the very coroutines that a report of a swallowed cancellation is about.

What it does not know: what the coroutine is for.

Invariant: it is closed when `end` returns, unless it is caught in more loops than anybody writes. What
its ``finally`` blocks have to do they may do, so long as they end.

How: its lines are counted while it is closed, by a trace function. Past the allowance, or when it awaits
something in spite of being closed, each line of it that runs while an exception is handled raises. That
takes it out of the handler, and so out of the loop around that. A trace function that raises is taken
off by Python; the next call that is made puts it on again, by way of a profile function.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections import Counter
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

from creche._log import logger

from ._where import awaiting

_LINES = 5_000
# A line that was carried out more often than this is one of the loop; others are those of what is around
# it, and may close what that has opened.
_AGAIN = 20
# One is enough for all that anybody has seen; each of the others takes it out of one more loop.
_TIMES = 100


class _OutError(BaseException):
    """Not for anybody to catch."""


def end(coro: Any) -> None:  # noqa: ANN401 - what can be awaited
    """Close it. Nothing is raised, and creche itself says nothing of what comes of that."""
    here = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != here  # pragma: no cover - coverage is off then, as below

    logger.addFilter(is_of_others)
    try:
        _close(coro)
    finally:
        logger.removeFilter(is_of_others)


def _close(coro: Any) -> None:  # noqa: ANN401, C901 - what can be awaited; it and its two spies are one thing
    if not inspect.iscoroutine(coro):
        with suppress(BaseException):  # whatever it says: it was left alone for good
            coro.close()
        return
    around = sys.exception()
    before = sys.gettrace(), sys.getprofile()
    allowed = _LINES
    count = 0
    seen: Counter[tuple[CodeType, int]] = Counter()
    awaited: list[Any] = []  # what catches everything outlives those that wait for it

    # What is a trace function itself no other one sees, and so not that of whoever measures coverage.
    def look(frame: FrameType, event: str, __: object) -> Any:  # noqa: ANN401 - a tracer, or none  # pragma: no cover - as `sys.settrace` has it
        nonlocal count
        if event == "line":
            line = frame.f_code, frame.f_lineno
            seen[line] += 1
            count += 1
            if count > allowed and seen[line] > _AGAIN and sys.exception() not in (None, around):
                raise _OutError
        return look

    def look_again(frame: FrameType | None, _: str, __: object) -> None:  # pragma: no cover - the same
        if sys.gettrace() is None:
            sys.settrace(look)
            while frame is not None and frame.f_code is not _close.__code__:
                frame.f_trace = look
                frame = frame.f_back

    for _ in range(_TIMES):  # pragma: no branch - nobody writes that many loops
        if coro.cr_frame is None:
            break
        inner = coro.cr_await
        while inspect.iscoroutine(inner):
            awaited.append(inner)
            inner = inner.cr_await
        for frame in awaiting(coro):
            frame.f_trace = look
        sys.setprofile(look_again)
        sys.settrace(look)
        try:
            coro.close()
        except BaseException:  # noqa: BLE001, S110 - the same; with `suppress` its code would be looked at, too
            pass
        finally:
            sys.setprofile(before[1])  # first: the call of the other would put that on again
            sys.settrace(before[0])
        allowed = count = 0
    for inner in awaited:
        _close(inner)
