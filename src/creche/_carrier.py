"""A carrier, as the call that it carries out and the one who cancels it see it.

What it is for: one small record that a running slot holds: which task, which scope, why cancelled.

What it does not know: how calls are carried out, where the next one comes from.

Invariant: the scope is that of the present call and of no other; only the carrier cancels it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from ._backend import Scope
from ._call import Call
from ._events import Place
from ._slot import Slot
from ._states import Origin


@final
class Carrier:
    """Who carries out a call: a task, and the scope that its present call runs in.

    Attributes:
        task: the task, only ever compared.
        place: where the body of the present call runs.
        handed: the call that an idle carrier is woken for; `None` when it is to end.
    """

    __slots__ = ("_request", "_scope", "_wake", "handed", "place", "task")

    def __init__(self, task: object) -> None:
        self.task = task
        self.place: Place = "loop"
        self.handed: tuple[Slot[Any], Call] | None = None
        self._wake: Callable[[], object] | None = None
        self._scope: Scope | None = None
        self._request: tuple[Origin, str] | None = None

    def take(self, scope: Scope, place: Place) -> None:
        """Begin with a call, whose body runs inside a scope."""
        self._scope = scope
        self._request = None
        self.place = place

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """Cancel the body of the call; the first reason stands."""
        if self._request is None and self._scope is not None:
            self._request = (origin, reason)
            self._scope.cancel()

    @property
    def is_idle(self) -> bool:
        """Whether it is parked, and can be handed a call; one that is being cancelled cannot."""
        return self._wake is not None

    @property
    def request(self) -> tuple[Origin, str]:
        """Why the scope of the call was cancelled."""
        assert self._request is not None, "nobody else holds the scope"
        return self._request

    def hand(self, work: tuple[Slot[Any], Call] | None) -> None:
        """Wake the idle carrier with a call, or with `None` to let it end."""
        wake, self._wake = self._wake, None
        assert wake is not None, "it is not idle"
        self.handed = work
        wake()

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park idle; part of the protocol between a loop and what is waited for."""
        self._wake = wake
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Cancelled while idle: nothing can be handed to it any more."""
        del wake
        self._wake = None
