"""The workloads: what is measured, with which contenders, how often and how large.

What it is for: the one table from which a run of the benchmarks is made.

What it does not know: how a sample is taken, or shown.

Invariant: quick or not, the contenders and the work are the same; rounds and sizes differ.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import bounding
import cancel_one
import cancelling
import growth
import holding
import importing
import instructions
import latency
import memory
import parts
import round_trips
import submitting
import through_processes
import through_threads
from bodies import Contender, keys_of
from event_loops import FAMILY, LOOPS
from fresh import take_fresh
from results import Sample
from rounds import Experiment
from timing import timed

CPU = {"cpu": "µs of CPU each"}
THREADS = {"wall": "µs of wall time a call", "cpu": "µs of CPU a call, all threads"}

OWN_LOOPS = ("trio", "asyncio")
"""What is the same for every loop of asyncio's is measured on its own only."""


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

    def several(self, usual: int, quick: int) -> int:
        """How many rounds."""
        return self.rounds or (quick if self.quick else usual)

    def large(self, usual: int, quick: int) -> tuple[int, ...]:
        """How many calls."""
        return self.sizes or (quick if self.quick else usual,)

    def own_loops(self) -> list[str]:
        """The loops that were asked for, without those that are asyncio's in other words."""
        return [loop for loop in self.loops if loop in OWN_LOOPS]


Table = dict[str, dict[str, Contender]]
"""Contenders by family of loops, then by name."""


def time_all(
    name: str, what: str, contenders: Table, units: dict[str, str], choice: Choice, loop: str, n: int
) -> Experiment:
    """A workload whose time is taken as a whole; a small n has more rounds."""
    takers = {
        one: partial(timed, one, contender, loop, n, collect=choice.collect)
        for one, contender in contenders[FAMILY[loop]].items()
    }
    more = 3 if n <= 1000 else 1
    return Experiment(name, what, loop, n, units, takers, choice.several(9 * more, 3 * more))


def w1(choice: Choice) -> Iterator[Experiment]:
    """Submit, and wait for every key."""
    what = "submit, each call passes the loop once, wait for every key"
    for loop in choice.loops:
        for n in choice.sizes or (1000, 10_000):
            yield time_all("W1", what, submitting.CONTENDERS, CPU, choice, loop, n)


def w2(choice: Choice) -> Iterator[Experiment]:
    """One call on an idle loop."""
    what = "on an idle loop: submit, the call passes the loop once and settles, who waits resumes"
    trips = 1000 if choice.quick else 5000
    keys = keys_of(latency.WARM + trips)
    for loop in choice.loops:
        takers = {
            name: partial(latency.take_trips, name, opened, loop, keys, collect=choice.collect)
            for name, opened in round_trips.CONTENDERS[FAMILY[loop]].items()
        }
        yield Experiment("W2", what, loop, trips, latency.UNITS, takers, choice.several(9, 3))


def w3(choice: Choice) -> Iterator[Experiment]:
    """At most 100 at once."""
    what = "as W1, at most 100 at once"
    for loop in choice.loops:
        for n in choice.sizes or (1000, 10_000):
            yield time_all("W3", what, bounding.CONTENDERS, CPU, choice, loop, n)


def w4(choice: Choice) -> Iterator[Experiment]:
    """Through threads."""
    what = "plain functions that do nothing, through threads, wait for every one"
    for loop in choice.own_loops():
        for n in choice.large(10_000, 2000):
            yield time_all("W4", what, through_threads.CONTENDERS, THREADS, choice, loop, n)


def w5(choice: Choice) -> Iterator[Experiment]:
    """Cancel them all, one by one."""
    what = "submit calls that sleep, cancel them one by one, all end"
    for loop in choice.loops:
        for n in choice.large(10_000, 2000):
            yield time_all("W5", what, cancelling.CONTENDERS, CPU, choice, loop, n)


def w5_one(choice: Choice) -> Iterator[Experiment]:
    """Cancel one of them, and wait for it."""
    what = "cancel one of n calls that sleep, and wait until it has ended"
    n = 10_000
    victims = latency.some_of(n, latency.WARM + (500 if choice.quick else 1000))
    for loop in choice.own_loops():
        takers = {
            name: partial(
                latency.take_trips, name, partial(opened, n), loop, victims, collect=choice.collect
            )
            for name, opened in cancel_one.CONTENDERS[FAMILY[loop]].items()
        }
        yield Experiment("W5-one", what, loop, n, latency.UNITS, takers, choice.several(9, 2))


def w6(choice: Choice) -> Iterator[Experiment]:
    """Bytes."""
    what = "bytes for each call that waits, and for each outcome beyond the value"
    units = {
        name: unit for name, unit in memory.UNITS.items() if "rss" in memory.METERS or "RSS" not in unit
    }

    def take(contender: str, loop: str, n: int) -> Sample:
        with ThreadPoolExecutor(2) as beside:  # bytes do not mind company
            both = beside.map(partial(take_fresh, "held", contender, loop, n), memory.METERS)
            return {measure: value for sample in both for measure, value in sample.items()}

    for loop in choice.own_loops():
        for n in choice.large(100_000, 10_000):
            takers = {name: partial(take, name, loop, n) for name in holding.CONTENDERS[FAMILY[loop]]}
            rounds = choice.several(1, 1)  # what is counted repeats
            yield Experiment("W6", what, loop, n, units, takers, rounds, 0, "creche, at most 100")


