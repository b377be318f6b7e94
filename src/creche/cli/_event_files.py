"""The files that commands are given: event files to read, and what is to be written.

What it does not know: what is done with them.

Invariant: whatever is wrong with a file is a `UsageError` that names it, and of an event file the line;
unless it is that nobody reads standard output any more, which is no failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast, final

from rich.console import Console

from creche.instruments import EventFileError, History, read_history

from ._usage import ReaderGone, UsageError


def read_events(path: Path) -> History:
    """Read an event file.

    Args:
        path: of the file.

    Returns:
        what has happened.

    Raises:
        UsageError: there is no such file, or it is none of events.
    """
    with reading(path):
        return read_history(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong with an event file is a mistake on the command line.

    Args:
        path: of the file.

    Yields:
        for the time in which it is read.

    Raises:
        UsageError: it cannot be read, or is no event file.
    """
    try:
        yield
    except EventFileError as exc:
        raise UsageError(str(exc)) from exc
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read {about(str(path), exc)}") from exc


def write_out(text: str) -> None:
    """Write to standard output, be it a terminal or a file of an old encoding: the rest as escapes.

    Args:
        text: with its ends of lines.

    Raises:
        UsageError: it cannot be written.
        ReaderGone: nobody reads it any more.
    """
    if sys.stdout is None:
        raise UsageError("standard output: it is closed")
    encoding = sys.stdout.encoding or "utf-8"
    with _writing():
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def flush_out() -> None:
    """Have everything written that was written to standard output.

    Raises:
        UsageError: it cannot be written.
        ReaderGone: nobody reads it any more.
    """
    if sys.stdout is not None:
        with _writing():
            sys.stdout.flush()


def console() -> Console:
    """What writes to standard output as `write_out` does; whatever that is by then."""
    return Console(highlight=False, file=cast("IO[str]", _StandardOutput()))


@final
class _StandardOutput:
    @property
    def encoding(self) -> str:
        """Of standard output."""
        return getattr(sys.stdout, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return sys.stdout is not None and sys.stdout.isatty()

    def write(self, text: str, /) -> int:
        """Write to it."""
        write_out(text)
        return len(text)

    def flush(self) -> None:
        """Have it all written."""
        flush_out()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        # The interpreter flushes once more when it exits, and would complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if isinstance(exc, BrokenPipeError):
            raise ReaderGone from None
        raise UsageError(about("standard output", exc)) from exc


def write_output(option: str, path: Path, data: bytes) -> None:
    """Write a file.

    Args:
        option: what it was given for.
        path: of the file.
        data: all of it.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise UsageError(about(f"{option} {path}", exc)) from exc


def check_output(option: str, path: Path, *others: Path) -> None:
    """Refuse a file that cannot be written, before anything is done for it; leaves it as it is.

    Args:
        option: what it was given for.
        path: of the file.
        others: files that must not be overwritten by it.

    Raises:
        UsageError: it cannot be written, or is one of the others.
    """
    try:
        if path.exists() and any(other.exists() and path.samefile(other) for other in others):
            raise UsageError(f"{option} {path}: it would overwrite what is read; give it another name")
        was_there = path.exists()
        with path.open("ab"):
            pass
        if not was_there:
            path.unlink()
    except (OSError, ValueError) as exc:
        raise UsageError(about(f"{option} {path}", exc)) from exc


def about(what: str, exc: Exception) -> str:
    """What is wrong with a file.

    Args:
        what: the option, or the file.
        exc: an `OSError`, or what a name raises that no file can have.

    Returns:
        a sentence.
    """
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return f"{what}: {reason[:1].lower()}{reason[1:]}"
