"""Tells instruments what happens.

What it is for: the one place that calls instruments, so that each has the same manners: called in
order, and one that raises is logged once, taken off, and harms nobody.

What it does not know: what the instruments do with it; when things happen.

Invariant: with no instrument attached, `hears` is empty and nobody builds an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

from ._events import EVENT_NAMES
from ._ki import call_openly
from ._log import logger


@final
class Announcer:
    """The instruments of one run.

    Attributes:
        hears: whether anybody listens at all; asked before an event is built.
    """

    __slots__ = ("_listeners", "_when_crashed", "hears")

    def __init__(
        self,
        instruments: Iterable[object],
        when_crashed: Callable[[BaseException], object],
    ) -> None:
        self._when_crashed = when_crashed
        self._listeners: dict[str, list[tuple[object, Callable[[Any], object]]]] = {
            name: [] for name in EVENT_NAMES
        }
        for instrument in instruments:
            for name in EVENT_NAMES:
                method = getattr(instrument, name, None)
                if callable(method):
                    self._listeners[name].append((instrument, method))
        self.hears = any(self._listeners.values())

    def tell(self, name: str, event: object) -> None:
        """Call the method of this name of each instrument that has it.

        Args:
            name: one of `EVENT_NAMES`.
            event: what to hand over.
        """
        for instrument, method in tuple(self._listeners[name]):
            try:
                call_openly(method, event)
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
        for name, listeners in self._listeners.items():
            self._listeners[name] = [pair for pair in listeners if pair[0] is not instrument]
