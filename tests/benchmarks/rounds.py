"""Round by round: every contender once, in shuffled order.

What it is for: the one way in which everything here is measured, whatever a sample is: time, latency,
memory, instructions.

What it does not know: how a sample is taken.

Invariant: a round has one sample of each contender; rounds that warm up leave no trace.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from results import Sample, Series

Take = Callable[[], Sample]


class Experiment(NamedTuple):
    """What becomes a `Series`, whose words it uses.

    Attributes:
        workload: `W1` and so on.
        what: what is done n times.
        loop: the event loop; empty where none is run.
        n: how many calls.
        units: each measure with its unit.
        takers: each contender with what takes a sample of it.
        rounds: how many rounds.
        warm_ups: how many rounds before that do not count.
        ours: the contender that is compared with each of the others.
    """

    workload: str
    what: str
    loop: str
    n: int
    units: dict[str, str]
    takers: Mapping[str, Take]
    rounds: int
    warm_ups: int = 1
    ours: str = "creche"


def carry_out(experiment: Experiment, draw: random.Random) -> Series:
    """Measure all rounds.

    Args:
        experiment: what to measure.
        draw: shuffles.

    Returns:
        the rounds that count.
    """
    names = list(experiment.takers)
    rounds: list[dict[str, Sample]] = []
    for number in range(experiment.warm_ups + experiment.rounds):
        one = {name: experiment.takers[name]() for name in draw.sample(names, len(names))}
        if number >= experiment.warm_ups:
            rounds.append(one)
    return Series(
        experiment.workload,
        experiment.what,
        experiment.loop,
        experiment.n,
        dict(experiment.units),
        names,
        experiment.ours,
        rounds,
    )
