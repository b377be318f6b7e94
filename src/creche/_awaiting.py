"""The chain of what a coroutine awaits.

What it is for: a coroutine tells by itself where it waits, whatever loop runs it.

What it does not know: event loops, tasks.

Invariant: it only looks.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FrameType
from typing import Any


def awaiting(coro: Any) -> Iterator[FrameType]:  # noqa: ANN401 - whatever can be awaited
    """The frames of what is awaited, from the outermost to the innermost."""
    while coro is not None:
        for frame, inner in (
            ("cr_frame", "cr_await"),
            ("gi_frame", "gi_yieldfrom"),
            ("ag_frame", "ag_await"),
        ):
            if hasattr(coro, frame):
                found = getattr(coro, frame)
                if found is not None:
                    yield found
                coro = getattr(coro, inner)
                break
        else:
            # An async generator being stepped does not tell which, nor does what the `__await__` of an
            # object gives if that is a coroutine's; the garbage collector does.
            opaque = type(coro).__name__.startswith(("async_generator_", "coroutine_wrapper"))
            held = gc.get_referents(coro) if opaque else []
            coro = next(
                (one for one in held if hasattr(one, "ag_frame") or hasattr(one, "cr_frame")), None
            )
