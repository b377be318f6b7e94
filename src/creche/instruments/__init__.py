"""What listens to a run: the protocol of an instrument, its events, and instruments that are there.

`progress` shows a run while it goes on; `Summary` folds it into a few numbers; `EventLog` writes events
into a file, and `read_history` reads it.
"""

from __future__ import annotations

from creche._events import CallEvent as CallEvent
from creche._events import Instrument as Instrument
from creche._events import RunnerEvent as RunnerEvent

from ._call_context import CallContext as CallContext
from ._event_log import EventLog as EventLog
from ._history import Attempt as Attempt
from ._history import CallRecord as CallRecord
from ._history import History as History
from ._history import RunRecord as RunRecord
from ._progress import Progress as Progress
from ._progress import progress as progress
from ._reading import EventFileError as EventFileError
from ._reading import HistoryReader as HistoryReader
from ._reading import read_history as read_history
from ._summary import Failure as Failure
from ._summary import Summary as Summary

__all__ = [
    "Attempt",
    "CallContext",
    "CallEvent",
    "CallRecord",
    "EventFileError",
    "EventLog",
    "Failure",
    "History",
    "HistoryReader",
    "Instrument",
    "Progress",
    "RunRecord",
    "RunnerEvent",
    "Summary",
    "progress",
    "read_history",
]


def _publish() -> None:
    for name in __all__:
        globals()[name].__module__ = __name__


_publish()
