"""State hooks: functions that are told how a task or a flow has ended.

What it is for: `on_completed`, `on_failed`, `on_cancelled`, `on_crashed`, as Prefect spells them, with
the manners of an instrument.

What it does not know: tasks, flows; what a hook does.

Invariant: a hook that raises is logged once and not called again in that run of the flow, and harms
nobody: neither the run, nor the other hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, final

from outcome import Outcome

from creche._call import is_async_callable
from creche._ki import call_openly
from creche._log import logger
from creche._states import State

Hook = Callable[[Any, Any, State], object]
"""Is handed the task or the flow; the slot, or a `FlowEnd`; and the state, which is final."""

HOOKS = {
    "on_completed": State.COMPLETED,
    "on_failed": State.FAILED,
    "on_cancelled": State.CANCELLED,
    "on_crashed": State.CRASHED,
}

Hooks = Mapping[State, tuple[Hook, ...]]
"""For each final state, what is called, in this order; states without any are left out."""


class FlowEnd(NamedTuple):
    """How one run of a flow has ended; what the hooks of a flow are handed, as those of a task its slot.

    Attributes:
        key: the name of the flow; of a subflow, with what stands before the keys of its tasks.
        state: COMPLETED: it returned. FAILED: an `Exception` came out of it. CANCELLED: a cancellation
            did, or the flow around it has ended it. CRASHED: Ctrl-C, ``SystemExit`` and their like.
        outcome: the value, or the exception.
    """

    key: str
    state: State
    outcome: Outcome[Any]


def read_hooks(who: str, given: Mapping[str, object]) -> Hooks:
    """Check the hooks among some options.

    Args:
        who: has them, as words for the middle of a sentence.
        given: options; the hooks among them are lists of functions.

    Returns:
        the hooks.

    Raises:
        TypeError: one is not a list of plain functions.
    """
    hooks: dict[State, tuple[Hook, ...]] = {}
    for option, state in HOOKS.items():
        some = given.get(option)
        if some is None:
            continue
        if isinstance(some, (str, bytes)) or not isinstance(some, Iterable):
            msg = f"{option} of {who} must be a list of functions, [notify], not {some!r}"
            raise TypeError(msg)
        functions = tuple(some)
        for fn in functions:
            if not callable(fn) or is_async_callable(fn):
                msg = (
                    f"{option} of {who} must be a list of plain functions of three arguments, which are "
                    f"called on the loop and must not block it; {fn!r} is none"
                )
                raise TypeError(msg)
        if functions:
            hooks[state] = functions
    return hooks


@final
class HookCaller:
    """Calls the hooks of one run of a flow."""

    def __init__(self) -> None:
        self._broken: list[Hook] = []

    def tell(self, hooks: Hooks, subject: object, end: Any, state: State) -> None:  # noqa: ANN401 - whatever the call gave
        """Call the hooks of a state, in order.

        Args:
            hooks: those of the subject.
            subject: the task or the flow.
            end: its slot, or its `FlowEnd`.
            state: in which it has ended.

        Raises:
            BaseException: what a hook raised that is no `Exception`.
        """
        for hook in hooks.get(state, ()):
            if any(hook is one for one in self._broken):
                continue
            try:
                call_openly(hook, subject, end, state)
            except Exception:  # noqa: BLE001 - logged: a broken hook must not end what it is told of
                self._broken.append(hook)
                logger.exception("hook %r of %r raised, and is not called again", hook, subject)
