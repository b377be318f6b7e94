"""creche runs keyed calls under structured concurrency.

A call is checked in under a key, and every key is handed back exactly once with its outcome, whatever
is cancelled, killed or raised; on trio, and the same under asyncio and uvloop.

How the package is laid out, from the ground up; a file imports only what is below it:

    _errors _states _events _options _call _backend      words, tables, records: no state
    _capture _slot _board _dependencies                   the parts of a run, without a loop
    _backends/                                            trio and asyncio behind one record
    _places _rates _limits _lanes _queue                  admission: what a call waits for
    _lending _blocking _waiting                           waiting for slots, on a loop and in threads
    _performing _carriers                                 carrying out one call, and call after call
    _intake _hosting                                      one run: where calls come in; open, close
    _portal _afar                                         errands and submissions from other threads
    _base _mapping _keyed                                 the contract of a runner, and its keys
    _thread_mapping _from_thread                          the same, for threads that block
    facades/ _adaptable                                   a runner as what others know: a task group,
                                                          an executor
    runners/                                              the runners
    flows/ instruments/                                   decorated functions; observers
    cli/                                                  the command

A walk along one call: `ConcurrentTaskRunner.submit_nowait` claims a slot (`Board.claim`) and queues
it (`Queue.push`); a carrier takes it and runs its body (`Performer.perform`); what came of it is read
by the capture rule (`_capture.classify`) and written once (`Slot.settle`).
"""

from __future__ import annotations

from ._base import BaseTaskRunner as BaseTaskRunner
from ._base import TaskConcurrencyType as TaskConcurrencyType
from ._errors import CallCancelled as CallCancelled
from ._errors import KeyTaken as KeyTaken
from ._errors import NotSettled as NotSettled
from ._errors import RunnerClosed as RunnerClosed
from ._errors import RunnerFull as RunnerFull
from ._errors import RunnerNotStarted as RunnerNotStarted
from ._errors import UnknownKey as UnknownKey
from ._from_thread import FromThread as FromThread
from ._group import Group as Group
from ._limits import Limit as Limit
from ._rates import Rate as Rate
from ._slot import Slot as Slot
from ._states import Origin as Origin
from ._states import State as State
from ._statistics import Statistics as Statistics
from .flows._flow import Flow as Flow
from .flows._flow import FlowDecorator as FlowDecorator
from .flows._flow import flow as flow
from .flows._task import Task as Task
from .flows._task import task as task
from .runners._concurrent import ConcurrentTaskRunner as ConcurrentTaskRunner
from .runners._sequential import SequentialTaskRunner as SequentialTaskRunner

__all__ = [
    "BaseTaskRunner",
    "CallCancelled",
    "ConcurrentTaskRunner",
    "Flow",
    "FlowDecorator",
    "FromThread",
    "Group",
    "KeyTaken",
    "Limit",
    "NotSettled",
    "Origin",
    "Rate",
    "RunnerClosed",
    "RunnerFull",
    "RunnerNotStarted",
    "SequentialTaskRunner",
    "Slot",
    "State",
    "Statistics",
    "Task",
    "TaskConcurrencyType",
    "UnknownKey",
    "flow",
    "task",
]


# Tracebacks, pickles and the docs name the public place. An alias and an object have none.
def _publish() -> None:
    for name in __all__:
        if name not in {"Origin", "flow"}:
            globals()[name].__module__ = __name__


_publish()
