"""What is logged where nobody has set up logging: onto standard error, as text that steers no terminal.

What it does not know: what is logged. Handlers that a program has set up are its own affair.

Invariant: afterwards Python's last resort is as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from creche._printable import printable_lines


@final
class _Printable(logging.Formatter):
    """Messages and tracebacks, as ever, but for what steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


@contextmanager
def printable_log() -> Iterator[None]:
    """Have what is logged escaped, where no handler takes it.

    Yields:
        for the time in which it is.
    """
    handler = logging.lastResort
    assert handler is not None
    before = handler.formatter
    handler.setFormatter(_Printable())
    try:
        yield
    finally:
        handler.setFormatter(before)
