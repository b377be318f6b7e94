"""What listens to a run: the protocol of an instrument, its events, and `Summary`."""

from __future__ import annotations

from creche._events import CallEvent as CallEvent
from creche._events import Instrument as Instrument
from creche._events import RunnerEvent as RunnerEvent

from ._summary import Failure as Failure
from ._summary import Summary as Summary

__all__ = ["CallEvent", "Failure", "Instrument", "RunnerEvent", "Summary"]


def _publish() -> None:
    for name in __all__:
        globals()[name].__module__ = __name__


_publish()
