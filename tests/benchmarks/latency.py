"""How long one thing takes from end to end, many times in a row: the middle and the slowest hundredth.

What it is for: a sample of W2, and of cancelling one of many.

What it does not know: what is done.

Invariant: a sample is given only if each came back with its own key. The clock is the wall's: who waits,
waits by that.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter_ns

from bodies import keys_of
from event_loops import run_on
from results import Sample
from round_trips import Trip

UNITS = {"p50": "µs, p50", "p99": "µs, p99"}

WARM = 50
"""Round trips that come first and do not count."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank.

    Args:
        ordered: values, the least first; at least one.
        percent: from 0 to 100.

    Returns:
        the least value that so many in a hundred do not exceed.
    """
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank) - 1, 0)]


def take_trips(
    name: str,
    opened: Callable[[], AbstractAsyncContextManager[Trip]],
    loop: str,
    keys: Iterable[int],
    *,
    collect: bool = False,
) -> Sample:
    """Open a contender, and take one trip after another.

    Args:
        name: the contender's.
        opened: opens it.
        loop: on which loop.
        keys: of the trips; the first few do not count.
        collect: leave the garbage collector on.

    Returns:
        microseconds: `p50` and `p99`.

    Raises:
        RuntimeError: a trip came back with something else than its key.
    """

    async def main() -> Sample:
        took: list[int] = []
        right = True
        async with opened() as trip:
            for key in keys:
                begun = perf_counter_ns()
                back = await trip(key)
                took.append(perf_counter_ns() - begun)
                right = right and back == key
        if not right:
            raise RuntimeError(f"{name} came back with something else than it was sent for")
        counts = sorted(took[WARM:])
        return {"p50": percentile(counts, 50) / 1e3, "p99": percentile(counts, 99) / 1e3}

    gc.collect()
    if not collect:
        gc.disable()
    try:
        return run_on(loop, main)
    finally:
        gc.enable()


def some_of(n: int, victims: int) -> list[int]:
    """Which of n are cancelled, in which order: at random, and the same for every contender."""
    return random.Random(n).sample(keys_of(n), victims)
