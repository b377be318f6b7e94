"""Calls wait for a worker in their turn, whoever comes first."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, cast

from creche.places._pool import Pool


def test_they_line_up_by_their_turns() -> None:
    """One without a turn is the last."""
    queue: deque[Any] = deque()
    pool = cast("Pool", SimpleNamespace(_queue=queue))
    for turn in (2, 5, 1, 3, 0):
        Pool._line_up(pool, cast("Any", SimpleNamespace(turn=turn)))
    assert [ticket.turn for ticket in queue] == [1, 2, 3, 5, 0]
