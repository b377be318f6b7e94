"""Whether a soak went well: rules, each with what it allows.

What it is for: samples and what was counted go in, findings come out. It is pure, and tested as such.

What it does not know: how samples are taken.

The rules. The first fifth of the samples is warming up, and left out; what is left is compared third
with third. A series has grown by the smaller of two numbers: the difference of the medians of its last
and first third, which a single peak does not move; and the slope of Theil and Sen, the median of the
slopes between any two samples, times the span, which a step does not move. It is flat if that is at
most what is allowed for it, or than its noise, the spread of the samples about that slope (1.48 times
their median distance). Latency is compared by the percentiles of all times of a third together; the
limit is 1.2, or 1.2 times what another process beside it, the yardstick, became slower by itself. A
99th percentile is known by few times, so what counts is what it has grown by at least: from two standard
errors above it to two below.

Of memory the first half is left out: what is kept up to a bound, such as the thousand deadlines that
are over and that trio keeps, is full by then at any rate that is worth it. Live blocks are those of
Python's allocator right after a pass of its garbage collector: an object that a call leaves behind is
one or several.

Memory and latency say nothing in a short run, where they are shown and not judged; nor does latency on
a machine that has more to do than it has cores, which is why the processor time of a call is looked at
besides: that depends on others far less.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from histogram import Histogram, together

WARM_UP = 0.2
FILLING = 0.5
"""The same for memory."""

LONG = 300.0
"""Seconds from which memory and latency are judged."""

RATIO = 1.2
FEWEST = 500
"""Times in a third, below which a 99th percentile is anybody's guess."""

# What a series may grow by: a part of its median, and a number.
ALLOWED: dict[str, tuple[float, float]] = {
    "rss": (0.01, 1 << 20),
    "live blocks": (0.005, 0),
    "descriptors": (0, 4),
    "threads": (0, 4),
    "tasks": (0, 8),
    "carriers": (0, 8),
    "workers": (0, 1),
    "open": (0, 16),
    "board": (0, 32),
    "keys": (0, 32),
}
ONLY_LONG = {"rss", "live blocks"}

