"""``creche simulate``: a table of what would have been with other numbers of workers.

What it does not know: how that is found out, the spelling of the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from creche._printable import printable
from creche.afterwards._simulate import NothingToReplay, Row, Simulation, UnknownLimit, simulate
from creche.instruments._words import calls
from creche.report._words import count

from ._event_files import read_events, write_out
from ._usage import UsageError

# Of the keys on the critical path, and of one of them.
_MOST_KEYS, _LONGEST_KEY = 8, 40


def simulate_file(path: str, *, workers: Sequence[str], limits: Sequence[str], as_json: bool) -> int:
    """Replay an event file, and print what came out.

    Args:
        path: of the file.
        workers: numbers, each text of one, or of several with commas.
        limits: ``NAME=N``, each.
        as_json: print it as one JSON object.

    Returns:
        the exit status.

    Raises:
        UsageError: what was asked for cannot be done.
    """
    numbers = [_read_workers(text) for given in workers for text in given.split(",")]
    sizes = dict(map(_read_limit, limits))
    history = read_events(Path(path))
    try:
        found = simulate(history, numbers, sizes)
    except NothingToReplay as exc:
        raise UsageError(f"{path}: {exc}") from None
    except UnknownLimit as exc:
        raise UsageError(f"--limit: {path}: {exc}") from None
    if as_json:
        write_out(json.dumps(_record(found), indent=2) + "\n")
    else:
        write_out("".join(f"{printable(line)}\n" for line in table(found)))
    return 0


def table(found: Simulation) -> Iterator[str]:
    """What came out, for people.

    Args:
        found: that.

    Yields:
        the lines.
    """
    yield f"{calls(found.calls)}, {found.measured:.3f} s measured"
    keys = [printable(key, _LONGEST_KEY) for key in found.critical.path]
    if len(keys) > _MOST_KEYS:
        keys[_MOST_KEYS // 2 : -_MOST_KEYS // 2] = [f"({len(keys) - _MOST_KEYS} more)"]
    yield f"critical path {_seconds(found.critical)} s: {', '.join(keys)}"
    yield ""
    yield " workers    makespan  at once"
    rows = [(found.own, "  as it was")]
    if found.base is not found.own:
        rows.append((found.base, "  with the limits asked for"))
    rows += [(row, "") for row in (*found.rows, found.free)]
    for row, remark in rows:
        workers = "no limit" if row.workers is None else str(row.workers)
        yield f"{workers:>8}{_seconds(row):>12}{row.most:>9}{remark}"
    yield ""
    yield f"Would more workers have helped? {found.verdict}"
    for row, _ in rows:
        if row.stuck is not None and row is not found.own:
            workers = "no limit of workers" if row.workers is None else count(row.workers, "worker")
            yield f"note: with {workers} it never ends: {row.stuck}"
    for note in found.notes:
        yield f"note: {note}"


def _seconds(row: Row) -> str:
    return "never ends" if row.seconds is None else f"{row.seconds:.3f}"


def _record(found: Simulation) -> dict[str, object]:
    def row(one: Row) -> dict[str, object]:
        return {"workers": one.workers, "seconds": one.seconds, "at_once": one.most, "stuck": one.stuck}

    return {
        "calls": found.calls,
        "measured": found.measured,
        "critical_path": {"seconds": found.critical.seconds, "keys": list(found.critical.path)},
        "as_it_was": row(found.own),
        "with_limits": row(found.base),
        "rows": [row(one) for one in found.rows],
        "no_limit": row(found.free),
        "verdict": found.verdict,
        "notes": list(found.notes),
    }


def _read_workers(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"--max-workers takes whole numbers, not {text!r}") from None
    if number < 1:
        raise UsageError(f"--max-workers must be at least 1, not {number}")
    return number


def _read_limit(text: str) -> tuple[str, int]:
    name, equals, size = text.rpartition("=")
    if not equals or not name:
        raise UsageError(f"--limit takes NAME=N, not {text!r}; --limit {text or 'db'}=2, perhaps")
    try:
        number = int(size)
    except ValueError:
        raise UsageError(f"--limit {name} takes a whole number, not {size!r}") from None
    if number < 1:
        raise UsageError(f"--limit {name} must be at least 1, not {number}")
    return name, number
