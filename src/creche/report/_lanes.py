"""Calls that overlap in time, put on lanes on which they do not.

What it does not know: what the lanes are drawn on.

Invariant: as few lanes as there were calls at once, and of two that are free the upper one is taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def pack(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Find a lane for each span.

    Args:
        spans: begin and end of each, in any order.

    Returns:
        the number of the lane of each, from 0.
    """
    lanes = [0] * len(spans)
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for index in sorted(range(len(spans)), key=lambda one: spans[one]):
        begin, end = spans[index]
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        lanes[index] = lane
    return lanes
