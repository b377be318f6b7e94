"""What the kit and its two stages tell each other.

What it does not know: either of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Watcher(Protocol):
    """Looks at every step of every task, but those of the loop's own."""

    def before_step(self, task: Any) -> None:  # noqa: ANN401 - a task
        """The task is about to go on."""

    def after_step(self, task: Any) -> None:  # noqa: ANN401 - a task
        """The task has stopped, or ended."""


class Chance(Protocol):
    """Says who comes next."""

    def order(self, names: Sequence[str]) -> Sequence[int]:
        """The indices of those who run now, of those who can, first come first; at least one."""
        ...
