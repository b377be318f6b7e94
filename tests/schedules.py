"""As many orders of creche's tasks as there is time for: what ``nox -s schedules`` runs.

What it does not know: what is promised; that is in `exploring`.

It prints how far it is, what it has found, and with which words that is run again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import exploring
from creche.testing import ExploreError, explore

Job = tuple[str, str, int]
BACKENDS = ("trio", "asyncio")
# Seconds between two lines.
EVERY = 10.0


def run(job: Job) -> tuple[Job, int, str | None, str | None]:
    """One program under its orders: how many differ, what went wrong, and the order for that."""
    name, backend, number = job
    logging.disable()  # failures that nobody reads are none of ours
    try:
        found = explore(
            exploring.program(name, number),
            seeds=exploring.seeds(number),
            backend=backend,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]  # one of the two
        )
    except ExploreError as exc:
        return job, 0, str(exc), exc.replay
    finally:
        logging.disable(logging.NOTSET)
    return job, found.orders, None, None


def carry_out(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, int, str | None, str | None]]:
    """All of them, beside each other if there are several processes."""
    if processes == 1:
        yield from map(run, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(run, jobs, chunksize=4)


def again(text: str) -> None:
    """Run one order of one program, and let what it raises come out."""
    name, backend, number, replay = text.split(":")
    explore(exploring.program(name, int(number)), backend=backend, replay=replay)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]  # one of the two


def main(arguments: Sequence[str]) -> int:
    """Carry out what is asked for; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="nox -s schedules --", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="schedules in all")
    parser.add_argument("--property", choices=sorted(exploring.PROPERTIES), action="append")
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--first", type=int, default=0, help="number of the first program of each kind")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--again", help="run one order once more, as it was printed")
    asked: Any = parser.parse_args(arguments)
    if asked.again:
        again(asked.again)
        return 0
    kinds = [
        (name, backend)
        for name in asked.property or list(exploring.PROPERTIES)
        for backend in asked.backend or BACKENDS
    ]
    programs = -(-asked.count // (exploring.ORDERS * len(kinds)))
    jobs = [
        (name, backend, number)
        for number in range(asked.first, asked.first + programs)
        for name, backend in kinds
    ]
    begin = said = time.monotonic()
    runs: Counter[tuple[str, str]] = Counter()
    orders: Counter[tuple[str, str]] = Counter()
    failed: list[Job] = []
    for done, (job, different, wrong, replay) in enumerate(carry_out(jobs, asked.jobs), 1):
        runs[job[:2]] += exploring.ORDERS
        orders[job[:2]] += different
        if wrong is not None:
            failed.append(job)
            print(wrong)
            print(f"again: nox -s schedules -- --again {':'.join(map(str, job))}:{replay}")
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            print(f"{done * exploring.ORDERS} schedules, {len(failed)} programs failed", flush=True)
    for (name, backend), count in runs.items():
        print(
            f"{name} {backend}: {count} schedules, {orders[name, backend]} different in their programs"
        )
    seconds = time.monotonic() - begin
    print(f"{runs.total()} schedules in {seconds:.0f} s, {len(failed)} of {len(jobs)} programs failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
