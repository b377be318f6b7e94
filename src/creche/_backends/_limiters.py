"""Limiter objects: whether one belongs to the loop that runs here.

What it is for: a limiter of trio's seems to work on asyncio as long as it has tokens, and then fails in
the middle of a run. So its loop is asked for before the run begins.

What it does not know: what the limiter limits.

Invariant: a limiter that was adopted belongs to one loop, also one of anyio's that was made before any
loop ran, and decides at its first use.
"""

from __future__ import annotations

import sys
from typing import Any


def adopt_of_anyio(
    name: str,
    limiter: Any,  # noqa: ANN401 - what a user has passed
    loop: str,
    *others: type[BaseException],
) -> tuple[type[BaseException], ...]:
    """Check a limiter object that is not trio's own, if that is the loop.

    Args:
        name: of the limit, for the message.
        limiter: one of anyio's, if all is well; or anything with its methods.
        loop: `"trio"` or `"asyncio"`.
        *others: what it may raise beside anyio's own exception.

    Returns:
        the exceptions by which it says that it has no token.

    Raises:
        TypeError: it belongs to another loop.
    """
    owner = _owner(limiter)
    if owner not in (None, loop):
        msg = (
            f"limit {name!r} is a limiter of {owner}'s, and this is {loop}; make it on the loop that it "
            f"is used on, or use an anyio.CapacityLimiter that was made before any loop ran"
        )
        raise TypeError(msg)
    would_block = others
    if "anyio" in sys.modules:  # a limiter of a user's own making does not bring it along
        would_block = (*others, sys.modules["anyio"].WouldBlock)
    probe = object()
    try:
        limiter.acquire_on_behalf_of_nowait(probe)
    except would_block:
        return would_block
    limiter.release_on_behalf_of(probe)
    return would_block


def _owner(limiter: object) -> str | None:
    """The loop that it belongs to; anyio says so only by the modules that its classes are from."""
    # One that was made before any loop ran has the real one inside, once it was used.
    real = getattr(limiter, "_internal_limiter", None) or limiter
    path = type(real).__module__.split(".")
    if path[0] == "trio" or path[-1] == "_trio":
        return "trio"
    return "asyncio" if path[-1] == "_asyncio" else None
