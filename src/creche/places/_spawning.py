"""Starting a worker process, and waiting for the end of one.

What it is for: a process has two ways to its parent: a socket for parcels, and the reading end of a pipe
for tokens. Nothing else of the parent's is open in it but the output.

What it does not know: calls.

Invariant: a process is started in the thread that asks, which has to outlive it: the system ends it with
that thread. That takes less than a millisecond, since nothing of the parent is copied.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from creche._far import _frames
from creche._ki import protected

# creche itself is not imported there: its package would be, by an ordinary import of these files.
_BEGIN = (
    "import sys; from importlib import import_module; far = type(sys)('creche._far'); "
    "far.__path__ = [{path!r}]; sys.modules['creche._far'] = far; "
    "import_module('creche._far._worker').main({link}, {tokens})"
)


class Spawned(NamedTuple):
    """A worker process and the ways to it.

    Attributes:
        process: as it was started.
        link: the socket, which does not block.
        give: the writing end of the pipe of tokens.
        take: its reading end, which the process has too; it does not block.
    """

    process: subprocess.Popen[bytes]
    link: socket.socket
    give: int
    take: int

    def close(self) -> None:
        """Close the ways to it."""
        self.link.close()
        os.close(self.give)
        os.close(self.take)


@protected
def spawn() -> Spawned:
    """Start a worker process.

    Returns:
        the process; it waits for its settings.

    Raises:
        OSError: the system does not let us.
    """
    ours, theirs = socket.socketpair()
    take, give = os.pipe()
    try:
        os.set_blocking(take, False)
        ours.setblocking(False)  # noqa: FBT003 - the socket's own method
        # It does not block by itself if the program has called `socket.setdefaulttimeout`.
        theirs.setblocking(True)  # noqa: FBT003 - as above
        begin = _BEGIN.format(
            path=str(Path(_frames.__file__).parent),
            link=theirs.fileno(),
            tokens=take,
        )
        # As multiprocessing starts its own: with the flags that this interpreter was started with.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - what multiprocessing starts its children with
        # Ctrl-C that comes before the worker has seen to it would end it; it lets it through later.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process = subprocess.Popen(  # noqa: S603 - a program of our own
                [sys.executable, *flags, "-P", "-c", begin],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), take),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except BaseException:
        ours.close()
        os.close(give)
        os.close(take)
        raise
    finally:
        theirs.close()
    return Spawned(process, ours, give, take)


@protected
async def wait_for_end(process: subprocess.Popen[bytes]) -> int:
    """Wait until a process has ended.

    Args:
        process: one that was not waited for before.

    Returns:
        its exit code; negative for a signal.
    """
    opened = _open(process.pid)
    if opened is None:
        return await anyio.to_thread.run_sync(process.wait, limiter=anyio.CapacityLimiter(1))
    try:
        await anyio.wait_readable(opened)
    finally:
        os.close(opened)
    return process.wait()


def _open(pid: int) -> int | None:
    """A descriptor that is readable when a process has ended; `None` where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
