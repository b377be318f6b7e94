"""creche runs keyed calls under structured concurrency.

A call is checked in under a key, and every key is handed back exactly once with its outcome, whatever
is cancelled, killed or raised; on trio, and the same under asyncio and uvloop.

How the package is laid out, from the ground up; a file imports only what is below it:

    _errors _states _events _options _call _backend      words, tables, records: no state
    _capture _slot _board _dependencies                   the parts of a run, without a loop
    _backends/                                            trio and asyncio behind one record
    _places _rates _limits _lanes _queue                  admission: what a call waits for
    _lending _blocking _waiting                           waiting for slots, on a loop and in threads
    _bodies _retry _retrying _returning                   the body of a call, once, and again
    _performing _carriers                                 carrying out one call, and call after call
    _place _seats places/ _far/                           places: what one is, as a run has it, those
                                                          there are, and what runs on the far side
    _intake _opening _hosting                             one run: where calls come in; open, close
    _portal _afar                                         errands and submissions from other threads
    _base _keyed _bulk _queueing                          the contract of a runner, and its keys
    _thread_mapping _from_thread                          the same, for threads that block
    facades/ _adaptable                                   a runner as what others know: a task group,
                                                          an executor
    runners/                                              the runners
    _telling _dump logging                                what is told of a run; its logs
    flows/ instruments/                                   decorated functions; observers, event files
    report/ afterwards/ cli/                              a run on a page, replayed, drawn; the command
    testing/                                              what users test their own code with

A walk along one call: `ConcurrentTaskRunner.submit_nowait` claims a slot (`Board.claim`) and queues
it (`Queue.push`); a carrier takes it and runs its body (`Performer.perform`); what came of it is read
by the capture rule (`_capture.classify`) and written once (`Slot.settle`).

PYTEST_DONT_REWRITE: else pytest, which rewrites the asserts of what brings a plugin along, warns every
program that has imported creche before it calls `pytest.main`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._arguments import AllowFailure as AllowFailure
    from ._arguments import allow_failure as allow_failure
    from ._base import BaseTaskRunner as BaseTaskRunner
    from ._base import TaskConcurrencyType as TaskConcurrencyType
    from ._checking import check_cancelled as check_cancelled
    from ._current import CurrentCall as CurrentCall
    from ._current import current_call as current_call
    from ._errors import CallCancelled as CallCancelled
    from ._errors import CallCrashed as CallCrashed
    from ._errors import FlowTimedOut as FlowTimedOut
    from ._errors import KeyTaken as KeyTaken
    from ._errors import NotSettled as NotSettled
    from ._errors import RemoteError as RemoteError
    from ._errors import RemoteTraceback as RemoteTraceback
    from ._errors import RunnerClosed as RunnerClosed
    from ._errors import RunnerFull as RunnerFull
    from ._errors import RunnerNotStarted as RunnerNotStarted
    from ._errors import StopCall as StopCall
    from ._errors import UnknownKey as UnknownKey
    from ._from_thread import FromThread as FromThread
    from ._group import Group as Group
    from ._limits import Limit as Limit
    from ._rates import Rate as Rate
    from ._retry import Retry as Retry
    from ._slot import Slot as Slot
    from ._states import Origin as Origin
    from ._states import State as State
    from ._statistics import Statistics as Statistics
    from .flows._flow import Flow as Flow
    from .flows._flow import FlowDecorator as FlowDecorator
    from .flows._flow import flow as flow
    from .flows._hooks import FlowEnd as FlowEnd
    from .flows._mapping import Unmapped as Unmapped
    from .flows._mapping import unmapped as unmapped
    from .flows._task import Task as Task
    from .flows._task import task as task
    from .runners._concurrent import ConcurrentTaskRunner as ConcurrentTaskRunner
    from .runners._dask import DaskTaskRunner as DaskTaskRunner
    from .runners._processes import ProcessTaskRunner as ProcessTaskRunner
    from .runners._sequential import SequentialTaskRunner as SequentialTaskRunner
    from .runners._threads import ThreadTaskRunner as ThreadTaskRunner

__all__ = [
    "AllowFailure",
    "BaseTaskRunner",
    "CallCancelled",
    "CallCrashed",
    "ConcurrentTaskRunner",
    "CurrentCall",
    "DaskTaskRunner",
    "Flow",
    "FlowDecorator",
    "FlowEnd",
    "FlowTimedOut",
    "FromThread",
    "Group",
    "KeyTaken",
    "Limit",
    "NotSettled",
    "Origin",
    "ProcessTaskRunner",
    "Rate",
    "RemoteError",
    "RemoteTraceback",
    "Retry",
    "RunnerClosed",
    "RunnerFull",
    "RunnerNotStarted",
    "SequentialTaskRunner",
    "Slot",
    "State",
    "Statistics",
    "StopCall",
    "Task",
    "TaskConcurrencyType",
    "ThreadTaskRunner",
    "UnknownKey",
    "Unmapped",
    "allow_failure",
    "check_cancelled",
    "current_call",
    "flow",
    "task",
    "unmapped",
]

# Where they are.
_FROM = {
    "_arguments": (
        "AllowFailure",
        "allow_failure",
    ),
    "_base": (
        "BaseTaskRunner",
        "TaskConcurrencyType",
    ),
    "_checking": ("check_cancelled",),
    "_current": (
        "CurrentCall",
        "current_call",
    ),
    "_errors": (
        "CallCancelled",
        "CallCrashed",
        "FlowTimedOut",
        "KeyTaken",
        "NotSettled",
        "RemoteError",
        "RemoteTraceback",
        "RunnerClosed",
        "RunnerFull",
        "RunnerNotStarted",
        "StopCall",
        "UnknownKey",
    ),
    "_from_thread": ("FromThread",),
    "_group": ("Group",),
    "_limits": ("Limit",),
    "_rates": ("Rate",),
    "_retry": ("Retry",),
    "_slot": ("Slot",),
    "_states": (
        "Origin",
        "State",
    ),
    "_statistics": ("Statistics",),
    "flows._flow": (
        "Flow",
        "FlowDecorator",
        "flow",
    ),
    "flows._hooks": ("FlowEnd",),
    "flows._mapping": (
        "Unmapped",
        "unmapped",
    ),
    "flows._task": (
        "Task",
        "task",
    ),
    "runners._concurrent": ("ConcurrentTaskRunner",),
    "runners._dask": ("DaskTaskRunner",),
    "runners._processes": ("ProcessTaskRunner",),
    "runners._sequential": ("SequentialTaskRunner",),
    "runners._threads": ("ThreadTaskRunner",),
}
_HOME = {name: module for module, names in _FROM.items() for name in names}

# Tracebacks, pickles and the docs name the public place. An alias and an object have none.
_NAMELESS = {"Origin", "flow"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is public
    """Load what a public name stands for when it is first asked for; `import creche` loads nothing."""
    module = _HOME.get(name)
    if module is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    # Others have been loaded with it, and may be seen without being asked for: an error, say.
    for other, names in _FROM.items():
        found = sys.modules.get(f"{__name__}.{other}")
        if found is not None:
            for public in names:
                globals()[public] = getattr(found, public)
                if public not in _NAMELESS:
                    globals()[public].__module__ = __name__
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
