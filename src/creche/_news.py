"""News from another thread: what is waited for happens on another loop than the waiter's.

What it is for: whoever wakes a waiter does so in his own thread. From there the news is posted to the
loop that the waiter is on.

What it does not know: slots, runs, how to wait.

Invariant: nobody is woken in a thread that is not his, nor when he does not wait any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Self, final

from ._backend import Parkable


def post_to(post: Callable[[Callable[[], object]], None], fn: Callable[[], object]) -> None:
    """Have a function called on another thread's loop; nobody misses it when that has ended."""
    with contextlib.suppress(RuntimeError):
        post(fn)


@final
class FromAfar:
    """A thing to wait for on another thread's loop than the one that it happens on.

    Whoever wakes us does so in his thread: from there the news is posted to ours. Once the wait is over,
    here, news that is still under way wakes nobody.
    """

    def __init__(self, place: Parkable, post: Callable[[Callable[[], object]], None]) -> None:
        self._place = place
        self._wake: Callable[[], object] | None = None
        # One object: it is found again by its identity.
        self._waker: Callable[[], object] | None = partial(post_to, post, self._arrive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waker = None  # a ring

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park; part of the protocol between a loop and what is waited for."""
        assert self._waker is not None
        self._wake = wake
        return self._place.enroll(self._waker)

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Let go."""
        del wake
        assert self._waker is not None
        self._wake = None
        self._place.withdraw(self._waker)

    def _arrive(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()
