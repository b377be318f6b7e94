"""What ends a command before its end, as exceptions.

What it does not know: where they are raised and who prints them.
"""

from __future__ import annotations

from typing import final


@final
class UsageError(Exception):
    """The command cannot do what was asked for; its text is the sentence that is shown."""


@final
class ReaderGone(Exception):  # noqa: N818 - it is no failure
    """Nobody reads standard output any more, so there is nothing left to do; nothing is shown."""
