"""Failures that nobody has read: they are logged once, at the exit of the run.

What it is for: a failure is remembered when it happens, and forgotten when somebody sees it.

What it does not know: the board, logging.

Invariant: what is remembered of a slot that does not stay on the board keeps neither it nor its error,
and there are not many of it, however long a runner lives.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any, final

from ._slot import Slot

# How many failures that nobody read are remembered once their slots have left the board.
_REMEMBERED = 100


@final
class Unread:
    """The failures of one run that nobody has read.

    Attributes:
        failures: key, and the slot while it is on the board.
        forgotten: how many more there are that are not remembered by key.
    """

    def __init__(self) -> None:
        self.failures: dict[object, tuple[Hashable, Slot[Any] | None]] = {}
        self.forgotten = 0

    def remember(self, slot: Slot[Any], *, keep: bool) -> None:
        """A call is about to fail; first: a reader in another thread may be quick.

        Args:
            slot: the call's.
            keep: whether it stays on the board.
        """
        token = object()
        self.failures[token] = (slot.key, slot if keep else None)
        slot.tell_when_read(partial(self.failures.pop, token, None))
        if not keep and len(self.failures) > _REMEMBERED:
            # A runner that lives for months, with failures that nobody looks at, stays small.
            # By a list of them: a reader in another thread takes some off meanwhile.
            self.failures.pop(list(self.failures)[0], None)  # noqa: RUF015 - see above
            self.forgotten += 1
