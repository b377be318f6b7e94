"""What runs on a Dask worker: one call, inside the wrapper, marked as begun.

What it is for: a worker that dies takes all the calls along that it was sent, and Dask tries them again
on others, or says of all of them that they have killed it. A file that is made before the user's code
runs tells one that has begun from one that has not: the first is lost, and is never run again; the
second is none the worse. One that had ended has its answer in there, on the machine of the client. And
a call can be told to stop, by its name.

What it does not know: clients; what is in a parcel.

Invariant: user code runs only after its mark was made; a call that finds its mark there is not run, nor
one that was told to stop before it began (of the last `_REMEMBERED` that were).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from creche._far._body import VALUE, carry
from creche._far._pickling import Part, load
from creche._far._stop import Stop

BEGUN = "begun"
"""Given back instead of an answer: another worker had begun this call, and was lost."""

UNFED = "unfed"
"""Given back instead of an answer: what another call gave, and this one takes, has been lost."""

STOPPED = "stopped"
"""Given back instead of an answer: the call was told to stop before it began."""

_REMEMBERED = 10_000

# Bytes of an answer that is kept until the client has it.
_SMALL = 16_000

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - in there a folder of our own is made

_NO = object()

# Folders of clients, and whether they are on this machine.
_is_here: dict[str, bool] = {}

_lock = threading.Lock()
_running: dict[str, Stop] = {}
_here = threading.local()
_told_before: dict[str, object] = {}


def carry_out(folder: str, mark: str, parts: Sequence[Part], *inputs: Part | str) -> Part | str:
    """Carry out a call.

    Args:
        folder: of the client, for marks; used if it is on this machine.
        mark: the name of the call.
        parts: the call, packed.
        inputs: the answers of other calls that are among its arguments; see `Fed`.

    Returns:
        the answer, packed; or `BEGUN`, `UNFED` or `STOPPED`.
    """
    if any(isinstance(one, str) for one in inputs):
        return UNFED
    path = _path(folder, mark)
    try:
        file = _make(path)
    except FileExistsError:
        return answer_in(path) or BEGUN
    answer: Part | str = STOPPED
    stop = Stop()
    with _lock:
        begins = _told_before.pop(mark, _NO) is _NO
        if begins:
            _running[mark] = stop
    if begins:
        try:
            _here.inputs = inputs
            answer = carry(parts, stop, in_band=True)[0]
        finally:
            del _here.inputs
            with _lock:
                del _running[mark]
    _keep(file, path, answer if _is_here[folder] else STOPPED)
    return answer


class Fed:
    """In a packed call, in the place of what another call gave: unpacked, it is that."""

    def __init__(self, number: int) -> None:
        """Make it.

        Args:
            number: which of the inputs of the call it is.
        """
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _input, (self._number,)


def _input(number: int) -> Any:  # noqa: ANN401 - whatever a call gives
    kind, *rest = load([_here.inputs[number]])
    if kind != VALUE:
        msg = "a call whose result is an argument of this one was run again, and gave none"
        raise LookupError(msg)
    return rest[0]


def _path(folder: str, mark: str) -> str:
    """Where a call is marked on this machine: in the folder of the client, if that is here."""
    is_here = _is_here.get(folder)
    if is_here is None:
        is_here = _is_here[folder] = sees(folder)
    return f"{folder}/{mark}" if is_here else f"{_folder_of_ours(folder)}/{mark}"


def _folder_of_ours(folder: str) -> str:
    return f"{folder_for_marks()}/{os.path.basename(folder)}-far"  # noqa: PTH119 - the path is of another machine


def folder_for_marks() -> str:
    """Where folders for marks are made on this machine: in memory, where making a file costs least."""
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else tempfile.gettempdir()


def _make(path: str) -> int | None:
    """The mark, open; `None` when nothing can be written here: then calls go unmarked."""
    for _ in range(2):
        try:
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            raise
        except OSError:
            parent = os.path.dirname(path)  # noqa: PTH120 - as below
            if parent in _is_here:
                break  # the client has removed it: its run is over
            with suppress(OSError):
                os.mkdir(parent, 0o700)  # noqa: PTH102 - as below
    return None


def _keep(file: int | None, path: str, answer: Part | str) -> None:
    """Leave the answer in the mark if it is small, and else no mark.

    Dask loses the answer with this worker, and has the call carried out again: then it is there. The
    client removes it.
    """
    if file is None:
        return
    with suppress(OSError):
        if isinstance(answer, bytes) and len(answer) <= _SMALL:
            os.write(file, len(answer).to_bytes(8) + answer)
        else:
            os.unlink(path)  # noqa: PTH108 - pathlib costs more than what it does here
        os.close(file)


def answer_in(path: str) -> bytes | None:
    """The answer that a call has left in its mark; `None` if it has not ended, or none was left."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            found = file.read()
    except OSError:
        return None
    answer = found[8:]
    return answer if found and int.from_bytes(found[:8]) == len(answer) else None


# What a client asks of a worker, beside calls; see `Client.run` ------------------------------------


def tell_to_stop(marks: list[str]) -> list[str]:
    """Tell calls to stop, those too that have not begun yet.

    Args:
        marks: their names.

    Returns:
        those that run here.
    """
    with _lock:
        stops = {mark: _running[mark] for mark in marks if mark in _running}
        for mark in marks:
            if mark not in stops:
                _told_before[mark] = None
        while len(_told_before) > _REMEMBERED:
            del _told_before[next(iter(_told_before))]
    for stop in stops.values():
        with suppress(RuntimeError):  # its loop has ended just now
            stop.set()
    return list(stops)


def sees(folder: str) -> bool:
    """Whether the folder of the client is on this machine."""
    return os.path.isdir(folder)  # noqa: PTH112 - as above


def has_begun(folder: str, mark: str) -> bool:
    """Whether a worker on this machine, not the client's, has begun a call and not ended it."""
    return os.path.exists(f"{_folder_of_ours(folder)}/{mark}")  # noqa: PTH110 - as above


def leave() -> None:  # pragma: no cover - it ends the process that runs it
    """End this worker, whatever its threads do; its nanny starts another."""
    os._exit(1)


def tidy(folder: str) -> None:
    """The run is over: remove what workers have left behind that died."""
    shutil.rmtree(_folder_of_ours(folder), ignore_errors=True)
