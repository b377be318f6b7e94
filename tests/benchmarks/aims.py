"""What creche is to reach, against what people use instead.

What it is for: a short table of the ratios that matter, with the bound that each was given.

What it does not know: how a figure came about. Nothing fails when an aim is missed: a benchmark is no
test.

Invariant: an aim names contenders that are there; a test looks them up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from results import Results, Series, Spread


class Aim(NamedTuple):
    """One ratio, or one figure, with its bounds.

    Attributes:
        workload: of which series.
        measure: which measure of it.
        ours: the contender of creche's.
        against: by loop: whom it is compared with, `None` for the figure itself, and what it
            is to be at most.
    """

    workload: str
    measure: str
    ours: str
    against: dict[str, tuple[str | None, float]]


class Reached(NamedTuple):
    """An aim in one series.

    Attributes:
        series: where the figures are from.
        aim: what was aimed at.
        peer: whom it is compared with; `None` for the figure itself.
        at_most: the bound.
        is_: what was measured.
    """

    series: Series
    aim: Aim
    peer: str | None
    at_most: float
    is_: Spread


BARE = {"trio": "nursery + dict", "asyncio": "TaskGroup + dict"}
LIMITED = {"trio": "nursery + limiter", "asyncio": "TaskGroup + semaphore"}


def each(names: dict[str, str], trio: float, asyncio: float) -> dict[str, tuple[str | None, float]]:
    """A bound for each loop."""
    return {"trio": (names["trio"], trio), "asyncio": (names["asyncio"], asyncio)}


OURS = {"trio": "creche", "asyncio": "creche"}
HANDLE = {"trio": "anyio TaskHandle", "asyncio": "anyio TaskHandle"}

SERIAL = dict.fromkeys(OURS, "one after the other, here")
POOL = dict.fromkeys(OURS, "ProcessPoolExecutor.map")

CLIENT = dict.fromkeys(OURS, "Client.map + gather")

AIMS = (
    Aim("W1", "cpu", "creche", each(BARE, 0.60, 0.90)),
    Aim("W1", "cpu", "creche", each(HANDLE, 0.20, 0.20)),
    Aim("W1", "cpu", "creche, counting instrument", each(OURS, 1.3, 1.3)),
    Aim("W3", "cpu", "creche", each(LIMITED, 0.25, 0.55)),
    Aim("W3", "cpu", "creche map", each(LIMITED, 0.20, 0.40)),
    Aim(
        "W4",
        "wall",
        "creche",
        each({"trio": "trio.to_thread", "asyncio": "asyncio.to_thread"}, 0.10, 0.20),
    ),
    Aim(
        "W5", "cpu", "creche", each({"trio": "nursery + scopes", "asyncio": "TaskGroup + tasks"}, 1, 1.3)
    ),
    Aim(
        "W5-one",
        "p50",
        "creche",
        each({"trio": "nursery + scope + event", "asyncio": "TaskGroup + tasks"}, 1, 1.3),
    ),
    Aim("W6", "pending", "creche, at most 100", {"trio": (None, 350), "asyncio": (None, 350)}),
    Aim("W6", "retained", "creche, at most 100", {"trio": (None, 200), "asyncio": (None, 200)}),
    Aim("W7", "growth", "creche", {"trio": (None, 1.3), "asyncio": (None, 1.3)}),
    Aim("W8", "wall", "creche", each(SERIAL, 0.5 / 0.97, 0.5 / 0.97)),
    Aim("W9", "wall", "creche, no batches", each(POOL, 0.6, 0.6)),
    Aim("W9", "wall", "creche", each(POOL, 0.1, 0.1)),
    Aim("W10", "wall", "creche", each(CLIENT, 1.15, 1.15)),
    Aim("W10", "submit", "creche", {"trio": (None, 20), "asyncio": (None, 20)}),
    Aim("kill", "p50", "creche", {"trio": (None, 30), "asyncio": (None, 30)}),
    Aim("import", "cpu", "import creche", {"": ("import trio", 1.25)}),
)


def reached(results: Results) -> Iterator[Reached]:
    """Each aim in each series that has figures for it.

    Args:
        results: what was measured.

    Yields:
        what was reached, aim by aim.
    """
    for aim in AIMS:
        for series in results.series:
            if series.workload != aim.workload or series.loop not in aim.against:
                continue
            peer, at_most = aim.against[series.loop]
            if not {aim.ours, peer or aim.ours} <= set(series.contenders):
                continue
            if peer is None:
                is_ = series.values(aim.measure, aim.ours)
            else:
                is_ = series.ratio(aim.measure, aim.ours, peer)
            yield Reached(series, aim, peer, at_most, is_)
