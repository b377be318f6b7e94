"""The use of a limit as the outline of an area, and shares as the parts of a bar.

What it does not know: SVG, but for the language of its paths; colours.

Invariant: a chart is `WIDTH` wide and `HEIGHT` high, whatever it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ._use import Use, most_in_each

WIDTH, HEIGHT = 600, 60
_PARTS = 300


class Chart(NamedTuple):
    """What is drawn.

    Attributes:
        path: the outline of the area.
        full: the height at which the limit is full; `None` if there is none, or it is out of sight.
        top: the number at the upper edge.
    """

    path: str
    full: float | None
    top: float


def chart(use: Use) -> Chart:
    """The use of a limit over time.

    Args:
        use: of a limit.

    Returns:
        what is drawn.
    """
    top: float = max(use.most, 1)
    # A limit far above what was held would leave nothing of the area to see.
    is_seen = use.size is not None and 0 < use.size <= 4 * top
    if use.size is not None and is_seen:
        top = max(top, use.size)
    parts = []
    before = -1
    step = WIDTH / _PARTS
    for part, most in enumerate(most_in_each(use.steps, use.begin, use.end, _PARTS)):
        if most != before:
            parts.append(f"H{part * step:g}V{_height(most, top):g}")
            before = most
    path = f"M0 {HEIGHT}{''.join(parts)}H{WIDTH}V{HEIGHT}Z"
    return Chart(path, _height(use.size, top) if use.size is not None and is_seen else None, top)


def bar(parts: Sequence[float]) -> list[tuple[float, float]]:
    """Parts of a whole, beside each other.

    Args:
        parts: their sizes.

    Returns:
        begin and width of each, from 0 to `WIDTH`.
    """
    whole = sum(parts)
    spans = []
    begin = 0.0
    for part in parts:
        width = WIDTH * part / whole if whole > 0 else 0.0
        spans.append((round(begin, 2), round(width, 2)))
        begin += width
    return spans


def _height(number: float, top: float) -> float:
    return round(HEIGHT - 1 - (HEIGHT - 2) * number / top, 2)
