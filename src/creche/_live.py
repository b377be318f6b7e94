"""The runs that are open now, in this process.

What it is for: what is asked of all of them, whoever has opened them: to stop, what they do.

What it does not know: what a run is.

Invariant: a run is here from its opening until its last slot is final. Threads may look: a copy of the
keys is made in one step.
"""

from __future__ import annotations

from typing import Any

LIVE: dict[Any, None] = {}
"""The runs, the oldest first."""
