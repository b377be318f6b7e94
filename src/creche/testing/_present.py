"""What this process has at the moment beside memory: threads, child processes, descriptors.

What it is for: to be taken before and after, and to be compared.

What it does not know: event loops and their tasks.

Invariant: what others keep for later use is not in it: idle threads of pools, and helpers of
`multiprocessing`.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import ref

_DESCRIPTORS = Path("/dev/fd")
_CHILDREN = Path("/proc/self/task")

# Where a thread of a pool stands that has nothing to do, and how to see there that nothing is on its
# way to it: trio's, that of `concurrent.futures`, anyio's, and that of a runner of creche's.
_IDLE: dict[tuple[str, str], Callable[[Mapping[str, Any]], bool]] = {
    ("_thread_cache.py", "_work"): lambda here: here["self"]._job is None,  # noqa: SLF001 - trio has no public name for it
    ("thread.py", "_worker"): lambda here: here["work_queue"].empty(),
    ("_asyncio.py", "run"): lambda here: here["self"].queue.empty(),
    ("_thread_queue.py", "wait"): lambda here: here["server"] in here["self"].idle,
}
_READING = ("_asyncio.py", "run")


# What `multiprocessing` keeps for all that use it, and begins when the first one does: by module and
# object, and the names of a process and a descriptor.
_HELPERS = (
    ("multiprocessing.resource_tracker", "_resource_tracker", "_pid", "_fd"),
    ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid", "_forkserver_alive_fd"),
)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that a process has; the same as before by what it is, and not by what is said of it.

    Threads and tasks are known by weak references: their numbers go to others when they end.
    """

    kind: str
    ident: object
    text: str = field(compare=False)


def _where(frame: FrameType) -> tuple[str, str]:
    return os.path.basename(frame.f_code.co_filename), frame.f_code.co_name  # noqa: PTH119 - of a name


def _is_idle(frame: FrameType | None) -> bool:
    """Whether the thread whose innermost frame this is waits in a pool for something to do."""
    reads = False
    # What a thread that goes on meanwhile has left may be no frame: seen on Python 3.11.
    while isinstance(frame, FrameType) and _where(frame)[0] in ("queue.py", "threading.py"):
        reads = reads or _where(frame) == ("queue.py", "get")
        frame = frame.f_back
    if not isinstance(frame, FrameType):
        return False
    at = _where(frame)
    if at not in _IDLE or (at == _READING and not reads):
        return False
    try:
        return _IDLE[at](frame.f_locals)
    except (AttributeError, KeyError):  # another function of that name, or it has only just begun
        return False


def _job(frame: FrameType | None) -> FrameType | None:
    """What a thread of a pool does at the moment; `None` in any other thread.

    One that was at work and is at work may have ended the one thing, and begun another.
    """
    inner = None
    while isinstance(frame, FrameType) and _where(frame) not in _IDLE:
        frame, inner = frame.f_back, frame
    return inner if isinstance(frame, FrameType) else None


def threads() -> set[Thing]:
    """The threads that have something to do, but this one."""
    here = threading.current_thread()
    others = [thread for thread in threading.enumerate() if thread is not here]
    frames = sys._current_frames() if others else {}  # noqa: SLF001 - documented
    return {
        Thing("thread", (ref(thread), _job(frame)), repr(thread.name))
        for thread in others
        for frame in [frames.get(thread.ident or 0)]
        if not _is_idle(frame)
    }


def _helpers() -> tuple[set[int], set[int]]:
    """The processes and the descriptors of `multiprocessing`'s own; nobody else knows them."""
    pids: set[Any] = set()
    numbers: set[Any] = set()
    for module, name, pid, number in _HELPERS:
        helper = getattr(sys.modules.get(module), name, None)
        pids.add(getattr(helper, pid, None))
        numbers.add(getattr(helper, number, None))
    return pids - {None}, numbers - {None}


def _has_children() -> bool:
    """Whether there are any, as the kernel says at once: the files that name them cost much more."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def processes() -> set[Thing]:
    """The child processes, ended ones too that nobody has waited for."""
    if not _has_children():
        return set()
    helpers, _ = _helpers()
    found = set()
    for children in _CHILDREN.glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            for pid in map(int, children.read_text("ascii").split()):
                if pid not in helpers:
                    found.add(Thing("process", pid, _command(pid)))
    return found


def kill(pid: int) -> None:
    """End a child process, and wait for it."""
    with suppress(OSError):  # it has ended, or somebody waits for it by now
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _command(pid: int) -> str:
    """What a process was started with; one that has ended has forgotten it."""
    said = b""
    state = "Z"
    with suppress(OSError):
        said = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    words = said.replace(b"\0", b" ").decode(errors="replace").strip()
    return f"{pid}, which has ended and was not waited for" if state == "Z" else f"{pid} {words[:60]!r}"


def descriptors() -> set[Thing]:
    """The open files, sockets and pipes."""
    _, helpers = _helpers()
    found = set()
    for path in list(_DESCRIPTORS.iterdir()) if _DESCRIPTORS.is_dir() else ():
        if int(path.name) in helpers:
            continue
        with suppress(OSError):  # the one that the list itself was read through
            what = os.fstat(int(path.name))
            kind = "socket" if stat.S_ISSOCK(what.st_mode) else "descriptor"
            target = path.readlink()
            found.add(Thing(kind, (path.name, what.st_dev, what.st_ino), f"{path.name} '{target}'"))
    return found


def present() -> set[Thing]:
    """All of it."""
    return threads() | processes() | descriptors()
