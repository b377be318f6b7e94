"""Threads for what blocks: a client of Dask's, or a cluster.

What it is for: the loop waits for such a thread in a task of its own; another thread waits for it at
most so long. Such a thread may hang with its cluster, and must not keep the interpreter from ending, so
it is a daemon, which the worker threads of the loops are not everywhere.

What it does not know: Dask.

Invariant: whoever waits here is woken on the loop's own thread, and once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast, final

from outcome import Outcome, capture

from creche._backend import Backend
from creche._parking import ParkingForOne

T = TypeVar("T")


@final
class Answer(ParkingForOne):
    """What a thread has come to, for a task to park on; used on the loop's thread only."""

    __slots__ = ("came",)

    def __init__(self) -> None:
        super().__init__()
        self.came: Outcome[Any] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is there."""
        return self.came is not None

    def give(self, came: Outcome[Any]) -> None:
        """It is there."""
        self.came = came
        self._wake_up()


def start(fn: Callable[[], object], name: str) -> threading.Thread:
    """Call a function, which must not raise, in a daemon thread."""
    thread = threading.Thread(target=fn, name=name, daemon=True)
    thread.start()
    return thread


async def in_thread(
    backend: Backend,
    fn: Callable[[], T],
    name: str,
    when_cancelled: Callable[[], object] | None = None,
) -> T:
    """Call a function in a thread, and wait for it whatever is cancelled.

    Args:
        backend: of the loop here.
        fn: a function that blocks.
        name: of the thread.
        when_cancelled: called, on the loop, when the wait is cancelled: it makes the function end soon.

    Returns:
        what it returned.

    Raises:
        BaseException: what it raised.
    """
    answer = Answer()
    post = backend.poster()

    def work() -> None:
        came = capture(fn)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            post(lambda: answer.give(came))

    start(work, name)
    interrupted: BaseException | None = None
    scope = backend.open_scope(shield=when_cancelled is None)
    with scope:
        while answer.came is None:
            try:
                await backend.park(answer)
            except backend.cancelled as exc:
                # Also by asyncio's own `Task.cancel`, which no shield stops: it shows when this is over.
                interrupted = exc
                scope.shield = True
                if when_cancelled is not None:
                    when_cancelled()
    came, answer.came = answer.came, None
    try:
        if interrupted is not None:
            raise interrupted
        return cast("T", came.unwrap())
    finally:
        del came, interrupted  # an exception leads back to this frame


def within(seconds: float, fn: Callable[[], T], otherwise: T) -> T:
    """Call a function in a thread of its own, and wait for it so long at most; in a thread.

    Args:
        seconds: how long.
        fn: a function that may hang.
        otherwise: what to give when it has not ended by then, or has raised.

    Returns:
        what it returned.
    """
    came: list[T] = []

    def work() -> None:
        with contextlib.suppress(Exception):  # then there is no answer, as when it hangs
            came.append(fn())

    thread = start(work, "creche dask")
    thread.join(seconds)
    return came[0] if came else otherwise
