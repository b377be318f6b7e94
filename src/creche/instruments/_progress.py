"""Progress while a run goes on: a view on a terminal, calm plain lines elsewhere.

What it is for: ``instruments=[progress()]``, and the command, which shows the same.

What it does not know: what the lines say, control sequences, colours; those have modules of their own.

Invariant: a hook does nothing but count, so that it neither blocks the run nor raises into it; a thread
draws. The view is off the terminal when the last run that is shown has closed.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

from creche._checks import check_count, check_timeout
from creche._events import CallEvent, Instrument, RunnerEvent
from creche._live import LIVE

from ._screen import Screen, most_lines
from ._tally import Standing, Tally
from ._words import Extra, headline, view

_BETWEEN_VIEWS = 0.125
_CALM = 5.0
# Nobody need read again and again that nothing has happened.
_STILL = 60.0
# How long the end of a run waits for a terminal that does not take what is written.
_PATIENCE = 1.0


@final
class Progress(Instrument):
    """Shows how a run stands while it goes on, on standard error; made by `progress`.

    Attributes:
        title: what the run is called; may be changed.
        has_runner: whether a runner has started.
    """

    def __init__(
        self,
        *,
        title: str = "",
        total: int | None = None,
        every: float = _CALM,
        quiet: bool = False,
        leaves_line: bool = True,
    ) -> None:
        """Make it.

        Args:
            title: what the run is called.
            total: how many calls there will be; `None` if that is not known beforehand.
            every: seconds between two plain lines.
            quiet: show nothing.
            leaves_line: whether the last line stays.
        """
        self._settings: dict[str, Any] = {
            "title": title,
            "total": total,
            "every": every,
            "quiet": quiet,
            "leaves_line": leaves_line,
        }
        self._painting: Any = None if quiet else load_painting()
        self.title = title
        self._tally = Tally(time.monotonic)
        self._begun: float | None = None
        self._note: str | None = None
        self._shower: _Shower | None = None
        self._lock = threading.Lock()
        self.has_runner: bool = False

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Progress], tuple[dict[str, Any]]]:
        return _remake, (self._settings,)

    # What it hears ----------------------------------------------------------------------------------

    def runner_started(self, event: RunnerEvent) -> None:
        """Begin to show, if this is the first."""
        self.has_runner = True
        self._tally.open(event)
        self.start()

    def call_submitted(self, event: CallEvent) -> None:
        """Count it."""
        self._tally.submit(event)

    def call_admitted(self, event: CallEvent) -> None:
        """Count it."""
        self._tally.admit(event)

    def call_started(self, event: CallEvent) -> None:
        """Count it."""
        self._tally.begin(event)

    def call_retrying(self, event: CallEvent) -> None:
        """Count it."""
        self._tally.retry(event)

    def call_finished(self, event: CallEvent) -> None:
        """Count it."""
        self._tally.end(event)

    def runner_closed(self, event: RunnerEvent) -> None:
        """End to show, if this is the last."""
        if self._tally.close(event) == 0 and self._settings["leaves_line"]:
            self.stop()

    # Showing ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to show; nothing happens if it has begun, or there is nothing to be shown."""
        with self._lock:
            if self._begun is None:
                self._begun = time.monotonic()
            if self._shower is None and self._painting is not None:
                self._shower = _Shower(self, self._painting.find_terminal())
                self._shower.start()

    def stop(self) -> None:
        """Take the view off, or write the last line; nothing happens if that was done."""
        with self._lock:
            shower, self._shower = self._shower, None
        if shower is not None:
            shower.stop(leaves_line=self._settings["leaves_line"])

    def tell(self, note: str | None) -> None:
        """Show a sentence as long as it is true; `None` takes it off."""
        self._note = note

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    def look(self) -> tuple[Standing, Extra, float]:
        """How it stands, what else there is to say, and the time."""
        now = time.monotonic()
        standing = self._tally.stand(now)
        total = self._settings["total"]
        if total is None and self._is_whole(standing):
            total = standing.submitted
        return standing, Extra(self.title, self.seconds, total, self._note), now

    @staticmethod
    def _is_whole(standing: Standing) -> bool:
        """Whether all calls were submitted: each run takes no more, or has no body any longer."""
        runs = {run.board.number: run for run in list(LIVE)}
        return bool(standing.runs) and all(
            number in runs and runs[number].is_all_submitted for number in standing.runs
        )


