"""Benchmarks: ratios of CPU time against what people use instead, in one run on one machine.

What it is for: ``nox -s bench`` prints a table for the docs and for notes; nothing asserts a time.

What it does not know: what is timed; that is `workloads.py`.

Invariant: every round runs every contender once, in shuffled order, with the garbage collector off, and
a ratio is taken inside a round, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time

import trio
from workloads import WORKLOADS, Contender


def seconds(loop: str, contender: Contender, n: int) -> float:
    """CPU seconds of one contender, with a loop of its own."""
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        if loop == "trio":
            trio.run(contender, n)
        else:
            asyncio.run(contender(n))  # type: ignore[arg-type]
        return time.process_time() - begin
    finally:
        gc.enable()


def measure(loop: str, contenders: dict[str, Contender], n: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender, round by round, after a round that does not count."""
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for counts in (False, *[True] * rounds):
        for name in random.sample(list(contenders), len(contenders)):
            one = seconds(loop, contenders[name], n)
            if counts:
                took[name].append(one)
    return took


def lines_of(took: dict[str, list[float]], n: int) -> list[str]:
    """A line for each contender: microseconds for each call, and the ratio to the first."""
    base = next(iter(took.values()))
    lines = []
    for name, times in took.items():
        ratios = [one / other for one, other in zip(times, base, strict=True)]
        each = statistics.median(times) / n * 1e6
        spread = f"[{min(ratios):.2f}..{max(ratios):.2f}]"
        lines.append(f"  {name:24}{each:8.2f} us  {statistics.median(ratios):6.2f} {spread}")
    return lines


def main() -> None:
    """Run the workloads that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", help="W1, W3, ...; all by default")
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9")
    parser.add_argument("-n", type=int, nargs="+", default=[1000, 10_000], help="how many calls")
    given = parser.parse_args()
    for workload in WORKLOADS:
        if given.workloads and workload.name not in given.workloads:
            continue
        for n in given.n:
            print(f"{workload.name}, n = {n}: {workload.what}")
            for loop, contenders in workload.contenders.items():
                print(f" {loop}; CPU for each call, ratio to the first [min..max]")
                took = measure(loop, contenders, n, 3 if given.quick else 9)
                print("\n".join(lines_of(took, n)))


if __name__ == "__main__":
    main()
