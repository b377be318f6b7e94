"""Which call the running code belongs to, in the process that the runner is in.

What it is for: whoever asks is told by what there is already for lending places: who carries out a call
in which task, and which call a thread carries out. Nothing is kept for a call that nobody asks about.

What it does not know: the far side, where others know it; what it is asked for.

Invariant: a call that has ended is nobody's any more, whoever still has its context.
"""

from __future__ import annotations

from typing import Any

from ._backends import any_loop_here, detect
from ._lending import IN_THREAD, callers_here
from ._slot import Slot


def slot_here() -> Slot[Any] | None:
    """The slot of the call that the running code belongs to, the innermost if it is part of several.

    Returns:
        `None` if it is part of none.
    """
    if any_loop_here():
        try:
            callers = callers_here(detect())
        except RuntimeError:  # between two tasks: in a callback of the loop's
            callers = []
        for carrier in callers:
            slot = carrier.slot
            if slot is not None and slot.carrying is carrier:
                return slot
    of_thread = IN_THREAD.get()
    if of_thread is not None and of_thread[0].carrying is of_thread[1][0]:
        return of_thread[0]
    return None
