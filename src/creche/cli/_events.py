"""Event files on the command line: begun by ``creche run``, and read by ``creche events``.

What it does not know: how the rows look (`_event_rows` does), how events get into a file.

Invariant: a file that is no event file, or cannot be read or written, is a `UsageError`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from creche.instruments import CallRecord, EventLog, HistoryReader, RunRecord
from creche.instruments._event_log import is_written

from ._event_files import about, check_output, console, flush_out, reading, write_out
from ._event_rows import HEADINGS, Wanted, plain_row, row_of, shown_row
from ._usage import UsageError

# How often a file that is followed is looked at, in seconds.
_OFTEN = 0.2


def check_log(path: Path | None, source: Path, *, values: bool) -> None:
    """Refuse what ``creche run`` is told about its event file, before anything is run.

    Args:
        path: of the file, if there is to be one.
        source: the program that is to be run.
        values: with arguments and values.

    Raises:
        UsageError: it cannot be written, or there is none for the values.
    """
    if path is not None:
        check_output("--log-events", path, source)
    elif values:
        raise UsageError("--log-values goes with --log-events FILE, the file that they are written to")


def open_log(path: Path | None, *, values: bool) -> list[EventLog]:
    """Begin an event file; what was in it is gone.

    Args:
        path: of the file, if there is to be one.
        values: with arguments and values.

    Returns:
        the log, or nothing.

    Raises:
        UsageError: it cannot be written.
    """
    if path is None:
        return []
    try:
        return [EventLog(path, values=values)]
    except OSError as exc:
        raise UsageError(about(f"--log-events {path}", exc)) from exc


def show_events(path: Path, wanted: Wanted, *, as_json: bool, follow: bool) -> int:
    """Write the events of a file to standard output.

    Args:
        path: of the file.
        wanted: which of them.
        as_json: as lines of JSON, with the seconds since the history begins.
        follow: go on until the log is closed, or nobody has the file open to write it.

    Returns:
        the exit status.

    Raises:
        UsageError: the file cannot be read, or is no event file; or standard output cannot be written.
        ReaderGone: nobody reads that any more.
    """
    _show(path, wanted, _Writer(as_json=as_json), follow=follow)
    return 0


def _show(path: Path, wanted: Wanted, writer: _Writer, *, follow: bool) -> None:
    def heed(record: dict[str, Any], of: CallRecord | RunRecord) -> None:
        when = record["time"] + reader.history.shift_of(record["run"])
        if wanted.wants(record, of, when):
            heeded.append((record, of, when))

    heeded: list[tuple[dict[str, Any], CallRecord | RunRecord, float]] = []
    reader = HistoryReader(path, heed)
    size, end = -1, "its writer still writes, or was killed"
    while True:
        with reading(path):
            # Before it is read: what a log writes before it goes is read, also its end.
            before, size = size, path.stat().st_size
            has_gone = follow and size == before and not is_written(path)
            reader.read()
        for one in heeded:
            writer.write(*one)
        heeded.clear()
        if not follow or reader.history.is_closed:
            break
        if has_gone:
            end = "its writer has gone"
            break
        flush_out()
        time.sleep(_OFTEN)
    if not reader.history.is_closed:
        flush_out()
        sys.stderr.write(f"the log was not closed: {end}\n")


class _Writer:
    """Writes rows in the form that is asked for."""

    def __init__(self, *, as_json: bool) -> None:
        self._console = console()
        self.write: Callable[..., None]
        if as_json:
            self.write = self._json
        elif self._console.is_terminal:
            self.write = self._shown
            self._print(HEADINGS)
        else:
            self.write = self._plain
            write_out(plain_row(HEADINGS))

    @staticmethod
    def _json(record: dict[str, Any], of: object, when: float) -> None:
        del of
        write_out(json.dumps({"at": round(when, 6), **record}, separators=(",", ":")) + "\n")

    @staticmethod
    def _plain(record: dict[str, Any], of: CallRecord | RunRecord, when: float) -> None:
        write_out(plain_row(row_of(record, of, when)))

    def _shown(self, record: dict[str, Any], of: CallRecord | RunRecord, when: float) -> None:
        self._print(row_of(record, of, when))

    def _print(self, row: tuple[str, ...]) -> None:
        self._console.print(shown_row(row, self._console.width), soft_wrap=True)
