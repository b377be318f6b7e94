"""Errands from other threads to the thread of a run's loop.

What it is for: a thread that is not the loop's hands over a function, which is called on the loop, and
waits for what it gives. No spinning, no polling. Whoever waits in a task of another loop parks on the
errand instead of blocking.

What it does not know: runners, slots, what the errands are.

Invariant: an errand that was accepted is answered: by what it gave, or by `RunnerClosed` when the loop
ended first; unless it was taken back, and then it was not run, and will not be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, final

from outcome import Error, Outcome, capture

from ._errors import RunnerClosed
from ._latch import Latch

T = TypeVar("T")

_OVER = "the run has ended, and the runner takes no more calls; start it again for another run"


@final
class Errand:
    """One thing that a loop is asked for; a thing to wait for, in a task or in a thread.

    Attributes:
        when_taken_back: called, by whoever takes it back, on an errand that is under way.
    """

    __slots__ = ("_answer", "_lock", "_under_way", "_wake", "is_open", "when_taken_back")

    def __init__(self, lock: threading.Lock, under_way: dict[Errand, None]) -> None:
        self._lock = lock
        self._under_way = under_way
        self._answer: Outcome[Any] | None = None
        self._wake: Callable[[], object] | None = None
        # Whether it may be taken back: not any more while its function runs, which is soon over.
        self.is_open: bool = True
        self.when_taken_back: Callable[[], object] | None = None

    def begin(self) -> bool:
        """From now on it is not taken back; False when it was already."""
        with self._lock:
            begins, self.is_open = self.is_open, False
        return begins

    def reply(self, answer: Outcome[Any]) -> bool:
        """Answer it, and wake who waits; False when it was taken back, or has been answered."""
        with self._lock:
            if self not in self._under_way:
                return False
            del self._under_way[self]
            self._answer = answer
            self.is_open = False
            wake, self._wake = self._wake, None
        self.when_taken_back = None
        if wake is not None:
            wake()
        return True

    def take_back(self) -> bool:
        """Ask for it no longer; False when it is too late, and the answer there, or will be soon."""
        with self._lock:
            if not self.is_open:
                return False
            self.is_open = False
            del self._under_way[self]
        if self.when_taken_back is not None:
            self.when_taken_back()
        return True

    @property
    def done(self) -> bool:
        """Whether it was answered."""
        return self._answer is not None

    def result(self) -> Any:  # noqa: ANN401 - whatever the errand gives
        """What it gave, once; of an errand that was answered.

        Raises:
            BaseException: what it raised.
        """
        answer, self._answer = self._answer, None
        assert answer is not None
        try:
            return answer.unwrap()
        finally:
            del self, answer  # an exception leads back to this frame

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Ask to be woken when it is answered; part of the protocol of what is waited for.

        Args:
            wake: called once, on the loop of the errand; must not raise.

        Returns:
            False when it is answered already.
        """
        with self._lock:
            if self._answer is not None:
                return False
            self._wake = wake
            return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Do not wake after all."""
        del wake
        with self._lock:
            self._wake = None


@final
class Portal:
    """The way into one loop; made on that loop's thread."""

    def __init__(self, post: Callable[[Callable[[], object]], None]) -> None:
        self._post = post
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._under_way: dict[Errand, None] = {}
        self._closed = False

    def call(self, fn: Callable[[], T]) -> T:
        """Call a function on the loop's thread, in a copy of the context here, and wait for it.

        Interrupted by Ctrl-C, it was not called, unless it had been called already.

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
        return self.ask(partial(copy_context().run, fn))

    def ask(self, fn: Callable[[], T]) -> T:
        """As `call`, from another thread, and in the context of the loop.

        Args:
            fn: a plain function that does not block.

        Returns:
            what it returned.

        Raises:
            RunnerClosed: the loop has ended, or ended before it came to this.
            BaseException: what `fn` raised.
        """
        answered = Latch()
        errand = self.send(fn)
        try:
            if errand.enroll(answered.set):
                answered.wait()
            return errand.result()  # type: ignore[no-any-return]  # an errand knows no type
        finally:
            errand.take_back()  # of no effect, unless by Ctrl-C
            del errand

    def send(self, fn: Callable[[], object]) -> Errand:
        """Have a function called on the loop's thread, in the context of the loop, without waiting.

        Args:
            fn: a plain function that does not block.

        Returns:
            the errand, to wait for.

        Raises:
            RunnerClosed: the loop has ended.
        """
        errand = self.open()
        try:
            self._post(partial(_run, errand, fn))
        except BaseException as exc:
            errand.take_back()
            if isinstance(exc, RuntimeError):  # both loops say so when they have ended
                raise RunnerClosed(_OVER) from None
            raise  # Ctrl-C
        return errand

    def open(self) -> Errand:
        """An errand that somebody on the loop will answer; at the end of the loop we do.

        Returns:
            the errand, under way.

        Raises:
            RunnerClosed: the loop has ended.
        """
        errand = Errand(self._lock, self._under_way)
        with self._lock:
            if self._closed:
                raise RunnerClosed(_OVER)
            self._under_way[errand] = None
        return errand

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
            errand.reply(Error(RunnerClosed(_OVER)))


def _run(errand: Errand, fn: Callable[[], object]) -> None:
    """On the loop: the errand, if it is still asked for."""
    if errand.begin():
        errand.reply(capture(fn))
