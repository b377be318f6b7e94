"""Tells instruments what happens.

What it is for: the one place that calls instruments, so that each has the same manners: called in
order, and one that raises is logged once, taken off, and harms nobody.

What it does not know: what the instruments do with it; when things happen.

Invariant: with no instrument attached, `hears` is empty and nobody builds an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

from ._events import EVENT_NAMES, PREPARES, Instrument
from ._ki import call_openly, called_openly
from ._log import logger

Listeners = tuple[tuple[object, Callable[[Any], object]], ...]


@final
class Announcer:
    """The instruments of one run.

    Attributes:
        hears: whether anybody listens at all; asked before an event is built.
        wants_values: whether anybody wants arguments and values.
        listeners: who listens to events of each name, an instrument and its method; to be read only.
    """

    __slots__ = ("_when_crashed", "hears", "listeners", "wants_values")

    def __init__(
        self,
        instruments: Iterable[object],
        when_crashed: Callable[[BaseException], object],
    ) -> None:
        self._when_crashed = when_crashed
        self.listeners: dict[str, Listeners] = dict.fromkeys((*EVENT_NAMES, PREPARES), ())
        self.hears = False
        for instrument in instruments:
            for name, those in self.listeners.items():
                method = getattr(instrument, name, None)
                if not callable(method):
                    continue
                self.hears = True
                # What is inherited does nothing, and nothing is built for it.
                if getattr(method, "__func__", None) is not getattr(Instrument, name):
                    self.listeners[name] = (*those, (instrument, method))
        self.wants_values = any(getattr(one, "wants_values", False) is True for one in instruments)

    def tell(self, name: str, event: object) -> None:
        """Call the method of this name of each instrument that has it.

        Args:
            name: one of `EVENT_NAMES`, or `PREPARES`.
            event: what to hand over.
        """
        for instrument, method in self.listeners[name]:
            try:
                called_openly(method, (event,))
            except Exception:  # noqa: BLE001 - logged: a broken observer must not end what it observes
                logger.exception("instrument %r raised in %s and is taken off", instrument, name)
                self._take_off(instrument)
            except BaseException as exc:  # noqa: BLE001 - Ctrl-C, say: the host of the run raises it
                self._when_crashed(exc)

    def call_back(self, fn: Callable[[Any], object], slot: object) -> None:
        """Call a done callback with its slot; an error in it is logged and stops nobody.

        Args:
            fn: the callback.
            slot: a settled slot.
        """
        try:
            call_openly(fn, slot)
        except Exception:  # noqa: BLE001 - logged: the callback's failure is not the run's
            logger.exception("done callback %r of %r failed", fn, slot)
        except BaseException as exc:  # noqa: BLE001 - as above
            self._when_crashed(exc)

    def _take_off(self, instrument: object) -> None:
        for name, listeners in self.listeners.items():
            self.listeners[name] = tuple(pair for pair in listeners if pair[0] is not instrument)
