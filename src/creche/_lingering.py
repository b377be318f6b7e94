"""A warning of calls in threads that hold up the end of a run, or of a submit that was cancelled.

What it is for: a function in a thread cannot be stopped from outside. Unless it ends by itself, or asks
`check_cancelled`, a run that was cancelled never ends, and who pressed Ctrl-C looks at a program that
does nothing and says nothing. Nor does the submit of a sequential runner.

What it does not know: how calls in threads are cancelled, or left to themselves.

Invariant: there is a timer only after a run was halted, or a submit cancelled, and none when it is over.
It is a thread of its own, since the loop may be what is held up, and its time need not be real.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import final

from ._log import logger
from ._spelling import spell_some

PATIENCE = 5.0
"""How many seconds after that the warning comes."""


@final
class Lingering:
    """What is waited for at the end of one run, or of one submit."""

    def __init__(
        self,
        name: str,
        in_threads: Callable[[], list[Hashable]],
        what: str = "was to end",
    ) -> None:
        """Watch nothing yet.

        Args:
            name: of the runner.
            in_threads: gives the keys of the calls whose threads are waited for; from any thread.
            what: what the runner was to do when the watch begins, for people.
        """
        self._name = name
        self._what = what
        self._in_threads = in_threads
        self._timer: threading.Timer | None = None

    def watch(self) -> None:
        """It is to end: from now on what is in threads has so long."""
        if self._timer is None and self._in_threads():
            self._timer = threading.Timer(PATIENCE, self._warn)
            self._timer.name = f"creche runner {self._name}"
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """It is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _warn(self) -> None:
        keys = self._in_threads()
        if keys:
            logger.warning(
                "runner %r %s %g seconds ago, and waits for calls in threads, which cannot be "
                "stopped: %s; have them ask creche.check_cancelled() now and then, or have a "
                "ThreadTaskRunner(abandon_on_cancel=True) run them, which leaves such threads behind",
                self._name,
                self._what,
                PATIENCE,
                spell_some(keys),
            )
