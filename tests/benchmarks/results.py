"""What was measured, as records that are written to a file and read from it again.

What it is for: a `Series` holds every round of one workload on one loop; `Results` all series of a run,
and what they were measured on and with. Ratios are taken here, inside a round.

What it does not know: how anything is measured or shown.

Invariant: a ratio is that of two values of one round, never of two medians, so that what else the
machine did meanwhile has hit both.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1

PACKAGES = ("trio", "anyio", "uvloop", "aioresult", "aiometer", "outcome", "creche")

Sample = dict[str, float]
"""One run of one contender: a value for each measure."""


class Spread(NamedTuple):
    """The middle of some values, and the ends."""

    median: float
    low: float
    high: float


def spread_of(values: Iterable[float]) -> Spread:
    """The median with the least and the greatest."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


PLAIN = ("growth",)
"""Measures that are ratios already: to take ratios of them would say nothing."""


def divide(value: float, by: float) -> float:
    """As ever; so many bytes where another has none are infinitely more."""
    return value / by if by else math.inf


@dataclass(frozen=True)
class Series:
    """All rounds of one workload on one loop with one n.

    Attributes:
        workload: `W1` and so on.
        what: what is done n times.
        loop: the event loop; empty where none is run.
        n: how many calls.
        units: each measure with its unit.
        contenders: in the order in which they are shown; the first is what the others are compared with.
        ours: the contender that is compared with each of the others, too.
        rounds: each round's samples by contender, in the order in which they were run.
    """

    workload: str
    what: str
    loop: str
    n: int
    units: dict[str, str]
    contenders: list[str]
    ours: str = "creche"
    rounds: list[dict[str, Sample]] = field(default_factory=list)

    @property
    def name(self) -> tuple[str, str, int]:
        """What tells it from the other series of a run."""
        return self.workload, self.loop, self.n

    @property
    def base(self) -> str:
        """The contender that the others are compared with."""
        return self.contenders[0]

    def values(self, measure: str, contender: str) -> Spread:
        """What a contender took, over the rounds."""
        return spread_of(one[contender][measure] for one in self.rounds)

    def ratio(self, measure: str, contender: str, base: str) -> Spread:
        """What a contender took as a multiple of what another one did, over the rounds."""
        return spread_of(divide(one[contender][measure], one[base][measure]) for one in self.rounds)


@dataclass(frozen=True)
class Results:
    """A run of the benchmarks.

    Attributes:
        machine: what it ran on; neither the name of the host nor a path is in it.
        versions: Python's, and those of the packages.
        options: how it was run.
        series: what was measured.
    """

    machine: dict[str, Any]
    versions: dict[str, str]
    options: dict[str, Any]
    series: list[Series]

    def find(self, workload: str, loop: str, n: int) -> Series | None:
        """The series of that name."""
        return next((one for one in self.series if one.name == (workload, loop, n)), None)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(
            json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", encoding="utf-8"
        )


def load(path: Path) -> Results:
    """Read what `Results.save` has written.

    Args:
        path: the file.

    Returns:
        the results.

    Raises:
        ValueError: the file is of another format.
    """
    read = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(read, dict) or read.pop("format", None) != FORMAT:
        raise ValueError(f"{path} holds no results of format {FORMAT}; measure again")
    return Results(**{**read, "series": [Series(**one) for one in read["series"]]})


def processor() -> str:
    """What the processor calls itself, if that can be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def this_machine() -> dict[str, Any]:
    """What can be said of the machine without saying whose it is."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Of Python, and of the packages that are here."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
