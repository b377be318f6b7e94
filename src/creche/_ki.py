"""The one thing of trio's that every floor may use: protection of a few lines from Ctrl-C.

What it is for: `protected` marks a function so that trio raises no `KeyboardInterrupt` inside it.
It is for code that would leave something torn between two of its lines: settling a slot, opening
and closing a run. Never for code of the user's, which must stay interruptible.

What it does not know: what it protects. Under asyncio it has no effect and costs nothing: there the
first Ctrl-C cancels the main task instead of raising in the middle of something.
"""

from __future__ import annotations

from trio.lowlevel import enable_ki_protection as protected

__all__ = ["protected"]
