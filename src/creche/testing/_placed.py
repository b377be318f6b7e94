"""`PlaceTaskRunner`: a runner all of whose calls run at one place, which is given as an object.

What it is for: to test a place that somebody wrote with the tests that every runner passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from creche._base import TaskConcurrencyType
from creche._events import Instrument
from creche._options import read_options
from creche._place import Place
from creche._queueing import QueueingTaskRunner


class PlaceTaskRunner(QueueingTaskRunner):
    """Runs every call at one place."""

    def __init__(
        self,
        place: Place,
        max_workers: int | None = None,
        *,
        on_error: Literal["collect", "cancel"] = "collect",
        instruments: Iterable[Instrument] = (),
    ) -> None:
        """Set a runner up; the place is opened at its start.

        Args:
            place: where calls run.
            max_workers: how many run at once; `None` for no limit but that of the place.
            on_error: `"collect"` or `"cancel"`; see `ConcurrentTaskRunner`.
            instruments: who is told what happens.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: `max_workers` is less than 1, or `on_error` is neither of the two.
        """
        if not isinstance(place, Place):
            msg = f"a PlaceTaskRunner needs a Place, not {place!r}"
            raise TypeError(msg)
        self._options = read_options(
            max_workers=max_workers, on_error=on_error, retain=True, instruments=instruments, place=place
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`CONCURRENT`."""
        return TaskConcurrencyType.CONCURRENT
