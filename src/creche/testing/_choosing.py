"""Which of the points of a function `cancel_everywhere` tries.

What it does not know: how they were found, and what is tried there.

Invariant: the points keep their numbers and their order.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch

from creche._stacks import shorten

from ._walk import Point
from ._where import Place

_SHOWN = 5


def choose(
    points: list[tuple[int, Point]], most: int | None, places: Collection[str], only: int | None
) -> list[tuple[int, Point]]:
    """Those to try, each with its number.

    Raises:
        ValueError: there is no point of the number `only`, or none at one of the places.
    """
    if only is not None:
        if not 1 <= only <= len(points):
            msg = f"there is no point {only}; the points are 1 to {len(points)}"
            raise ValueError(msg)
        return [points[only - 1]]
    if places:
        points = _at(points, places)
    if most is not None and len(points) > most:
        points = [points[n * len(points) // most] for n in range(most)]
    return points


def _at(points: list[tuple[int, Point]], places: Collection[str]) -> list[tuple[int, Point]]:
    """Those at these places; a pattern is of a file or a line, in full or as reports show it."""
    names = {number: _names(point.place) for number, point in points if point.place is not None}
    for pattern in places:
        if not any(_matches(pattern, spelled) for spelled in names.values()):
            some = list(dict.fromkeys(spelled[-1] for spelled in names.values()))
            known = f"points are at {', '.join(some[:_SHOWN])}" if some else "no point is in a line"
            more = f", and {len(some) - _SHOWN} lines more" if len(some) > _SHOWN else ""
            msg = f"no point is at {pattern!r}, of places; {known}{more}"
            raise ValueError(msg)
    return [
        (number, point)
        for number, point in points
        if any(_matches(pattern, names.get(number, ())) for pattern in places)
    ]


def _names(place: Place) -> tuple[str, ...]:
    files = (place.file, shorten(place.file))
    return (str(place), *files, *(f"{file}:{place.line}" for file in files))


def _matches(pattern: str, names: tuple[str, ...]) -> bool:
    return any(pattern == name or fnmatch(name, pattern) for name in names)