@final
class _Shower:
    """The thread that shows."""

    def __init__(self, progress: Progress, terminal: Any) -> None:  # noqa: ANN401 - a Terminal, whose module needs rich
        self._progress = progress
        self._terminal = terminal
        self._screen = Screen()
        self._over = threading.Event()
        self._drawing = threading.Lock()
        self._every = _BETWEEN_VIEWS if terminal is not None else progress._settings["every"]  # noqa: SLF001 - one module
        self._last: tuple[float, tuple[int, int, int]] = (0.0, (0, 0, 0))
        self._thread = threading.Thread(target=self._main, name="creche progress", daemon=True)
        self._pid = os.getpid()
        self._leaves_line = False

    def start(self) -> None:
        if self._terminal is not None:
            # Whatever ends the interpreter while a run is open.
            atexit.register(self._give_back)
        self._thread.start()

    def stop(self, *, leaves_line: bool) -> None:
        self._leaves_line = leaves_line
        self._over.set()
        # Not for ever: a terminal can be stopped, and a pipe be full.
        self._thread.join(_PATIENCE)
        self._leaves_line = False  # it would come from nowhere by now
        atexit.unregister(self._give_back)

    def _main(self) -> None:
        try:
            if self._terminal is not None:
                self._draw()
            while not self._over.wait(self._every):
                if self._terminal is None:
                    self._write_calmly()
                else:
                    self._draw()
        except Exception:  # noqa: BLE001 - a terminal that is gone, say: there is nobody to tell
            self._leaves_line = False
        self._give_back()
        if self._leaves_line:
            self._write_line()

    def _draw(self) -> None:
        with self._drawing:
            if self._over.is_set():
                return
            columns, height = size = self._terminal.size()
            standing, extra, now = self._progress.look()
            lines = view(standing, extra, now, columns, most_lines(height))
            self._terminal.write(self._screen.draw(self._terminal.paint(lines), size))

    def _give_back(self) -> None:
        # A process that was forked off has no view. One that is stuck in writing is left alone.
        if self._terminal is None or os.getpid() != self._pid:
            return
        self._over.set()
        if self._drawing.acquire(timeout=_PATIENCE):
            try:
                with suppress(OSError):
                    self._terminal.write(self._screen.end())
            finally:
                self._drawing.release()

    def _write_calmly(self) -> None:
        standing, extra, now = self._progress.look()
        at, before = self._last
        what = (standing.submitted, standing.settled, standing.retries)
        if what != before or now - at >= _STILL:
            self._last = (now, what)
            _write(headline(standing, extra))

    def _write_line(self) -> None:
        standing, extra, _ = self._progress.look()
        # At the end the rate of late says nothing.
        _write(headline(standing._replace(rate=0.0), extra))


def _write(line: str) -> None:
    with suppress(Exception):  # closed, or full: the run goes on
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _remake(settings: dict[str, Any]) -> Progress:
    return Progress(**settings)


def load_painting() -> Any:  # noqa: ANN401 - the module
    """The module that needs rich.

    Raises:
        ImportError: rich is not installed.
    """
    try:
        return importlib.import_module("creche.instruments._painting")
    except ImportError as exc:
        msg = "progress() needs rich, which is not installed: pip install 'creche[cli]'"
        raise ImportError(msg, name=exc.name) from exc


def progress(*, title: str = "", total: int | None = None, every: float = _CALM) -> Progress:
    """Make an instrument that shows on standard error how a run stands while it goes on.

    Hand it to a runner: ``ConcurrentTaskRunner(instruments=[progress()])``; or the same one to several,
    which are then shown together. On a terminal it is a view in the lowest lines, and whatever is
    printed meanwhile, by anybody, appears above it. Elsewhere it is a plain line every so often. It
    begins when the first runner starts; at the end of the last one a single line stays.

    It only counts on the loop; a thread draws. With ``NO_COLOR`` set there are no colours, and on
    ``TERM=dumb`` plain lines.

    Args:
        title: what the run is called, in front of the numbers.
        total: how many calls there will be, for the time that is left; otherwise that is said once no
            more calls can come: the block of the runner has ended, or it is being drained.
        every: how many seconds between two plain lines, where there is no terminal.

    Returns:
        the instrument.

    Raises:
        ImportError: rich is not installed; it comes with ``creche[cli]``.
        TypeError: `title` is no string, `total` no whole number, or `every` no number.
        ValueError: `total` is negative, or `every` not more than 0.
    """
    if not isinstance(title, str):
        msg = f"title must be a string, not {title!r}"
        raise TypeError(msg)
    if total is not None:
        check_count("total", total, cure="None means that it is not known", least=0)
    if check_timeout(every, "every") in (None, 0):
        msg = f"every must be more than 0 seconds, not {every!r}"
        raise ValueError(msg)
    return Progress(title=title, total=total, every=every)
