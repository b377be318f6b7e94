"""`leaks()`: nothing more than before.

What it does not know: what a leak is good for. It compares.

Invariant: what is ending gets `grace` seconds of the real clock to do so; on a machine so busy that we
ourselves wake up late, as much longer as we were late.
"""

from __future__ import annotations

import gc
import time
from types import TracebackType
from typing import Self, final
from weakref import ref

from anyio.lowlevel import checkpoint

from ._present import Thing, present
from ._stages import Stage, stage_here
from ._where import innermost

_LOOK = 0.002


class LeakError(AssertionError):
    """Something is left that was not there before.

    Attributes:
        left: what, a line each.
    """

    def __init__(self, left: list[str]) -> None:
        self.left = left
        super().__init__("left behind:" + "".join(f"\n  {line}" for line in left))


def tasks(stage: Stage) -> set[Thing]:
    """The tasks of a loop."""
    found = set()
    for task in stage.tasks():
        where = innermost(stage.coro_of(task))
        found.add(Thing("task", ref(task), f"{stage.name_of(task)!r} at {where or 'its end'}"))
    return found


def told(things: set[Thing]) -> list[str]:
    """A line each."""
    return sorted(f"{one.kind} {one.text}" for one in things)


@final
class leaks:  # noqa: N801 - used as a function, as the context managers of contextlib are
    """No task, thread, process, descriptor or socket more than before.

    ``async with leaks():`` inside a task counts the tasks of the loop too. ``with leaks():`` is for a
    block that runs loops of its own; it blocks while it waits. Idle threads of trio's, anyio's and
    `concurrent.futures`' pools do not count. Processes are known where there is ``/proc``, descriptors
    where there is ``/dev/fd``.

    If the block raises, its exception comes out, with a note of what was left.
    """

    def __init__(self, *, grace: float = 1.0) -> None:
        """Nothing is looked at yet.

        Args:
            grace: how many seconds of the real clock what is ending may need for it. The time by which
                this wakes up late, as on a busy machine, does not count.
        """
        self._grace = grace
        self._before: set[Thing] = set()

    def __enter__(self) -> Self:
        """Take note of what is there."""
        self._before = present()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Compare.

        Raises:
            LeakError: there is more, and it has not gone in time.
        """
        patience = _Patience(self._grace)
        while (left := present() - self._before) and patience.rest():
            pass
        _tell(left, exc)

    async def __aenter__(self) -> Self:
        """Take note of what is there; not a checkpoint."""
        self._before = present() | tasks(stage_here())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Compare; the loop goes on while what is ending is waited for.

        Raises:
            LeakError: there is more, and it has not gone in time.
        """
        if exc is None:
            left = await still_left(self._before, self._grace)
        else:  # perhaps a cancellation, in which nothing can be waited for
            left = (present() | tasks(stage_here())) - self._before
        _tell(left, exc)


def _tell(left: set[Thing], exc: BaseException | None) -> None:
    if left and exc is None:
        raise LeakError(told(left))
    if left and exc is not None:
        exc.add_note(f"{LeakError(told(left))}")


async def still_left(before: set[Thing], grace: float) -> set[Thing]:
    """What is there only now, and does not go within some seconds of the real clock."""
    stage = stage_here()
    patience = _Patience(grace)
    turns = 0
    while left := (present() | tasks(stage)) - before:
        turns += 1
        await checkpoint()
        # By the tenth every task that was ending has ended. What we wait for then is real, and we block:
        # virtual time would jump.
        if turns > 10 and not patience.rest():  # noqa: PLR2004 - as above
            break
    return left


class _Patience:
    """For what is ending."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def rest(self) -> bool:
        """Let others have the processor for a moment; False, without one, when the time is over."""
        if time.monotonic() > self._end:
            return False
        gc.collect()
        begin = time.monotonic()
        time.sleep(_LOOK)
        self._end += time.monotonic() - begin - _LOOK
        return True
