"""What is held, and by whom it was made: locks, semaphores, limiters; and slots that are not final.

What it is for: a lock that is still held when the function has ended is one that a cancellation has
left shut, also when nobody can reach it any more: in the next run somebody could.

What it does not know: which of them matter.

Invariant: the classes are as they were when the block is left.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, final
from weakref import ref

import trio
from anyio._backends import _asyncio as anyios
from anyio.lowlevel import checkpoint

from creche._slot import Slot
from creche._spelling import spell

from ._where import Place, is_own

_KINDS: tuple[type[Any], ...] = (
    trio.Lock,
    trio.StrictFIFOLock,
    trio.Semaphore,
    trio.CapacityLimiter,
    asyncio.Lock,
    asyncio.Semaphore,
    anyios.Lock,
    anyios.Semaphore,
    anyios.CapacityLimiter,
    Slot,
)


_KIT = str(Path(__file__).parent) + os.sep
# Passes of the loop: an idle thread has handed in its report, which gives back what it was lent.
_PASSES = 10
# Real seconds between two of them.
_MOMENT = 0.002


class _Made(NamedTuple):
    thing: Any
    free: int
    place: Place | None


def _value(thing: Any) -> int:  # noqa: ANN401 - one of those kinds
    """How much of it is free, 0 or 1 for a lock."""
    if isinstance(thing, Slot):
        return int(thing.done)
    if hasattr(thing, "borrowed_tokens"):
        if thing.total_tokens == math.inf:  # nobody ever waits for one; creche's threads have such a one
            return 0
        return -int(thing.borrowed_tokens)
    if isinstance(thing, (trio.Semaphore, anyios.Semaphore)):
        return thing.value
    if isinstance(thing, asyncio.Semaphore):
        return thing._value  # noqa: SLF001 - asyncio has no public name for it
    return int(not thing.locked())


def _free(thing: Any) -> int:  # noqa: ANN401 - the same
    """How much of it was free when it was made."""
    return 1 if isinstance(thing, Slot) else _value(thing)


def _caller() -> Place | None:
    """The author's line that makes it, inside of the run; `None` for a loop's own."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - documented
    generated: Place | None = None  # as the `__init__` of a dataclass; or all of it, in a notebook
    while frame is not None and not frame.f_code.co_filename.startswith(_KIT):
        if _is_limiter_of_a_loop(frame):
            return None
        if is_own(frame.f_code.co_filename):
            place = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
            if not place.file.startswith("<"):
                return place
            generated = generated or place
        frame = frame.f_back
    return generated


def _is_limiter_of_a_loop(frame: FrameType) -> bool:
    """Whether it makes the limiter, of threads say, for those who name none: trio's or anyio's own."""
    code = frame.f_code
    return (
        code.co_name.startswith("current_default_")
        and code.co_name.endswith("_limiter")
        and not is_own(code.co_filename)
    )


@final
class Locks:
    """Those that there were, and those that have been made since.

    Those of this run are held, so that one that nobody can reach any more is seen. Those from before are
    for the program to keep, and a run answers for what it has left of them less free than it found it.
    """

    def __init__(self) -> None:
        self._made: list[_Made] = []
        self._kept: list[tuple[ref[Any], int, Place | None]] = []

    def note(self, thing: Any, place: Place | None) -> None:  # noqa: ANN401 - the same
        """One more."""
        if not any(one.thing is thing for one in self._made[-1:]):  # a constructor that calls another
            self._made.append(_Made(thing, _free(thing), place))

    def forget(self) -> None:
        """A run is over: what it has left held is not the doing of the next one."""
        living = [_Made(thing, _value(thing), place) for thing, _, place in self._all()]
        self._made = []
        # A slot of an earlier run is final, or was told of.
        self._kept = [
            (ref(thing), free, place) for thing, free, place in living if not isinstance(thing, Slot)
        ]

    def _all(self) -> Iterator[_Made]:
        for kept, free, place in self._kept:
            thing = kept()
            if thing is not None:
                yield _Made(thing, free, place)
        yield from self._made

    def held(self) -> Iterator[str]:
        """Those of which less is free than there was, a line each."""
        for one in self._all():
            if _value(one.thing) >= one.free:
                continue
            where = f" made at {one.place}" if one.place else ""
            if isinstance(one.thing, Slot):
                yield f"slot {spell(one.thing.key)}{where} is {one.thing.state.name}"
            else:
                kind = type(one.thing)
                yield f"{kind.__module__.partition('.')[0]}.{kind.__name__}{where} is still held"

    async def still_held(self) -> list[str]:
        """The same, when the loop has done what it has been handed by now."""
        for _ in range(_PASSES):
            if not any(self.held()):
                break
            await checkpoint()
            time.sleep(_MOMENT)  # noqa: ASYNC251 - a thread that has ended may not have said so yet
        return list(self.held())


def _below(kinds: Iterable[type[Any]]) -> Iterator[type[Any]]:
    """Classes, and all that inherit from them."""
    for kind in kinds:
        yield kind
        yield from _below(kind.__subclasses__())


@contextmanager
def watched() -> Iterator[Locks]:
    """Take note of each that is made inside the block."""
    locks = Locks()
    kinds = set(_below(_KINDS)) - {Slot}
    # There may be millions of objects: one look-up for each.
    for thing in [one for one in gc.get_objects() if type(one) in kinds]:
        locks.note(thing, None)
    locks.forget()
    before = {kind: vars(kind).get("__init__") for kind in _KINDS}

    def wrap(kind: type[Any]) -> None:
        original: Callable[..., None] = kind.__init__

        def init(self: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as it comes
            original(self, *args, **options)
            place = _caller()
            if place is not None:
                locks.note(self, place)

        kind.__init__ = init

    for kind in _KINDS:
        wrap(kind)
    try:
        yield locks
    finally:
        for kind, init in before.items():
            if init is None:
                del kind.__init__
            else:
                kind.__init__ = init
