"""A series as lines of text, for the terminal.

What it is for: a line for each contender: what it took, that as a multiple of the first contender's, and
what creche took as a multiple of its.

What it does not know: how it was measured, or where the lines go.

Invariant: nothing here reads a clock or a file; the same series gives the same lines.
"""

from __future__ import annotations

from results import Series, Spread

OURS = "creche"
"""The contender whose ratio to each other one is shown: the product, as it is used without options."""


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
    width = max(len(name) for name in series.contenders)
    for measure, unit in series.units.items():
        versus = f"÷ {series.base} [min..max]"
        ours = f"{OURS} ÷ this" if OURS in series.contenders else ""
        said.append(f"  {unit:{width}} {'':>10}   {versus:34} {ours}".rstrip())
        for name in series.contenders:
            value = number(series.values(measure, name).median)
            ratio = spread(series.ratio(measure, name, series.base))
            other = spread(series.ratio(measure, OURS, name)) if ours and name != OURS else ""
            said.append(f"  {name:{width}} {value:>10}   {ratio:34} {other}".rstrip())
    return said
