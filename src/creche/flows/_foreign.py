"""Options and arguments that other engines have: what to write here instead.

What it is for: whoever comes from Prefect writes the words they know, and reads in the error what this
is called here, or that it is not here; also for a word that nobody knows.

What it does not know: tasks, flows; the options that there are.

Invariant: nothing is done for such a word. Each call here ends in an error, or finds nothing wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_CALLED = {
    "cache_expiration": "",
    "cache_key_fn": "",
    "cache_policy": "",
    "flow_run_name": "name=",
    "max_workers": "task_runner=ConcurrentTaskRunner(max_workers=...) of the flow",
    "on_cancellation": "on_cancelled=",
    "on_completion": "on_completed=",
    "on_failure": "on_failed=",
    "on_running": "an instrument of the flow's runner, with call_started",
    "persist_result": "",
    "refresh_cache": "",
    "result_storage": "",
    "retries": "retries= of its tasks; a flow is called again",  # a task has it
    "retry_condition_fn": "retry_on=, of a task",
    "retry_delay": "retry_delay= of its tasks; a flow is called again",
    "retry_delay_seconds": "retry_delay=, of a task",
    "retry_jitter_factor": "retries=Retry(..., jitter=...), of a task",
    "task_run_name": "key=, of a task",
    "timeout_seconds": "timeout=",
    "validate_parameters": "",
}

_AT_A_CALL = {
    "return_state": "submit gives a slot, which has the state and the outcome: slot.state, slot.outcome",
    "wait_for": "pass the slots in a list, as an argument that the function leaves alone",
}

_PAGE = "docs/how-to/from-prefect.md has the words of Prefect and what they are here"


def refuse_options(what: str, foreign: Iterable[str], known: Iterable[str]) -> None:
    """Say what the options are called.

    Args:
        what: ``task`` or ``flow``.
        foreign: names of options that there are not.
        known: names of those that there are.

    Raises:
        TypeError: there is a foreign one.
    """
    for name in foreign:
        if name not in _CALLED:
            cure = f"it has {', '.join(known)}"
        elif _CALLED[name]:
            cure = f"write {_CALLED[name]}"
        else:
            cure = f"nothing of the kind is here; {_PAGE}"
        msg = f"@{what} has no option {name!r}: {cure}"
        raise TypeError(msg)


def refuse_arguments(who: str, fn: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Say what to write for an argument that is Prefect's, and not one of the function.

    Args:
        who: is called, as words for the beginning of a sentence.
        fn: the function.
        kwargs: the keyword arguments that it is to have.

    Raises:
        TypeError: one of them is such a word.
    """
    for name, cure in _AT_A_CALL.items():
        if name in kwargs and not _takes(fn, name):
            msg = f"{who} has no argument {name!r}: {cure}"
            raise TypeError(msg)


def _takes(fn: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return True  # nobody knows
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())