def w7(choice: Choice) -> Iterator[Experiment]:
    """A million."""
    what = "as W1 and W3, with many calls: what one costs among them"
    for loop in choice.own_loops():
        for n in choice.large(1_000_000, 50_000):
            takers = {
                name: partial(take_fresh, "grown", name, loop, n, choice.collect)
                for name in growth.CONTENDERS[FAMILY[loop]]
            }
            yield Experiment("W7", what, loop, n, growth.UNITS, takers, choice.several(3, 1), 0)


def w8(choice: Choice) -> Iterator[Experiment]:
    """Two processors."""
    what = "calls of some 5 ms, by two worker processes; beside the half of what they take here"
    for loop in choice.own_loops():
        for n in choice.large(200, 100):
            openers = {
                through_processes.SERIAL: through_processes.here,
                **through_processes.CONTENDERS,
            }
            takers = {
                name: partial(
                    through_processes.take_batch, name, opened, through_processes.busy, loop, n
                )
                for name, opened in openers.items()
            }
            rounds = choice.several(7, 3)
            yield Experiment("W8", what, loop, n, through_processes.UNITS, takers, rounds, 0)


def w9(choice: Choice) -> Iterator[Experiment]:
    """To a process and back."""
    what = "calls that do nothing, by two worker processes"
    for loop in choice.own_loops():
        for n in choice.large(5000, 1000):
            takers = {
                name: partial(
                    through_processes.take_batch, name, opened, through_processes.nothing, loop, n
                )
                for name, opened in through_processes.CONTENDERS.items()
            }
            rounds = choice.several(7, 3)
            yield Experiment("W9", what, loop, n, through_processes.UNITS, takers, rounds, 0)


def kill(choice: Choice) -> Iterator[Experiment]:
    """Stop what does not stop."""
    what = "cancel a call that never returns, and wait until its worker is dead"
    for loop in choice.own_loops():
        takers = {
            name: partial(through_processes.take_kill, name, loop) for name in through_processes.KILLERS
        }
        rounds = choice.several(9, 3)
        yield Experiment("kill", what, loop, 1, through_processes.KILL_UNITS, takers, rounds, 0)


def w10(choice: Choice) -> Iterator[Experiment]:
    """To a cluster and back."""
    what = "calls that do nothing, on a Dask cluster of two processes"
    # Not at the top: it takes half a second, which the other workloads need not wait for.
    on_a_cluster = importlib.import_module("on_a_cluster")
    with on_a_cluster.cluster() as address:
        for loop in choice.own_loops():
            for n in choice.large(1000, 1000):
                takers = {
                    "Client.map + gather": partial(on_a_cluster.by_client, address, n),
                    "creche": partial(on_a_cluster.by_creche, loop, address, n),
                }
                rounds = choice.several(7, 2)
                yield Experiment("W10", what, loop, n, on_a_cluster.UNITS, takers, rounds, 0)


def imports(choice: Choice) -> Iterator[Experiment]:
    """What is paid before anything runs."""
    takers = {f"import {name}": partial(importing.imported, name) for name in importing.PACKAGES}
    rounds = choice.several(15, 5)
    what = "in a new interpreter"
    yield Experiment("import", what, "", 1, importing.UNITS, takers, rounds, 1, "import creche")


def the_parts(choice: Choice) -> Iterator[Experiment]:
    """What a call could be made of."""
    what = "one thing n times: where the time of a call goes"
    for loop in choice.own_loops():
        for n in choice.large(10_000, 2000):
            made = time_all("parts", what, parts.CONTENDERS, CPU, choice, loop, n)
            yield made._replace(ours=parts.OURS)


def counts(choice: Choice) -> Iterator[Experiment]:
    """Instructions; left out where they cannot be counted."""
    if not instructions.is_there():
        print(f"{instructions.MISSING}\n")
        return
    what = f"instructions, slope between {instructions.FROM} and {instructions.TO} calls"
    for workload, table in instructions.CONTENDERS.items():
        for loop in choice.own_loops():
            takers = {
                name: partial(instructions.counted, workload, name, loop) for name in table[FAMILY[loop]]
            }
            name, n, rounds = f"{workload}-instructions", instructions.TO, choice.rounds or 1
            yield Experiment(name, what, loop, n, instructions.UNITS, takers, rounds, 0)


WORKLOADS: dict[str, Callable[[Choice], Iterator[Experiment]]] = {
    "W1": w1,
    "W2": w2,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W5-one": w5_one,
    "W6": w6,
    "W7": w7,
    "W8": w8,
    "W9": w9,
    "kill": kill,
    "W10": w10,
    "import": imports,
    "parts": the_parts,
    "instructions": counts,
}

SLOW = ("instructions",)
"""What a quick run leaves out, unless it is named."""


def experiments(choice: Choice) -> Iterator[Experiment]:
    """All that was asked for, in the order of the table.

    Args:
        choice: what was asked for.

    Yields:
        experiments, ready to be carried out.
    """
    usual = [name for name in WORKLOADS if not (choice.quick and name in SLOW)]
    for name in choice.workloads or usual:
        yield from WORKLOADS[name](choice)
