"""The states of a call, and the one table that says which may follow which.

What it is for: everything that must know how a call can end reads it here; the picture in the docs
is drawn from `TRANSITIONS`, and the tests walk every row and every pair that is not a row.

What it does not know: slots, outcomes, loops.

Invariant: a final state has no row of its own, so it never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Literal, get_args

Origin = Literal["cancel", "outer", "closed", "upstream", "foreign", "lost"]
"""Where a cancellation came from.

`cancel`
    someone cancelled this key.
`outer`
    a scope around the runner was cancelled, or Ctrl-C ended the program.
`closed`
    the runner was closing: its body raised, or a failure or a crash ended the run.
`upstream`
    a call that this one was to run after did not complete.
`foreign`
    a stray cancellation that belonged to nobody here.
`lost`
    the run ended, and the call had never got to run.
"""

ORIGINS: tuple[Origin, ...] = get_args(Origin)


class State(Enum):
    """Where a call is on its way; values equal names.

    ``PENDING -> RUNNING -> COMPLETED | FAILED | CANCELLED | CRASHED``, and a pending call may go
    to ``CANCELLED`` or ``CRASHED`` at once. The last four are final and never change.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"

    @property
    def final(self) -> bool:
        """Whether a call in this state has ended, for good."""
        return self not in TRANSITIONS


# Members are only equal to themselves, and there is one object of each: hashing by identity is a C
# call, where Enum's own hashes the name in Python, once for every call that settles.
State.__hash__ = object.__hash__  # type: ignore[method-assign]  # see above


TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.PENDING: frozenset({State.RUNNING, State.CANCELLED, State.CRASHED}),
        State.RUNNING: frozenset(
            {State.COMPLETED, State.FAILED, State.CANCELLED, State.CRASHED},
        ),
    },
)
"""From each state that is not final, the states that may follow."""


ENDED = tuple(state for state in State if state.final)
"""The final states, in the order of the table."""


def mermaid() -> str:
    """The table as the text of a Mermaid state diagram.

    Returns:
        the lines of the diagram, one arrow for each entry of `TRANSITIONS`.
    """
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state in State:
        following = TRANSITIONS.get(state, frozenset())
        lines += [f"    {state.name} --> {after.name}" for after in State if after in following]
    lines += [f"    {state.name} --> [*]" for state in State if state.final]
    return "\n".join(lines)
