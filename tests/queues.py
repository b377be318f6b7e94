"""A queue without a run: its calls are cancelled as a run does it.

What it is for: tests of admission alone.
"""

from __future__ import annotations

from typing import Any

from creche import Slot, State
from creche._queue import Queue


def cancel(queue: Queue, slot: Slot[Any]) -> None:
    """Settle a pending call that may wait in the queue."""
    call = slot.pending_call
    assert call is not None
    queue.withdraw(call)
    slot.settle(State.CANCELLED, ("cancel", "of the test"))
    queue.tidy(call)
