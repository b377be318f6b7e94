"""Tracebacks as their readers want them: without the frames of creche.

What it is for: whoever shows an error of the user's shows where it is in the user's code.

What it does not know: where the text is shown.

Invariant: each exception is in the text as often as Python would show it: nothing but frames is
left out.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path

# With the separator: a folder whose name begins like ours is not ours.
OWN = str(Path(__file__).parent) + os.sep


def users_traceback(exc: BaseException) -> str:
    """The traceback of an exception without the frames of creche and of Python's import machinery.

    Args:
        exc: any exception.

    Returns:
        the text, with its end of line.
    """
    told = traceback.TracebackException.from_exception(exc)
    # Each exception is in there once, however they refer to one another.
    parts = [told]
    while parts:
        part = parts.pop()
        part.stack[:] = [frame for frame in part.stack if not is_own(frame.filename)]
        related = (part.__cause__, part.__context__, *(part.exceptions or ()))
        parts += [other for other in related if other is not None]
    return "".join(told.format())


def in_a_line(exc: BaseException) -> str:
    """The class of an exception and the last line of what it says, whatever its `str` does.

    Args:
        exc: any exception; its notes, which are lines of their own, are left out.

    Returns:
        the line.
    """
    told = traceback.TracebackException(type(exc), exc, None, compact=True)
    told.__notes__ = None
    return list(told.format_exception_only())[-1].strip()


def is_own(file: str) -> bool:
    """Whether a file is one of creche's, or of Python's import machinery.

    Args:
        file: its name.

    Returns:
        whether its frames are of no interest to users.
    """
    return file.startswith(("<frozen importlib", OWN))
