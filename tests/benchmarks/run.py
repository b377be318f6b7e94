"""Benchmarks: ratios against what people use instead, in one run on one machine.

What it is for: the command. ``nox -s bench`` prints tables, and writes them to a file that two runs can
be compared by; nothing asserts a time.

What it does not know: what is measured (`workloads.py`), or how (`rounds.py`, and what takes its samples).

Invariant: what is printed and what is written are the same figures.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from event_loops import LOOPS
from report import lines
from results import Results, this_machine, versions
from rounds import carry_out
from workloads import WORKLOADS, Choice, experiments


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help=f"some of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes: two minutes")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="on these loops only")
    parser.add_argument("--rounds", type=int, help="how many rounds count")
    parser.add_argument("-n", type=int, nargs="+", default=(), help="how many calls")
    parser.add_argument("--gc", action="store_true", help="leave the garbage collector on")
    parser.add_argument("--seed", type=int, help="of the shuffling")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to a file")
    given = parser.parse_args()
    if unknown := set(given.workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    return given


def measure(given: argparse.Namespace) -> Results:
    """Carry out what was asked for, and print each series when it is there."""
    seed = random.randrange(2**32) if given.seed is None else given.seed
    choice = Choice(
        tuple(given.workloads),
        tuple(given.loop or LOOPS),
        given.quick,
        given.rounds,
        tuple(given.n),
        given.gc,
    )
    results = Results(this_machine(), versions(), {**choice._asdict(), "seed": seed}, [])
    draw = random.Random(seed)
    begun = time.monotonic()
    for experiment in experiments(choice):
        series = carry_out(experiment, draw)
        results.series.append(series)
        print("\n".join(lines(series)), end="\n\n", flush=True)
    print(f"{time.monotonic() - begun:.0f} s; shuffled with seed {seed}")
    return results


def main() -> None:
    """Do what the command line says."""
    given = parse()
    results = measure(given)
    if given.json:
        results.save(given.json)


if __name__ == "__main__":
    main()
