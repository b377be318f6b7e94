"""From an event file to a history.

What it is for: `HistoryReader` and `read_history`, by which everybody reads event files.

What it does not know: what is in a record (`_history` does), who writes the file.

Invariant: what is in whole lines is in the history, also of a file that is being written still, or whose
writer was killed: a last line that is not whole is left for the next reading. Anything else that is no
record is an `EventFileError` that names the line; no line makes it use more memory than its own length
asks for, and the first one none to speak of, whatever the file is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, NoReturn, final

from ._history import CallRecord, History, RunRecord
from ._records import SCHEMA

# Bytes: the first line of an event file is shorter.
_LONGEST_HEADER = 4096


@final
class EventFileError(ValueError):
    """A file is no event file, or one of a newer schema.

    Attributes:
        path: of the file.
        line: the number of the line that is wrong, from 1.
        what: what is wrong with it.
    """

    def __init__(self, path: str, line: int, what: str) -> None:
        super().__init__(path, line, what)
        self.path = path
        self.line = line
        self.what = what

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.what}"


@final
class HistoryReader:
    """Reads an event file, as far as it has been written, and later what has come since.

    Attributes:
        history: what has been read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        heed: Callable[[dict[str, Any], CallRecord | RunRecord], object] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            path: of the file.
            heed: called with the record of each event after it was taken in, and with the call or the
                run of the history that it is of.
        """
        self.history: History = History()
        self._path = os.fspath(path)
        self._heed = heed
        self._offset = 0
        self._line = 0

    def read(self) -> int:
        """Read what has come since the last time.

        A last line without its end, which a killed writer leaves behind, is left for the next time.

        Returns:
            how many events that were.

        Raises:
            OSError: the file cannot be read.
            EventFileError: it is no event file, one of a newer schema, or has become shorter.
        """
        count = 0
        with open(self._path, "rb") as file:  # noqa: PTH123 - `path` may be of any type
            if file.seek(0, os.SEEK_END) < self._offset:
                self._refuse("it has become shorter: another log has begun it anew")
            file.seek(self._offset)
            if self._line == 0:
                self._begin(file.readline(_LONGEST_HEADER))
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._line += 1
                count += self._take(line)
                self._offset += len(line)
        return count

    def _begin(self, line: bytes) -> None:
        self._line = 1
        if not line.endswith(b"\n"):
            what = "it is empty" if not line else "it does not begin with a whole line of JSON"
            self._refuse(f"no event file: {what}")
        record = self._parse(line)
        schema = record.get("schema")
        if record.get("event") != "log" or type(schema) is not int or schema < 1:
            self._refuse("no event file: its first line does not state the schema")
        if schema > SCHEMA:
            self._refuse(
                f"written by creche {record.get('creche')} in schema {schema}; this one reads up to "
                f"schema {SCHEMA}: install a newer creche to read it"
            )
        self._offset = len(line)

    def _take(self, line: bytes) -> int:
        """One line; how many events are in it."""
        record = self._parse(line)
        if record.get("event") == "log_closed":
            self.history.is_closed = True
            return 0
        try:
            of = self.history.add(record)
        except KeyError as exc:
            self._refuse(f"no event that is understood: it lacks {exc.args[0]!r}")
        except ValueError as exc:
            self._refuse(f"no event that is understood: {exc}")
        if self._heed is not None:
            self._heed(record, of)
        return 1

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            record = _decoder.decode(line.decode())
        except (ValueError, RecursionError) as exc:
            self._refuse(f"no JSON: {exc}")
        if not isinstance(record, dict):
            self._refuse("no event: it is not a JSON object")
        return record

    def _refuse(self, what: str) -> NoReturn:
        raise EventFileError(self._path, self._line, what) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number that JSON has")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def read_history(path: str | os.PathLike[str]) -> History:
    """Read an event file; one that is written still, or whose writer was killed, as far as it goes.

    Args:
        path: of a file that `EventLog` writes.

    Returns:
        what has happened.

    Raises:
        OSError: the file cannot be read.
        EventFileError: it is no event file, or one of a newer schema.
    """
    reader = HistoryReader(path)
    reader.read()
    return reader.history
