"""One run of one contender under a clock.

What it is for: microseconds for each call, of the processor and of the wall, from the first submit to
the end of the last call; not the loop's own beginning and end, which are the same for all.

What it does not know: what the contender does.

Invariant: a sample is given only if every value that came out is right. The garbage collector has run
before, and does not run meanwhile unless it was asked to.
"""

from __future__ import annotations

import gc
import time

from bodies import Contender, Read, keys_of
from event_loops import run_on
from results import Sample


def check(name: str, n: int, read: Read) -> None:
    """Refuse a result that is not right.

    Args:
        name: whose it is.
        n: how many calls there were.
        read: gives what came of them.

    Raises:
        RuntimeError: it is not each key once, in order.
    """
    if list(read()) != list(keys_of(n)):
        raise RuntimeError(f"{name} has not done what was to be done {n} times")


def timed(name: str, contender: Contender, loop: str, n: int, *, collect: bool = False) -> Sample:
    """Run a contender once.

    Args:
        name: the contender's.
        contender: what to run.
        loop: on which loop.
        n: how many times it does what it does.
        collect: leave the garbage collector on.

    Returns:
        microseconds for each call: `cpu`, of all threads of the process, and `wall`.

    Raises:
        RuntimeError: what it gave is not right.
    """

    async def main() -> Sample:
        cpu, wall = time.process_time(), time.perf_counter()
        read = await contender(n)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        check(name, n, read)
        return {"cpu": cpu / n * 1e6, "wall": wall / n * 1e6}

    gc.collect()
    if not collect:
        gc.disable()
    try:
        return run_on(loop, main)
    finally:
        gc.enable()
