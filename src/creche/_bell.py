"""Something that threads wait for, and that whoever brings it about says aloud.

What it is for: the waiting half of things that are no slots: the future of an executor, the executor's
last call. It is woken by one thread and waited for in others.

What it does not know: what happens; whether it has is asked of a function.

Invariant: whoever has enrolled is woken by the next `ring`, unless it has withdrawn; whoever comes after
it has happened is not enrolled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import final


@final
class Bell:
    """Waits for whatever makes a function say yes."""

    __slots__ = ("_has_happened", "_lock", "_wakers")

    def __init__(self, has_happened: Callable[[], bool]) -> None:
        self._has_happened = has_happened
        self._lock = threading.Lock()
        self._wakers: dict[Callable[[], object], None] = {}

    @property
    def done(self) -> bool:
        """Whether it has happened."""
        return self._has_happened()

    def ring(self) -> None:
        """It has happened: wake everybody."""
        with self._lock:
            wakers, self._wakers = self._wakers, {}
        for wake in wakers:
            wake()

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Ask to be woken; False when it has happened already."""
        with self._lock:
            self._wakers[wake] = None
        # First the entry, then the look: what happens in between finds it.
        if self._has_happened():
            self.withdraw(wake)
            return False
        return True

    def withdraw(self, wake: Callable[[], object]) -> None:
        """Do not wake after all."""
        with self._lock:
            self._wakers.pop(wake, None)
