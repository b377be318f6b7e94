"""A worker does not outlive its parent.

What it is for: where the system can, it is told to kill this process when the parent ends, which also
ends a call that is deep in C. Where it cannot, the parent's end of the pipe is closed by its death, and
whoever is idle looks round.

What it does not know: workers.

Invariant: a parent that has died before this was set up counts as well.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def is_orphan(parent: int) -> bool:
    """Whether a parent is gone; its children are handed to somebody else then."""
    return os.getppid() != parent


def die_with(parent: int) -> None:
    """End with the parent.

    The system looks at the thread that has started this process, and not at the whole parent: that is
    the thread of a loop, which outlives its workers.

    Args:
        parent: the id of its process.
    """
    if sys.platform == "linux":
        ctypes = importlib.import_module("ctypes")
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        except (OSError, AttributeError):  # pragma: no cover - a libc without it; the pipe is left
            return
    if is_orphan(parent):
        os._exit(1)  # pragma: no cover - it died within these milliseconds
