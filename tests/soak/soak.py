"""The soak: mixed load at a steady rate, for as long as you like, and a verdict.

What it is for: the command. ``nox -s soak`` runs it for an hour; ``-- --minutes 10`` for ten minutes.
What was sampled is written to a file, and the exit status says how it went.

What it does not know: what is run (`soaking.py`), and what is too much (`verdict.py`).

Invariant: what is printed and what is written are the same findings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Tests have the cluster, and benchmarks know the machine.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "benchmarks")]

import trio  # noqa: E402 - what is above says where our own modules are
from overload import overload  # noqa: E402 - the folders are on the path by now
from results import this_machine, versions  # noqa: E402 - the folders are on the path by now
from soaking import Plan, Soak  # noqa: E402 - the folders are on the path by now
from verdict import Finding, judge  # noqa: E402 - the folders are on the path by now

FORMAT = 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; an hour by default")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio", help="the loop")
    parser.add_argument("--no-dask", action="store_true", help="without a cluster")
    parser.add_argument("--rate", type=float, default=40.0, help="trips begun in a second")
    parser.add_argument("--every", type=float, help="seconds from sample to sample")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    parser.add_argument("--overload", action="store_true", help="too much of everything, instead")
    parser.add_argument("--part", type=float, default=1.0, help="of the sizes of --overload")
    parser.add_argument("--only", action="append", default=[], help="these cases of --overload")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where samples and verdict go")
    given = parser.parse_args(arguments)
    if not (given.minutes > 0 and given.rate > 0):
        parser.error("minutes and rate are more than 0")
    return given


def say(line: str) -> None:
    """Print it at once."""
    print(line, flush=True)


def soak(plan: Plan, backend: str, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run it on a loop; the samples, and what was there at the end."""
    one = Soak(plan, folder)
    ends = trio.run(one.run, say) if backend == "trio" else asyncio.run(one.run(say))
    lines = one.samples.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], ends


def lines(findings: list[Finding]) -> list[str]:
    """The verdict, for people."""
    words = {True: "ok", False: "FAILED", None: "-"}
    return [f"{words[one.ok]:7}{one.rule}: {one.said}" for one in findings]


def main(arguments: list[str]) -> int:
    """Soak, and judge; 0 if every rule holds."""
    given = parse(arguments)
    if given.overload:
        return overload(["trio", "asyncio"], given.only, given.part)
    seconds = given.minutes * 60
    plan = Plan(
        seconds,
        rate=given.rate,
        every=given.every or min(5.0, max(0.25, seconds / 60)),
        kill_every=min(5.0, max(1.5, seconds / 10)),
        kill_dask_every=min(20.0, seconds / 3),
        has_dask=not given.no_dask,
        seed=given.seed,
    )
    say(f"{given.minutes:g} min on {given.backend}, {given.rate:g} trips in a second, seed {given.seed}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        samples, ends = soak(plan, given.backend, Path(folder))
    findings = judge(samples, ends)
    say("\n".join(lines(findings)))
    say(f"{time.monotonic() - begun:.0f} s in all; {json.dumps(ends['states'])}")
    if given.json:
        written = {
            "format": FORMAT,
            "machine": this_machine(),
            "versions": versions(),
            "plan": {"backend": given.backend, **asdict(plan)},
            "ends": ends,
            "verdict": [asdict(one) for one in findings],
            "samples": samples,
        }
        given.json.write_text(json.dumps(written) + "\n", encoding="utf-8")
    return 1 if any(one.ok is False for one in findings) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
