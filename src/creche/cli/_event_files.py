"""The files that commands are given: event files to read, and what is to be written.

What it does not know: what is done with them.

Invariant: whatever is wrong with a file is a `UsageError` that names it, and of an event file the line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from creche.instruments import EventFileError, History, read_history

from ._usage import UsageError


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
    """
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


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