Sample = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a rule says: `ok` is `None` where it is not judged."""

    rule: str
    ok: bool | None
    said: str


def thirds(
    samples: Sequence[Sample], warm_up: float = WARM_UP
) -> tuple[Sequence[Sample], Sequence[Sample], Sequence[Sample]]:
    """What is judged, and its first and last third."""
    judged = samples[int(len(samples) * warm_up) :]
    third = max(1, len(judged) // 3)
    return judged, judged[:third], judged[-third:]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of Theil and Sen: the median of all slopes between two points."""
    few = points[:: max(1, len(points) // 300)]
    slopes = [
        (later[1] - one[1]) / (later[0] - one[0])
        for one, later in itertools.combinations(few, 2)
        if later[0] > one[0]
    ]
    return median(slopes) if slopes else 0.0


def growth(samples: Sequence[Sample], series: str) -> tuple[float, float, float]:
    """The median of a series at its beginning, what it has grown by, and its noise."""
    there = [one for one in samples if one[series] is not None]
    judged, first, last = thirds(there, FILLING if series in ONLY_LONG else WARM_UP)
    points = [(one["seconds"], float(one[series])) for one in judged]
    rise = slope(points)
    span = points[-1][0] - points[0][0]
    base = median(one[series] for one in first)
    step = median(one[series] for one in last) - base
    at = median(value - rise * when for when, value in points)
    noise = 1.48 * median(abs(value - rise * when - at) for when, value in points)
    return base, min(step, rise * span), noise


def judge_series(samples: Sequence[Sample], series: str) -> Finding:
    """Whether it is flat."""
    base, grown, noise = growth(samples, series)
    part, number = ALLOWED[series]
    allowed = max(part * base + number, noise)
    judged, *_ = thirds(samples, FILLING)
    calls = judged[-1]["calls"] - judged[0]["calls"]
    unit, size = ("MB", 1e6) if series == "rss" else ("", 1)
    said = (
        f"{base / size:,.1f}{unit} at first, {grown / size:+,.2f}{unit}, allowed {allowed / size:,.2f}"
    )
    if series in ONLY_LONG:
        said += f"; {grown / max(1, calls):+.3f} for each of {calls:,} calls"
    is_short = samples[-1]["seconds"] < LONG
    return Finding(series, None if series in ONLY_LONG and is_short else grown <= allowed, said)


def judge_work(samples: Sequence[Sample]) -> Finding:
    """Whether a call takes this process as much of a processor at the end as at the beginning."""
    _, *ends = thirds(samples)
    spans = [(third[0], third[-1]) for third in ends]
    first, last = (
        (late["cpu"] - early["cpu"]) / max(1, late["calls"] - early["calls"]) for early, late in spans
    )
    ratio = last / first if first else 0.0
    said = f"{first * 1e3:.2f} and {last * 1e3:.2f} ms for each: x {ratio:.2f}"
    return Finding("CPU of a call", ratio <= RATIO if samples[-1]["seconds"] >= LONG else None, said)


def judge_latency(samples: Sequence[Sample], kind: str, cores: int) -> Finding:
    """Whether it is at the end what it was at the beginning."""
    _, *ends = thirds(samples)
    first, last = (
        together(Histogram(one["times"][kind]) for one in third if kind in one["times"])
        for third in ends
    )
    rods = [together(Histogram(one["yardstick"]) for one in third) for third in ends]
    before, after = first.percentile(0.99), last.percentile(0.99)
    rod = rods[1].percentile(0.99) / (rods[0].percentile(0.99) or 1.0)
    ratio = after / before if before else 0.0
    least = last.between(0.99)[0] / (first.between(0.99)[1] or 1.0)
    said = (
        f"p50 {first.percentile(0.5) * 1e3:.2f} and {last.percentile(0.5) * 1e3:.2f} ms, "
        f"p99 {before * 1e3:.2f} and {after * 1e3:.2f} ms: x {ratio:.2f}, "
        f"at least x {least:.2f}; the yardstick x {rod:.2f}"
    )
    load = median(one["load"] for third in ends for one in third)
    if load > cores:
        said += f"; not judged, at a load of {load:.0f} on {cores} cores"
    is_long = samples[-1]["seconds"] >= LONG and min(len(first), len(last)) >= FEWEST
    is_judged = is_long and load <= cores
    return Finding(f"latency, {kind}", least <= RATIO * max(1.0, rod) if is_judged else None, said)


def few(many: Sequence[str]) -> str:
    """The first of them, and how many there are."""
    return "; ".join([*many[:3], *([f"{len(many)} in all"] if len(many) > 3 else [])])


def judge(samples: Sequence[Sample], ends: dict[str, Any]) -> list[Finding]:
    """All rules.

    Args:
        samples: in order; two at least.
        ends: what was there at the end: `errors`, `still_open`, `left`, `kills` and `crashes` by place,
            `states` by name, `keys`, `withdrawn`, `cores`.
    """
    settled = sum(ends["states"].values())
    kept = ends["keys"] - ends["withdrawn"]
    findings = [
        Finding(
            "each key exactly once", not ends["errors"], few(ends["errors"]) or f"{settled:,} calls"
        ),
        Finding(
            "nothing open",
            not ends["still_open"] and settled == kept,
            few(ends["still_open"]) or f"{kept:,} keys submitted, {settled:,} settled",
        ),
        Finding("nothing left", not ends["left"], few(ends["left"]) or "no thread, process, file"),
    ]
    for place, kills in ends["kills"].items():
        lost = ends["crashes"].get(place, 0)
        findings.append(
            Finding(
                f"a kill costs one call, {place}", lost <= kills, f"{kills} kills, {lost} calls lost"
            )
        )
    findings += [judge_series(samples, series) for series in ALLOWED]
    kinds = sorted({kind for one in samples for kind in one["times"]})
    findings.append(judge_work(samples))
    return findings + [judge_latency(samples, kind, ends["cores"]) for kind in kinds]
