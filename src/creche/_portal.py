"""Errands from other threads to the thread of a run's loop.

What it is for: a thread that is not the loop's hands over a function, which is called on the loop, in a
copy of the thread's own context, and waits for what it gives. No spinning, no polling.

What it does not know: runners, slots, what the errands are.

Invariant: an errand that was accepted is answered: by what it gave, or by `RunnerClosed` when the loop
ended first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, final

from outcome import Error, Outcome, capture

from ._errors import RunnerClosed

T = TypeVar("T")


@final
class _Errand:
    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.answer: Outcome[Any] | None = None

    def reply(self, answer: Outcome[Any]) -> None:
        self.answer = answer
        self.answered.set()


@final
class Portal:
    """The way into one loop; made on that loop's thread."""

    def __init__(self, post: Callable[[Callable[[], object]], None]) -> None:
        self._post = post
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._under_way: set[_Errand] = set()
        self._closed = False

    def call(self, fn: Callable[[], T]) -> T:
        """Call a function on the loop's thread, and wait for what it gives.

        Args:
            fn: a plain function that does not block; on the loop's own thread it is called at once.

        Returns:
            what it returned.

        Raises:
            RunnerClosed: the loop has ended, or ended before it came to this.
            BaseException: what `fn` raised.
        """
        if threading.get_ident() == self._thread:
            return fn()
        errand = _Errand()
        closed = RunnerClosed("the loop that the runner lives on has ended")
        with self._lock:
            if self._closed:
                raise closed
            self._under_way.add(errand)
        try:
            self._post(partial(self._run, errand, partial(copy_context().run, fn)))
        except RuntimeError:  # both loops say so when they have ended
            with self._lock:
                self._under_way.remove(errand)
            raise closed from None
        errand.answered.wait()
        assert errand.answer is not None
        return errand.answer.unwrap()  # type: ignore[no-any-return]

    def post(self, fn: Callable[[], object]) -> None:
        """Have a function called on the loop soon, without waiting; dropped once it has ended.

        Args:
            fn: a plain function that neither blocks nor raises.
        """
        with self._lock:
            if self._closed:
                return
        try:
            self._post(fn)
        except RuntimeError:
            return  # the loop has ended meanwhile: there is nothing left to call it for

    def close(self) -> None:
        """No more errands; whoever still waits for one is told so. On the loop's thread, at its end."""
        with self._lock:
            self._closed = True
            left = list(self._under_way)
        for errand in left:
            errand.reply(Error(RunnerClosed("the loop that the runner lives on has ended")))

    def _run(self, errand: _Errand, fn: Callable[[], object]) -> None:
        answer = capture(fn)
        with self._lock:
            self._under_way.remove(errand)
        errand.reply(answer)
