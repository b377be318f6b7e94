"""Runs a clause of the contract on a loop of its own, and gives up when nothing happens any more.

What it is for: a runner with a fault may wait for ever, behind a shield, too. A test that hangs tells
nothing; so a thread looks on, says what is waited for, and has the clause end.

What it does not know: the clauses, and pytest.

Invariant: giving up is told of before anything is done about it, and what it is done to is not judged.
"""

from __future__ import annotations

import gc
import linecache
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any, final

import anyio
import trio

from creche._backends import context_for_elsewhere, detect
from creche._dump import dump_run
from creche._live import LIVE
from creche._spelling import spell
from creche._stacks import frames_of, shorten
from creche._tracebacks import OWN

from ._leaks import tasks
from ._stages import stage_here

GRACE = 1.0
"""How many seconds a loop has to tell of its tasks, and a clause to end when it is cancelled."""

_LOOKS = 20


class StuckError(AssertionError):
    """Nothing happened any more; the message says what was waited for."""


class _BrokenOff(BaseException):
    """Raised in the middle of a loop that does not end."""


def run_watched(
    fn: Callable[[], Coroutine[Any, Any, None]],
    patience: float,
    backend: Any,
    let_go: Callable[[], object] = lambda: None,
) -> None:
    """Run an async function on a loop of its own, for as long as something happens.

    Args:
        fn: what to run.
        patience: how many seconds may pass in which no call of a runner begins or ends.
        backend: as anyio's fixture `anyio_backend` says it.
        let_go: has its calls return, wherever they are, if it is given up.

    Raises:
        StuckError: more than that have passed.
        BaseException: what the function has raised.
    """
    __tracebackhide__ = True
    name, options = (backend, {}) if isinstance(backend, str) else backend
    watch = _Watch(patience, let_go)
    watch.arm()
    came: BaseException | None = None
    try:
        # Another plugin may have a loop open around the test, which does not run now.
        context_for_elsewhere().run(
            lambda: anyio.run(watch.cover, fn, backend=name, backend_options=options)
        )
    except BaseException as exc:
        came = exc
        if not watch.report:
            raise
    finally:
        watch.disarm()
    if watch.report:
        ending = "" if came is None else f"\nending it then gave {came!r}"
        report = watch.report
        came = None
        del watch  # which leads to the loop
        _collect()
        raise StuckError(report + ending) from None


def _collect() -> None:
    """Be rid of what a loop that was broken off has left, here, where nobody hears it complain.

    Trio's, moreover, says that it runs for as long as it is there.
    """
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _unshield() -> None:
    """Let cancellations through to all that is shielded from them, on this loop."""
    for one in gc.get_objects():
        if issubclass(type(one), (trio.CancelScope, anyio.CancelScope)) and one.shield:
            one.shield = False


@final
class _Watch:
    """The thread that looks on.

    Attributes:
        report: what it has to say when it has given up.
    """

    def __init__(self, patience: float, let_go: Callable[[], object]) -> None:
        self.report = ""
        self._patience = patience
        self._let_go = let_go
        self._before = set(LIVE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="creche contract", daemon=True)
        self._handler: Any = None
        # Where there are no such signals, a loop that does not end goes on; the report is printed.
        self._can_break = (
            hasattr(signal, "pthread_kill") and threading.current_thread() is threading.main_thread()
        )

    def arm(self) -> None:
        """Be able to break the loop off, which runs in this thread."""
        if self._can_break:
            self._handler = signal.signal(signal.SIGUSR2, self._break_off)

    def disarm(self) -> None:
        """The loop has ended."""
        self._over.set()
        if self._can_break:
            signal.signal(signal.SIGUSR2, self._handler or signal.SIG_DFL)
        if self._thread.ident is not None:
            self._thread.join()

    async def cover(self, fn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the clause, and be looked at meanwhile."""
        body = fn()
        self._body, self._home = body, threading.get_ident()
        self._stage, self._post = stage_here(), detect().poster()
        with anyio.CancelScope() as self._scope:
            self._thread.start()
            await body

    def _watch(self) -> None:
        since, last = time.monotonic(), self._moved()
        while not self._over.wait(self._patience / _LOOKS):
            moved = self._moved()
            if moved != last:
                since, last = time.monotonic(), moved
            elif time.monotonic() - since > self._patience:
                break
        else:
            return
        self.report = self._tell()
        with suppress(RuntimeError):  # the loop ends this very moment
            self._post(self._scope.cancel)
            if not self._over.wait(GRACE):
                self._let_go()
                self._post(_unshield)
        if not self._can_break:
            if not self._over.wait(GRACE):
                sys.stderr.write(f"{self.report}\nit cannot be ended here\n")
            return
        # As often as it takes: closing a loop waits for its tasks again.
        while not self._over.wait(GRACE):
            signal.pthread_kill(self._home, signal.SIGUSR2)

    def _break_off(self, _number: int, _frame: object) -> None:
        if not self._over.is_set():
            raise _BrokenOff

    def _runs(self) -> list[Any]:
        return [run for run in list(LIVE) if run not in self._before]

    def _moved(self) -> list[tuple[int, ...]]:
        """What is another as soon as a call begins or ends."""
        boards = [run.board for run in self._runs()]
        return [(one.number, one.claimed, one.running, *one.counts.values()) for one in boards]

    def _tell(self) -> str:
        came: list[str] = []
        has_told = threading.Event()

        def look() -> None:
            came.extend(sorted(one.text for one in tasks(self._stage)))
            has_told.set()

        with suppress(RuntimeError):  # the loop has ended this very moment
            self._post(look)
        lines = [
            f"for {self._patience:g} s no call has begun or ended; the clause waits at",
            *(f"  {line}" for line in _lines(self._body, self._home)),
        ]
        if has_told.wait(GRACE):
            lines += ["the tasks of the loop:", *(f"  {line}" for line in came)]
        else:
            lines.append(f"the loop is blocked: it has not answered for {GRACE:g} s")
        for run in self._runs():
            lines += dump_run(run).splitlines()
            ended = [
                f"{spell(slot.key)} {slot.state.name}"
                for slot in list(run.board.slots.values())
                if slot.done
            ]
            lines.append(f"ended: {', '.join(ended) or 'none'}")
        return "\n".join(lines)


def _lines(body: Any, thread: int) -> Iterator[str]:
    """Where the clause stands, with the source; creche's own lines are nobody's affair."""
    for frame, number in frames_of(body, thread):
        if _is_of_interest(frame):
            file = frame.f_code.co_filename
            source = linecache.getline(file, number).strip()
            yield f"{shorten(file)}:{number} in {frame.f_code.co_qualname}: {source}"


def _is_of_interest(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not file.startswith(OWN) or "_contract_" in file
