"""A latch: what has happened wakes everybody who waits, whenever Ctrl-C hits one of them."""

from __future__ import annotations

import threading
from typing import Any

from creche._latch import Latch


class Interrupted:
    """A lock whose taking is followed by Ctrl-C before anybody knows that it was taken."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.release = lock.release

    def acquire(self, timeout: float) -> bool:
        assert self._lock.acquire(timeout=timeout)
        raise KeyboardInterrupt


def test_it_has_happened_once() -> None:
    """Setting it again does no harm."""
    latch = Latch()
    assert not latch.is_set
    assert latch.wait(0) is False
    latch.set()
    latch.set()
    assert latch.is_set
    assert latch.wait() is True
    assert latch.wait(0) is True


def test_ctrl_c_when_it_has_just_happened() -> None:
    """Who is interrupted may wait again, and others who wait are woken."""
    latch = Latch()
    woken: list[bool] = []
    others = [threading.Thread(target=lambda: woken.append(latch.wait(10))) for _ in range(3)]
    for thread in others:
        thread.start()
    lock, interrupted = latch._lock, Interrupted(latch._lock)

    def interrupted_wait() -> None:
        try:
            latch.wait(10)
        except KeyboardInterrupt:
            woken.append(latch.wait(10))

    latch._lock = interrupted  # type: ignore[assignment]  # a lock as far as it is used
    thread = threading.Thread(target=interrupted_wait)
    thread.start()
    latch._lock = lock
    latch.set()
    for one in (*others, thread):
        one.join(10)
    assert woken == [True] * 4


def test_somebody_else_lets_go_at_the_same_time() -> None:
    """Of two who find that it has happened the second finds the lock free."""
    latch = Latch()
    latch._left.clear()
    latch._lock.release()
    latch._let_go()
    assert latch.wait(0) is True
