"""What a slot must know of where it lives, and of who carries out its call.

What it is for: the two protocols through which slots reach what stands above them.

What it does not know: slots, runs, loops.

Invariant: none; there is no state here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from ._states import Origin


class Home(Protocol):
    """Where a slot lives, as far as a slot must know.

    Attributes:
        runner_name: of the runner, for people.
        flow_name: of the flow whose run this is; empty if it is of none.
        credit: how many settled waits may pass in a row, until one is a schedule point.
        tries: which attempt a call is in that is tried again, by its slot; `None` while none was.
    """

    runner_name: str
    flow_name: str
    credit: int
    tries: WeakKeyDictionary[Any, int] | None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the run is going on, on another thread's loop."""
        ...

    async def wait(self, slot: Any, timeout: float | None, /) -> bool:  # noqa: ANN401 - a Slot
        """Wait until the slot is settled; False when the time passed first."""
        ...

    def is_cancel_due(self) -> bool:
        """Whether a cancel point may raise here, or this is not the loop's thread."""
        ...

    def parker(self) -> Callable[[Any], Awaitable[None]] | None:
        """What the running task may wait with for an open slot, if there is nothing else to it."""
        ...

    def in_loop(self) -> bool:
        """Whether this thread is running any event loop."""
        ...

    def block(self, slot: Any, timeout: float | None, /) -> bool:  # noqa: ANN401 - a Slot
        """Block this thread, which runs no loop, until the slot is settled."""
        ...


class Carrying(Protocol):
    """Who carries a call out, as far as a slot must know."""

    task: object
    place: str
    slot: Any

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """Cancel the body of the call."""
        ...
