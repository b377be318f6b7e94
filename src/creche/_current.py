"""`current_call`: how code learns which call it is part of.

What it is for: log lines, names of files, messages: whatever a call does can bear its key. The same line
works on the loop, in a thread, in a process and on a cluster.

What it does not know: how a call is carried out. The part that does is asked only if it is there: a
worker process that has imported this has imported neither a runner nor a loop.

Invariant: it never waits, and outside of a call it gives `None`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Hashable
from contextvars import ContextVar
from typing import NamedTuple

_NEAR = "creche._callers"
_RUNNERS = "creche._lending"  # one of what every runner has loaded
_FAR = "creche._far._stop"  # see `_checking`


class CurrentCall(NamedTuple):
    """The call that code is part of.

    Attributes:
        key: its key. In another process that of one that is neither a string nor a number is what it
            looks like, its `repr`.
        runner: the name of its runner.
        attempt: which try of the call this is, from 1.
        place: where it runs: `"loop"`, `"thread"`, `"process"`, `"dask"`, or the name of a place.
        flow: the name of the flow that has started the runner; empty if none has.
    """

    key: Hashable
    runner: str
    attempt: int
    place: str
    flow: str = ""


class Noted:
    """Stands in the context variables of a call for it, as long as it runs; see `CallContext`.

    Attributes:
        call: the call; `None` before it has begun, and once it has ended.
    """

    __slots__ = ("call",)

    def __init__(self) -> None:
        self.call: CurrentCall | None = None


NOTED: ContextVar[Noted | None] = ContextVar("creche noted call", default=None)
"""The call whose context this is, where an instrument has asked for it."""


def text_of(thing: object) -> str:
    """What something looks like, a string as it is; whatever its `repr` does.

    Args:
        thing: a key, say.
    """
    if isinstance(thing, str):
        return thing
    try:
        return repr(thing)
    except Exception:  # noqa: BLE001 - somebody's own; nothing is lost for that
        return object.__repr__(thing)


def current_call() -> CurrentCall | None:
    """Tell which call the code belongs to that asks; the innermost, if it is part of several.

    On the loop it works in every task that the call has started, at any depth; in the thread of a
    plain call, in a loop that runs there, in a worker process and on a Dask worker. In a thread that a
    call has started by itself it does with the instrument `creche.instruments.CallContext`. Never a
    checkpoint, never waits.

    Returns:
        the call; `None` outside of one.
    """
    near = sys.modules.get(_NEAR)
    if near is None and _RUNNERS in sys.modules:
        near = importlib.import_module(_NEAR)
    slot = None if near is None else near.slot_here()
    if slot is not None:
        home = slot.home
        return CurrentCall(slot.key, home.runner_name, slot.attempt, slot.place, home.flow_name)
    far = sys.modules.get(_FAR)
    name = None if far is None else far.NAME.get()
    if name is not None:
        return CurrentCall(*name)
    noted = NOTED.get()
    return None if noted is None else noted.call
