"""What a slot must know of where it lives, and of who carries out its call.

What it is for: the two protocols through which slots reach what stands above them.

What it does not know: slots, runs, loops.

Invariant: none; there is no state here.
"""

from __future__ import annotations

from typing import Any, Protocol

from ._events import Place
from ._states import Origin


class Home(Protocol):
    """Where a slot lives, as far as a slot must know."""

    async def wait(self, slot: Any, timeout: float | None, /) -> bool:  # noqa: ANN401 - a Slot
        """Wait until the slot is settled; False when the time passed first."""
        ...

    def may_pass_by(self) -> bool:
        """Whether a wait for a settled slot may end without so much as a cancel point."""
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
    place: Place

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """Cancel the body of the call."""
        ...
