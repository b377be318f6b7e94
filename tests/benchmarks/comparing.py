"""Two runs side by side: how each ratio has changed.

What it is for: before and after a change. Times of two runs do not compare, as the machine was never the
same; what a contender is as a multiple of another one does.

What it does not know: which of the two is better to have.

Invariant: only series of the same workload, loop and n are compared. A change is marked when the two
ranges over the rounds do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from report import heading, number, spread
from results import PLAIN, Results, Series, Spread

COUNTED = ("pending", "retained", "instructions", *PLAIN)
"""What is counted and not timed, or is a ratio itself, compares as it is, from one run to another."""


class Change(NamedTuple):
    """What became of one figure.

    Attributes:
        name: the contender.
        old: the figure before.
        new: and after.
    """

    name: str
    old: Spread
    new: Spread

    @property
    def percent(self) -> float:
        """By how much the median has changed."""
        return (self.new.median / self.old.median - 1) * 100

    @property
    def is_clear(self) -> bool:
        """Whether the ranges do not overlap."""
        return self.new.high < self.old.low or self.new.low > self.old.high


def changes(old: Series, new: Series, measure: str) -> list[Change]:
    """How each contender that both have has changed: its ratio to the first, or what was counted.

    Args:
        old: a series.
        new: the same one of a later run.
        measure: one that both have.

    Returns:
        the changes, in the order of the contenders.
    """
    both = [name for name in new.contenders if name in old.contenders]
    if measure in COUNTED:
        return [Change(name, old.values(measure, name), new.values(measure, name)) for name in both]
    base = next((name for name in both if name == old.base == new.base), None)
    if base is None:
        return []
    pairs = [(name, old.ratio(measure, name, base), new.ratio(measure, name, base)) for name in both]
    return [Change(*pair) for pair in pairs if pair[0] != base]


def compared(old: Results, new: Results) -> Iterator[str]:
    """The lines that tell what has changed.

    Args:
        old: a run.
        new: a later one.

    Yields:
        lines, without ends.
    """
    yield from differences("machine", old.machine, new.machine)
    yield from differences("versions", old.versions, new.versions)
    yield from differences("options", {**old.options, "seed": 0}, {**new.options, "seed": 0})
    for series in new.series:
        before = old.find(*series.name)
        if before is None:
            yield f"{heading(series)}: not measured before"
            continue
        yield heading(series)
        for measure, unit in series.units.items():
            if measure not in before.units:
                continue
            yield f"  {unit}" if measure in COUNTED else f"  {unit}, ÷ {series.base}"
            for one in changes(before, series, measure):
                counted = measure in COUNTED
                was, is_ = (
                    number(value.median) if counted else spread(value) for value in (one.old, one.new)
                )
                mark = " *" if one.is_clear else ""
                yield f"    {one.name:36} {was:>20} -> {is_:20} {one.percent:+6.1f} %{mark}"
    for series in old.series:
        if new.find(*series.name) is None:
            yield f"{heading(series)}: not measured again"
    yield "* the ranges over the rounds do not overlap"


def differences(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    """A warning for each thing in which two runs differ beside what was measured."""
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield f"{what} differ: {name} was {old.get(name)}, is {new.get(name)}"
