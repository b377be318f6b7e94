"""`check_cancelled`: how plain code learns that it is to stop.

What it is for: a thread cannot be stopped from outside, so code in it that takes long asks, now and
then. The same line works in a process and on a cluster.

What it does not know: how a call is cancelled.

Invariant: it never waits, and outside of a call it does nothing.
"""

from __future__ import annotations

import sys

from ._backends import any_loop_here
from ._errors import StopCall
from ._lending import IN_THREAD

_FAR = "creche._far._stop"  # in a worker process not a part of this package, though it bears its name


def check_cancelled() -> None:
    """Stop here if the call that this code belongs to has been cancelled, or its time has passed.

    For plain functions that take long, in a thread, a process or on a cluster: called now and then, it
    raises what is no `Exception` and unwinds the call, which is CANCELLED then, or FAILED with its
    `TimeoutError`. It costs a fraction of a microsecond, and never waits. In async code, where each
    ``await`` does the same, and outside of calls it does nothing.

    Raises:
        StopCall: the call is to end; let it through.
    """
    caller = IN_THREAD.get()
    if caller is not None:
        carrier = caller[1][0]
        if caller[0].carrying is carrier and carrier.is_to_end() and not any_loop_here():
            raise StopCall
        return
    far = sys.modules.get(_FAR)
    if far is not None and far.is_stopping() and not any_loop_here():
        raise StopCall
