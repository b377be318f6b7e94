"""Prints of a flow and its tasks as lines of a log.

What it is for: `log_prints`: while such a flow runs, ``print`` in its body and in its tasks goes to the
logger ``creche.prints``, with the key of what printed; in threads, too.

What it does not know: flows, tasks. Nor other processes: there a print is a print.

Invariant: what is not of such a flow prints as ever, also while one runs; and ``print`` is the one that
it was when the last of them has ended.
"""

from __future__ import annotations

import builtins
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

logger = logging.getLogger("creche.prints")

_KEY: ContextVar[str | None] = ContextVar("creche prints", default=None)
_lock = threading.Lock()
_open = 0
_original = builtins.print


@contextmanager
def prints_logged() -> Iterator[None]:
    """Have ``print`` look at what prints, as long as this is open; it may be open many times over."""
    global _open, _original  # noqa: PLW0603 - there is one print
    with _lock:
        _open += 1
        if _open == 1:
            _original, builtins.print = builtins.print, _print
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if _open == 0 and builtins.print is _print:  # else somebody else has replaced it
                builtins.print = _original


@contextmanager
def printing_as(key: str | None) -> Iterator[None]:
    """What is printed here goes to the log, or to none.

    Args:
        key: of what prints; `None` for prints that stay prints.
    """
    token = _KEY.set(key)
    try:
        yield
    finally:
        _KEY.reset(token)


def _print(
    *values: object,
    sep: str | None = None,
    end: str | None = None,
    file: Any = None,  # noqa: ANN401 - as of print
    flush: bool = False,
) -> None:
    key = _KEY.get()
    if key is None or (file is not None and file is not sys.stdout):
        _original(*values, sep=sep, end=end, file=file, flush=flush)
        return
    text = (" " if sep is None else sep).join(map(str, values))
    if end is not None:
        text += end.removesuffix("\n")
    token = _KEY.set(None)  # a handler may print
    try:
        logger.info("%s: %s", key, text, extra={"key": key})
    finally:
        _KEY.reset(token)
