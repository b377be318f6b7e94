"""`CallContext`: the current call is known in threads that a call starts by itself, too.

What it is for: the thread of `trio.to_thread.run_sync` or `asyncio.to_thread` has a copy of the context
variables of whoever has started it, and nothing else that leads back to the call. So the call is put
there, for those who ask for it: it costs a context and an object a call.

What it does not know: threads; who asks.

Invariant: a call that has ended is nobody's any more, whoever still has its context.
"""

from __future__ import annotations

from typing import final

from creche._current import NOTED, Noted, current_call
from creche._events import CallEvent, Instrument


@final
class CallContext(Instrument):
    """Lets `creche.current_call` work in threads that calls start, if they copy context variables.

    So do `trio.to_thread.run_sync`, `asyncio.to_thread` and anyio's; `threading.Thread` does not. For
    anything else no instrument is needed. One serves several runners.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], Noted] = {}

    def prepare_context(self, event: CallEvent) -> None:
        """Put the call where its code will find it."""
        noted = self._open[event.run, event.call] = Noted()
        NOTED.set(noted)

    def call_started(self, event: CallEvent) -> None:
        """It is told in the task that carries the call out, as what it is: also of another attempt."""
        self._open[event.run, event.call].call = current_call()

    def call_finished(self, event: CallEvent) -> None:
        """From now on it is nobody's."""
        noted = self._open.pop((event.run, event.call), None)
        if noted is not None:  # else an instrument has cancelled it at once
            noted.call = None
