"""Benchmarks: ratios against what people use instead, in one run on one machine.

What it is for: the command. ``nox -s bench`` prints tables, and writes them to a file that two runs can
be compared by, and into the docs; nothing asserts a time.

What it does not know: what is measured (`workloads.py`), or how (`rounds.py`, and who takes samples).

Invariant: what is printed and what is written are the same figures.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from comparing import compared
from event_loops import LOOPS
from pages import PAGE, put
from report import glance, lines
from results import Results, load, this_machine, versions
from rounds import carry_out
from workloads import WORKLOADS, Choice, experiments

USAGE = """%(prog)s [options] [workload ...]
       %(prog)s compare OLD.json NEW.json"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line of a run."""
    parser = argparse.ArgumentParser(usage=USAGE, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help=f"some of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes: two minutes")
    parser.add_argument("--instructions", action="store_true", help="count instructions, and only that")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="on this loop only, or on these")
    parser.add_argument("--rounds", type=int, help="how many rounds count")
    parser.add_argument("-n", type=int, action="append", help="how many calls; may be given again")
    parser.add_argument("--gc", action="store_true", help="leave the garbage collector on")
    parser.add_argument("--seed", type=int, help="of the shuffling")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to a file")
    parser.add_argument(
        "--from", type=Path, nargs="+", metavar="FILE", dest="files", help="measure nothing: read these"
    )
    parser.add_argument("--docs", action="store_true", help="write the tables into the docs")
    given = parser.parse_args(arguments)
    if unknown := set(given.workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    if given.instructions:
        given.workloads = ["instructions"]
    counts: list[int] = [1 if given.rounds is None else given.rounds, *(given.n or [])]
    if min(counts) < 1:
        parser.error("rounds and calls are 1 or more")
    return given


def measure(given: argparse.Namespace) -> Results:
    """Carry out what was asked for, and print each series when it is there."""
    seed = random.randrange(2**32) if given.seed is None else given.seed
    choice = Choice(
        tuple(given.workloads),
        tuple(given.loop or LOOPS),
        given.quick,
        given.rounds,
        tuple(given.n or ()),
        given.gc,
    )
    results = Results(this_machine(), versions(), {**choice._asdict(), "seed": seed}, [])
    draw = random.Random(seed)
    begun = time.monotonic()
    for experiment in experiments(choice):
        since = time.monotonic()
        series = carry_out(experiment, draw)
        results.series.append(series)
        print("\n".join(lines(series)))
        print(f"  ({time.monotonic() - since:.0f} s)\n", flush=True)
    print(f"{time.monotonic() - begun:.0f} s in all; shuffled with seed {seed}")
    return results


def read(files: list[Path]) -> Results:
    """What was measured before; of a series that is in several files the last one counts."""
    loaded = [load(path) for path in files]
    series = {one.name: one for results in loaded for one in results.series}
    last = loaded[-1]
    return Results(last.machine, last.versions, last.options, list(series.values()))


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1:2] == ["compare"]:
        parser = argparse.ArgumentParser(
            prog="run.py compare", description="How each ratio has changed."
        )
        parser.add_argument("old", type=Path)
        parser.add_argument("new", type=Path)
        both = parser.parse_args(sys.argv[2:])
        print("\n".join(compared(load(both.old), load(both.new))))
        return
    given = parse(sys.argv[1:])
    if given.files:
        results = read(given.files)
        print("\n\n".join("\n".join(lines(series)) for series in results.series), end="\n\n")
    else:
        results = measure(given)
    print("\n".join(glance(results)))
    if given.json:
        results.save(given.json)
    if given.docs:
        put(results, PAGE)


if __name__ == "__main__":
    main()
