"""Ctrl-C, SIGTERM and SIGUSR1 to the command: what each of them does to a flow that runs.

What it is for: the first signal lets what runs end, and says what is waited for; the second one cancels;
the third one, or much patience, leaves what does not end. SIGUSR1 has it said what every call does.
Before the flow runs, SIGTERM interrupts as Ctrl-C does.

What it does not know: how a flow is called, what is shown of it otherwise.

Invariant: a handler puts a number into a queue, or raises what it was told to raise, and does nothing
else; a thread does the rest, so that nothing is written from the midst of something else. After
`flow_is_over` nothing is raised; after `uninstall` the handlers are those that there were.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, final

from creche._dump import dump_all, running_calls
from creche._live import LIVE
from creche.flows._beside import is_ending
from creche.instruments._words import span, waited_for

from ._stopping import Step, Stopping

_LOOK_EVERY = 0.05
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_DUMP: Any = getattr(signal, "SIGUSR1", None)
# By which the thread wakes the main thread: nobody else sends it, and it does nothing by itself.
_POKE: Any = getattr(signal, "SIGURG", None)
_END = 0

Handler = Callable[[int, FrameType | None], Any]


@final
class Manners:
    """The manners of one run of the command.

    Attributes:
        status: the exit status that the signals ask for; `None` while none has come.
        ended: the same in a word.
    """

    def __init__(
        self, grace: float, *, say: Callable[[str], object], tell: Callable[[str | None], object]
    ) -> None:
        """Make them; nothing is installed.

        Args:
            grace: seconds that running calls get after the first signal.
            say: shows a line.
            tell: shows a sentence as long as it is true.
        """
        self.status: int | None = None
        self.ended = ""
        self._say = say
        self._tell = tell
        self._grace = grace
        self._stopping = Stopping(grace)
        self._news: SimpleQueue[int] = SimpleQueue()
        self._due: Handler | None = None
        self._is_over = True
        self._is_sync = True
        self._before: dict[int, Any] = {}
        # A loop has one of its own while it runs, which is not to be there any more afterwards.
        self._first = signal.getsignal(signal.SIGINT)
        self._name = ""
        self._thread = threading.Thread(target=self._serve, name="creche signals", daemon=True)

    def listen(self) -> None:
        """Heed all but Ctrl-C, which does what it does, from now on until `uninstall`; no flow runs yet.

        Nothing of this is done outside of the main thread.
        """
        self._install(_POKE, _DUMP, signal.SIGTERM)

    @contextmanager
    def watching(self, *, is_sync: bool) -> Iterator[None]:
        """Have manners while a flow runs in this block; in the main thread, else none.

        Args:
            is_sync: whether the body of the flow is a function that runs here, and no task of a loop.
        """
        self._is_sync = is_sync
        self._install(_POKE, _DUMP, signal.SIGTERM, signal.SIGINT)
        try:
            yield
        finally:
            self._hear_no_more()

    def uninstall(self) -> None:
        """Put the handlers back; until then, from the end of the flow on, nothing is heard."""
        self._hear_no_more()
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, self._first if number == signal.SIGINT else before)

    def _install(self, *numbers: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if self._thread.ident is None:
            self._thread.start()
        self._is_over = False
        for number in numbers:
            before = signal.getsignal(number)
            if before == self._handle:
                continue
            if before is signal.SIG_IGN and number in _NAMES:
                continue  # whoever has started us wants it so
            self._before[number] = before
            signal.signal(number, self._handle)

    def _hear_no_more(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._news.put(_END)
            self._thread.join(1.0)

    # In the main thread -------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_over:
            return
        if number != _POKE:
            self._news.put(number)
            return
        due, self._due = self._due, None
        if due is not None:
            due(signal.SIGINT, frame)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """The body of a sync flow is interrupted as ever."""
        del number, frame
        raise KeyboardInterrupt

    def _interrupt_end(self, number: int, frame: FrameType | None) -> None:
        """The same, unless the body still runs."""
        del number
        if is_ending(frame):
            raise KeyboardInterrupt

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """The loop of an async flow does with Ctrl-C what it does."""
        before = self._before.get(signal.SIGINT)
        if callable(before):
            before(number, frame)

    # In the thread ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                number = self._news.get(timeout=None if self._stopping.step is None else _LOOK_EVERY)
            except Empty:
                self._look()
                continue
            if number == _END:
                return
            if number == _DUMP:
                sys.stderr.write(dump_all())
                sys.stderr.flush()
            else:
                self._press(number)

    def _press(self, number: int) -> None:
        if self.status is None:
            self.status = 128 + number
            self.ended = "interrupted" if number == signal.SIGINT else "terminated"
            self._name = _NAMES[signal.Signals(number)]
        step = self._stopping.press(time.monotonic(), len(running_calls()))
        self._take(step, is_asked=True)
        self._look()

    def _look(self) -> None:
        if self._due is not None:
            self._poke()
        now = time.monotonic()
        calls = running_calls()
        step = self._stopping.look(now, len(calls))
        if step is not None:
            self._take(step, is_asked=False)
        elif self._stopping.step is Step.DRAIN and calls:
            left = "" if math.isinf(self._grace) else f"; {span(self._stopping.deadline - now)} left"
            self._tell(f"{self._name}: waiting for {waited_for(calls)}{left}")

    def _take(self, step: Step, *, is_asked: bool) -> None:
        calls = running_calls()
        if step is Step.DRAIN:
            if calls and self._grace > 0:
                until = "" if math.isinf(self._grace) else f" up to {self._grace:g} s"
                self._say(
                    f"{self._name}: nothing more starts; waiting{until} for {waited_for(calls)}; "
                    f"once more cancels them"
                )
            self._for_all("stop_taking", f"{self._name} stops the run")
        elif step is Step.CUT:
            if calls:
                why = "once more" if is_asked else f"the grace of {self._grace:g} s is over"
                self._say(f"{self._name}, {why}: cancelling {waited_for(calls)}")
            self._tell(f"{self._name}: cancelled, waiting for the end")
            self._for_all("cut", f"{self._name} ended the run")
            if self._is_sync:
                self._send(self._interrupt)
        elif self._is_sync:
            self._send(self._interrupt if is_asked else self._interrupt_end)
        else:
            self._send(self._pass_on)

    @staticmethod
    def _for_all(what: str, reason: str) -> None:
        for run in list(LIVE):
            run.home.hand_over(partial(getattr(run, what), reason))

    def _send(self, due: Handler) -> None:
        """Have the main thread do something, whatever it is waiting for."""
        self._due = due
        self._poke()

    def _poke(self) -> None:
        # Again and again, until it has been done: a signal that comes in the moment before the thread
        # begins to sleep is seen when it has slept.
        signal.pthread_kill(threading.main_thread().ident or 0, _POKE)
