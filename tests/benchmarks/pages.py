"""The tables of the docs' page on performance.

What it is for: Markdown of all series of a run, and putting it between the two markers of the page.

What it does not know: the words around the tables.

Invariant: what is written says on what machine and with which versions, and holds no path and no name of
a host; outside the markers nothing changes.
"""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

from aims import reached
from report import HEAD, cells, number, spread
from results import PLAIN, Results, Series

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"

BEGIN = "<!-- measured: what is below is written by tests/benchmarks/run.py -->\n"
END = "<!-- end of what is measured -->\n"


def row(cells: list[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table, with an empty line after it."""
    return [row(head), row(["---"] * len(head)), *map(row, rows), ""]


def at_a_glance(results: Results) -> list[str]:
    """The ratios that creche aims at."""
    rows = [cells(one) for one in reached(results)]
    return table(HEAD, rows) if rows else []


def cells_of(series: Series | None, measure: str, name: str) -> list[str]:
    """What a contender took on one loop, and what ours took as a multiple of it."""
    if series is None or name not in series.contenders:
        return ["", ""]
    took = number(series.values(measure, name).median)
    alone = name == series.ours or measure in PLAIN
    return [took, "" if alone else spread(series.ratio(measure, series.ours, name))]


def table_of(group: list[Series], measure: str) -> list[str]:
    """One measure of one workload and one n, on all loops beside each other."""
    # Each loop's own contenders come where they come in its series: what all are compared with, first.
    places = [(at, name) for series in group for at, name in enumerate(series.contenders)]
    names = list(dict.fromkeys(name for _, name in sorted(places, key=itemgetter(0))))
    ours = group[0].ours
    head = [group[0].units[measure]]
    for series in group:
        head += [series.loop or "takes", f"{ours} ÷ this"]
    rows = [
        [
            f"**{name}**" if name == ours else name,
            *(cell for series in group for cell in cells_of(series, measure, name)),
        ]
        for name in names
    ]
    return table(head, rows)


def made_with(results: Results) -> list[str]:
    """The machine and the versions, in two sentences."""
    machine = results.machine
    with_ = ", ".join(
        f"{name} {version}" for name, version in results.versions.items() if name != "python"
    )
    quick = " In a quick run, with few rounds." if results.options.get("quick") else ""
    where = f"{machine['system']}, {machine['architecture']}, {machine['cores']} cores"
    python = results.versions["python"]
    return [f"Measured on {where} ({machine['processor']}), with {python}, {with_}.{quick}", ""]


def markdown(results: Results) -> str:
    """All of it.

    Args:
        results: what was measured.

    Returns:
        the text that belongs between the markers.
    """
    groups: dict[tuple[str, int], list[Series]] = {}
    for series in results.series:
        groups.setdefault((series.workload, series.n), []).append(series)
    said = made_with(results)
    if glance := at_a_glance(results):
        said += ["### At a glance", "", *glance]
    for (workload, n), group in groups.items():
        title = f"{workload}, n = {n:,}" if group[0].loop else workload
        rounds = " and ".join(sorted({str(len(series.rounds)) for series in group}))
        sentence = f"{group[0].what[0].upper()}{group[0].what[1:]}. Rounds: {rounds}."
        said += [f"### {title}", "", sentence, ""]
        for measure in group[0].units:
            said += table_of(group, measure)
    return "\n".join(said)


def put(results: Results, page: Path) -> None:
    """Write the tables into the page.

    Args:
        results: what was measured.
        page: a page with the two markers.

    Raises:
        ValueError: the page has not both markers, once each, in that order.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{page.name} must have {BEGIN.strip()!r} and {END.strip()!r} once each")
    page.write_text(f"{before}{begin}\n{markdown(results)}\n{end}{after}", encoding="utf-8")
