"""The workloads: what is measured, with which contenders, how often and how large.

What it is for: the one table from which a run of the benchmarks is made.

What it does not know: how a sample is taken, or shown.

Invariant: quick or not, the contenders and the work are the same; rounds and sizes differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import bounding
import cancelling
import submitting
import through_threads
from bodies import Contender
from event_loops import FAMILY, LOOPS
from rounds import Experiment
from timing import timed

CPU = {"cpu": "µs of CPU a call"}
THREADS = {"wall": "µs of wall time a call", "cpu": "µs of CPU a call, all threads"}


class Choice(NamedTuple):
    """How a run of the benchmarks was asked for.

    Attributes:
        workloads: their names; empty for all.
        loops: on which loops.
        quick: few rounds, small sizes.
        rounds: how many rounds, instead of what is usual; `None` for that.
        sizes: how many calls, instead of what is usual.
        collect: leave the garbage collector on.
    """

    workloads: tuple[str, ...] = ()
    loops: tuple[str, ...] = tuple(LOOPS)
    quick: bool = False
    rounds: int | None = None
    sizes: tuple[int, ...] = ()
    collect: bool = False


class Timed(NamedTuple):
    """A workload that is timed as a whole.

    Attributes:
        name: `W1` and so on.
        what: what is done n times.
        contenders: by family of loops, then by name.
        units: what is measured.
        sizes: the usual n.
        quick_sizes: and when it has to be quick.
    """

    name: str
    what: str
    contenders: dict[str, dict[str, Contender]]
    units: dict[str, str]
    sizes: tuple[int, ...]
    quick_sizes: tuple[int, ...]

    def experiments(self, choice: Choice) -> Iterator[Experiment]:
        """One for each loop and each n; a small n has more rounds."""
        for loop in choice.loops:
            for n in choice.sizes or (self.quick_sizes if choice.quick else self.sizes):
                usual = (3 if choice.quick else 9) * (3 if n <= 1000 else 1)
                takers = {
                    name: partial(timed, name, contender, loop, n, collect=choice.collect)
                    for name, contender in self.contenders[FAMILY[loop]].items()
                }
                rounds = choice.rounds or usual
                yield Experiment(self.name, self.what, loop, n, self.units, takers, rounds)


W1 = Timed(
    "W1",
    "submit, each call passes the loop once, wait for every key",
    submitting.CONTENDERS,
    CPU,
    (1000, 10_000),
    (1000, 10_000),
)
W3 = Timed(
    "W3", "the same, at most 100 at once", bounding.CONTENDERS, CPU, (1000, 10_000), (1000, 10_000)
)
W4 = Timed(
    "W4",
    "plain functions that do nothing, through threads",
    through_threads.CONTENDERS,
    THREADS,
    (10_000,),
    (2000,),
)
W5 = Timed("W5", "cancel calls that sleep, one by one", cancelling.CONTENDERS, CPU, (10_000,), (2000,))

WORKLOADS: dict[str, Callable[[Choice], Iterator[Experiment]]] = {
    one.name: one.experiments for one in (W1, W3, W4, W5)
}


def experiments(choice: Choice) -> Iterator[Experiment]:
    """All that was asked for, in the order of their names.

    Args:
        choice: what was asked for.

    Yields:
        experiments, ready to be carried out.
    """
    for name, make in WORKLOADS.items():
        if not choice.workloads or name in choice.workloads:
            yield from make(choice)
