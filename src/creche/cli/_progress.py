"""Progress on standard error: a live view on a terminal, calm plain lines elsewhere.

What it does not know: what the lines say (`_text` does), how flows are run.

Invariant: nothing is written to standard output, and the terminal is in order again after `stop`.
"""

from __future__ import annotations

import sys
import time
from typing import final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from creche._events import CallEvent, Instrument
from creche.instruments import Summary

from ._text import progress_line, progress_view

# How often a plain line is written, in seconds.
_CALM = 5.0


@final
class Progress(Instrument):
    """Shows how a run stands, while it runs."""

    def __init__(self, summary: Summary, *, quiet: bool) -> None:
        self._summary = summary
        self._begun = time.monotonic()
        self._last_line = self._begun
        self._now = 0.0
        self._now_at = self._begun
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._begun

    def start(self) -> None:
        """Begin to show, if there is anybody to show it to."""
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                get_renderable=self._view,
                console=self._console,
                refresh_per_second=8,
                transient=True,
                # What the flow prints goes to where it belongs; only on a shared terminal above.
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=True,
            )
            self._live.start()

    def stop(self) -> None:
        """Take the view off the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def call_submitted(self, event: CallEvent) -> None:
        """Note the time of the run's clock."""
        self._tick(event)

    def call_finished(self, event: CallEvent) -> None:
        """Note the time of the run's clock; now and then write a line."""
        self._tick(event)
        now = time.monotonic()
        if self._live is None and not self._quiet and now - self._last_line >= _CALM:
            self._last_line = now
            sys.stderr.write(f"{progress_line(self._summary, self.seconds)}\n")

    def _tick(self, event: CallEvent) -> None:
        self._now, self._now_at = event.time, time.monotonic()

    def _view(self) -> Text:
        now = self._now + time.monotonic() - self._now_at
        # A copy: the run goes on in another thread while this is drawn.
        snapshot = Summary()
        snapshot.counts, snapshot.submitted = self._summary.counts, self._summary.submitted
        snapshot.running = dict(self._summary.running)
        lines = progress_view(snapshot, now, self.seconds, self._console.width)
        return Text("\n".join(lines))
