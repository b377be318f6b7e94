"""A series as lines of text, for the terminal.

What it is for: a line for each contender: what it took, that as a multiple of the first contender's, and
what creche took as a multiple of its.

What it does not know: how it was measured, or where the lines go.

Invariant: nothing here reads a clock or a file; the same series gives the same lines.
"""

from __future__ import annotations

from aims import Reached, reached
from results import PLAIN, Results, Series, Spread


def number(value: float) -> str:
    """With as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def spread(one: Spread) -> str:
    """A ratio: the median, and between what it lay."""
    return f"{one.median:.2f} [{one.low:.2f}..{one.high:.2f}]"


def heading(series: Series) -> str:
    """What was measured."""
    where = f" on {series.loop}" if series.loop else ""
    rounds = f"{len(series.rounds)} round{'s' if len(series.rounds) != 1 else ''}"
    return f"{series.workload}{where}, n = {series.n:,}, {rounds}: {series.what}"


def lines(series: Series) -> list[str]:
    """A block for each measure.

    Args:
        series: what was measured.

    Returns:
        the lines, without ends.
    """
    said = [heading(series)]
    width = max(map(len, [*series.contenders, *series.units.values()]))
    for measure, unit in series.units.items():
        versus = f"÷ {series.base} [min..max]"
        said.append(
            f"  {unit}"
            if measure in PLAIN
            else f"  {unit:{width}} {'':>10}   {versus:34} {series.ours} ÷ this"
        )
        for name in series.contenders:
            value = number(series.values(measure, name).median)
            if measure in PLAIN:
                said.append(f"  {name:{width}} {value:>10}")
                continue
            ratio = spread(series.ratio(measure, name, series.base))
            other = spread(series.ratio(measure, series.ours, name)) if name != series.ours else ""
            said.append(f"  {name:{width}} {value:>10}   {ratio:34} {other}".rstrip())
    return said


HEAD = ["workload", "loop", "contender", "against", "is", "aim", "met"]


def cells(one: Reached) -> list[str]:
    """The cells of an aim, under `HEAD`."""
    series, aim = one.series, one.aim
    if one.peer is None:
        against, is_ = f"({series.units[aim.measure]})", number(one.is_.median)
    else:
        against, is_ = one.peer, spread(one.is_)
    what = f"{series.workload}, n = {series.n:,}" if series.loop else series.workload
    met = "yes" if one.is_.median <= one.at_most else "no"
    return [what, series.loop, aim.ours, against, is_, f"at most {number(one.at_most)}", met]


def glance(results: Results) -> list[str]:
    """The ratios that creche aims at, a line for each.

    Args:
        results: what was measured.

    Returns:
        the lines, without ends; none if nothing was measured that has an aim.
    """
    rows = [cells(one) for one in reached(results)]
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    table = (
        [cell.ljust(width) for cell, width in zip(one, widths, strict=True)] for one in [HEAD, *rows]
    )
    return ["  ".join(one).rstrip() for one in table]
