"""What happens, written into a file of JSON lines while it happens.

What it is for: whatever ends the process, what has happened is in the file, but for the last half
second.

What it does not know: how a line is made (`_records` does), who reads the file.

Invariant: the loop is never made to wait: a thread of its own does the rest, and what cannot be written
is logged once, and dropped. What is in the file are whole lines, but for the last one of a log that was
killed.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import io
import os
import queue
import stat
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, final

from creche._events import CallEvent, Instrument, RunnerEvent
from creche._log import logger

try:
    import fcntl
except ImportError:  # pragma: no cover - where there is none, nobody keeps two logs apart
    fcntl = None  # type: ignore[assignment]  # there is no such module on Windows

from ._records import call_line, footer, header, runner_line

# Seconds, at most, that what has happened is not in the file yet; and bytes.
_LATE = 0.5
_MUCH = 64 * 1024

_Item = tuple[str, Any, float | None]
_Items = queue.SimpleQueue[_Item | None]

# The threads of the logs that are open, each with what it is to write.
_writers: dict[threading.Thread, _Items] = {}


@final
class EventLog(Instrument):
    """Writes each event as a line of JSON; hand it to a runner as one of its `instruments`.

    The file can be read at any time by `read_history` or ``creche events``, also after a kill: the last
    second is lost at most. One log serves any number of runners, one after another or at once. It is
    closed by `close`, by leaving it as a context manager, or when the interpreter exits. When the file
    cannot be written any further (the disk is full), that is logged once (logger ``creche``), and the
    run goes on without it.
    """

    def __init__(self, path: str | os.PathLike[str], *, values: bool = False) -> None:
        """Begin the file; what was in it is gone. One that was not there only its owner may read.

        Args:
            path: of the file.
            values: write arguments and values of calls down as well, by their `repr`. They may be
                secret; by default they are left out. Messages of errors are in either way.

        Raises:
            BlockingIOError: another log writes it, here or in another process, and is not closed yet.
            OSError: the file cannot be written.
            TypeError: `path` is no path, or `values` no truth value.
        """
        if not isinstance(values, bool):
            msg = f"values must be True or False, not {values!r}"
            raise TypeError(msg)
        self.wants_values = values
        self._path = os.fspath(path)
        # Runs are set in relation to each other by it: it must not jump when somebody sets the clock.
        self._epoch = time.time() - time.monotonic()
        items: _Items = queue.SimpleQueue()
        self._put: Callable[[_Item], object] = items.put
        # Late: it takes longer than the rest of creche.
        version = importlib.import_module("importlib.metadata").version("creche")
        # Without a buffer of Python's: a fork would write the same once more.
        file = io.FileIO(self._path, "w", opener=_open)
        try:
            _write(file, header(version, self._wall()).encode("ascii"))
        except BaseException:
            file.close()
            raise
        # A daemon: it must not keep an interpreter from exiting that does not come to `atexit`.
        self._thread = threading.Thread(
            target=_write_all,
            args=(items, file, self._path, self._epoch, values),
            name="creche event log",
            daemon=True,
        )
        _writers[self._thread] = items
        self._thread.start()
        # For one that nobody closes. It waits for nothing: it may be called in any thread, also in ours.
        weakref.finalize(self, items.put, None).atexit = False

    def close(self) -> None:
        """Write what is left and close the file; blocks until that is done. What comes later is lost."""
        items, self._put = _writers.get(self._thread), _drop
        if items is not None:
            _end(self._thread, items)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<creche.instruments.EventLog {self._path!r}>"

    def __reduce__(self) -> NoReturn:
        msg = "an EventLog cannot be pickled or copied: only one can write its file"
        raise TypeError(msg)

    def runner_started(self, event: RunnerEvent) -> None:
        """Write it down."""
        self._put(("runner_started", event, self._wall()))

    def call_submitted(self, event: CallEvent) -> None:
        """Write it down."""
        self._put(("call_submitted", event, None))

    def call_admitted(self, event: CallEvent) -> None:
        """Write it down."""
        self._put(("call_admitted", event, None))

    def call_started(self, event: CallEvent) -> None:
        """Write it down."""
        self._put(("call_started", event, None))

    def call_retrying(self, event: CallEvent) -> None:
        """Write it down."""
        self._put(("call_retrying", event, None))

    def call_finished(self, event: CallEvent) -> None:
        """Write it down."""
        self._put(("call_finished", event, None))

    def runner_closed(self, event: RunnerEvent) -> None:
        """Write it down."""
        self._put(("runner_closed", event, self._wall()))

    def _wall(self) -> float:
        return self._epoch + time.monotonic()


def _open(path: str, flags: int) -> int:
    """Open the file for one log alone, and empty it then: what another one is writing is left whole.

    A new one only its owner may read: messages of errors are in it.
    """
    fd = os.open(path, flags & ~os.O_TRUNC, 0o600)
    try:
        _lock(fd, path)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int, path: str) -> None:
    if fcntl is None:  # pragma: no cover - see above
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        what = "another event log writes it, and is not closed yet"
        raise BlockingIOError(errno.EAGAIN, what, path) from None
    except OSError:  # a file system without locks: as if nobody else were there
        pass


def is_written(path: str | os.PathLike[str]) -> bool:
    """Whether an event log, here or in another process, has the file open; True if that cannot be told.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
    """
    if fcntl is None:  # pragma: no cover - see above
        return True
    with open(path, "rb") as file:  # noqa: PTH123 - `path` may be of any type
        try:
            # With others that only look; a log that is begun in this very moment would be refused.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # it has it, or there are no locks
            return True
    return False


def _unlock(fd: int) -> None:
    """At once, whoever else has the file by a fork."""
    if fcntl is not None:  # pragma: no branch - see above
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)


def _drop(item: _Item) -> None:
    """It comes after the end."""


def _end(thread: threading.Thread, items: _Items) -> None:
    items.put(None)
    thread.join()
    _writers.pop(thread, None)


@atexit.register
def _end_all() -> None:
    """The interpreter exits: what the logs that are still open have heard goes into their files."""
    for thread, items in list(_writers.items()):
        _end(thread, items)


def _write_all(items: _Items, file: io.FileIO, path: str, epoch: float, values: bool) -> None:  # noqa: FBT001 - a thread's argument
    """The body of the thread."""
    try:
        with file:
            _write_each(items, file, values=values)
            _write(file, footer(epoch + time.monotonic()).encode("ascii"))
            _unlock(file.fileno())
    except Exception:  # noqa: BLE001 - logged: whatever it is, the run must not end by it
        logger.exception("the event log %r cannot be written any further; what comes is dropped", path)
        while items.get() is not None:
            pass
    _writers.pop(threading.current_thread(), None)


def _write_each(items: _Items, file: io.FileIO, *, values: bool) -> None:
    """Write what comes, several lines at a time, until `None` does."""
    lines = bytearray()
    since = 0.0
    while True:
        try:
            item = items.get(timeout=max(0.0, since + _LATE - time.monotonic()) if lines else None)
        except queue.Empty:
            pass
        else:
            if item is None:
                items.put(None)  # for whoever drops the rest, should what is left not be written
                break
            if not lines:
                since = time.monotonic()
            name, event, wall = item
            if wall is None:
                line = call_line(name, event, values=values)
            else:
                line = runner_line(name, event, wall)
            lines += line.encode("ascii")
            item = event = None  # nothing of the call is kept here until the next one ends
            if len(lines) < _MUCH and time.monotonic() < since + _LATE:
                continue
        _write(file, lines)
        lines.clear()
    _write(file, lines)


def _write(file: io.FileIO, lines: bytes | bytearray) -> None:
    """All of it: a disk that is nearly full takes a part first."""
    left = memoryview(lines)
    while left:
        left = left[file.write(left) :]
    left.release()
