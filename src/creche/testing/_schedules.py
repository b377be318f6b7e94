"""`schedules()`: orders of tasks as values that hypothesis draws, and makes small.

What it is for: ``@given(schedules())`` and ``explore(fn, replay=schedule)``. Only who asks for it
needs hypothesis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def schedules(*, decisions: int = 50) -> SearchStrategy[str]:
    """Orders of tasks for `explore(fn, replay=...)`, as a strategy of hypothesis.

    Args:
        decisions: how many decisions one has at most; beyond them it is the usual order.

    Returns:
        a strategy that draws strings such as ``"0.2.1"``; the smallest one is the usual order.

    Raises:
        ModuleNotFoundError: hypothesis is not installed.
    """
    try:
        strategies: Any = importlib.import_module("hypothesis.strategies")
    except ModuleNotFoundError as exc:
        msg = "schedules() needs the package hypothesis, which is not there; pip install hypothesis"
        raise ModuleNotFoundError(msg, name="hypothesis") from exc
    numbers = strategies.lists(strategies.integers(0, 7), max_size=decisions)
    orders: SearchStrategy[str] = numbers.map(lambda drawn: ".".join(map(str, drawn)))
    return orders
