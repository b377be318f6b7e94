"""Events as rows of a table, and which of them are wanted. All pure: records in, text out.

What it does not know: files, terminals but for their width.

Invariant: a row is one line, whatever is in keys and messages: what cannot be printed is escaped.
"""

from __future__ import annotations

import fnmatch
import math
import re
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from creche._printable import printable
from creche._states import State
from creche.instruments import CallRecord, RunRecord

from ._usage import UsageError

HEADINGS = ("time", "event", "state", "place", "key", "detail")
"""The columns of a table of events."""

# Of the first four, how wide they are on a terminal; the rest is for the key and the detail.
_WIDTHS = (10, 9, 9, 7)
_NARROWEST = 8
_STYLES = {
    State.COMPLETED.name: "green",
    State.FAILED.name: "red",
    State.CRASHED.name: "bold red",
    State.CANCELLED.name: "yellow",
    State.RUNNING.name: "cyan",
}


class Wanted(NamedTuple):
    """Which events are wanted: those to which all of this applies.

    Attributes:
        states: the state after it is one of them; none means any.
        keys: the key of its call has one of them in it, or matches it with its `*` and `?`; likewise.
        tags: its call has one of them; likewise.
        since: it happened then or later, in seconds since the history begins.
        until: it happened then or before.
    """

    states: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: float = -math.inf
    until: float = math.inf

    def wants(self, record: dict[str, Any], of: CallRecord | RunRecord, when: float) -> bool:
        """Whether an event is wanted.

        Args:
            record: of the event.
            of: its call, or its run.
            when: it happened.

        Returns:
            whether it is.
        """
        if not self.since <= when <= self.until:
            return False
        if isinstance(of, RunRecord):
            return not (self.states or self.keys or self.tags)
        return (
            (not self.states or record.get("state") in self.states)
            and (not self.keys or any(_is_like(of.key, one) for one in self.keys))
            and (not self.tags or not set(self.tags).isdisjoint(of.tags))
        )


def want(
    states: tuple[str, ...],
    keys: tuple[str, ...],
    tags: tuple[str, ...],
    since: float | None,
    until: float | None,
) -> Wanted:
    """Read what the options of the command ask for.

    Args:
        states: in capital letters or not.
        keys: parts of keys, or patterns.
        tags: words.
        since: seconds; `None` from the beginning.
        until: seconds; `None` to the end.

    Returns:
        what is wanted.

    Raises:
        UsageError: there is no such state, or no such time.
    """
    capital = tuple(one.upper() for one in states)
    for state, given in zip(capital, states, strict=True):
        if state not in State.__members__:
            there = ", ".join(State.__members__)
            raise UsageError(f"--state {given}: there is no such state; there are {there}")
    for option, seconds in (("--since", since), ("--until", until)):
        if seconds is not None and math.isnan(seconds):
            raise UsageError(f"{option} must be a number of seconds, not nan")
    first, last = -math.inf if since is None else since, math.inf if until is None else until
    if first > last:
        raise UsageError(f"--since {since} is after --until {until}")
    return Wanted(capital, keys, tags, first, last)


def row_of(record: dict[str, Any], of: CallRecord | RunRecord, when: float) -> tuple[str, ...]:
    """An event as the cells of a row.

    Args:
        record: of the event.
        of: its call, or its run.
        when: it happened, in seconds since the history begins.

    Returns:
        as many cells as there are `HEADINGS`.
    """
    event, time = str(record["event"]), f"{when:.6f}"
    if isinstance(of, RunRecord):
        workers = "" if of.max_workers is None else f" max_workers={of.max_workers}"
        event = event.removeprefix("runner_")
        cells = (time, event, "", of.loop, "", f"run {of.number} {of.name}{workers}")
    else:
        state, place = str(record.get("state", "")), str(record.get("place", ""))
        detail = "; ".join(_details(record))
        cells = (time, event.removeprefix("call_"), state, place, of.key, detail)
    # Each of them: whoever has written the file may have put anything anywhere.
    return tuple(map(printable, cells))


def plain_row(cells: tuple[str, ...]) -> str:
    """A row for other programs: separated by tabs, of which there are none in the cells.

    Args:
        cells: printable.

    Returns:
        the line, with its end.
    """
    return "\t".join(cells) + "\n"


def shown_row(cells: tuple[str, ...], width: int) -> Text:
    """A row for people.

    Args:
        cells: printable.
        width: of the terminal, in its cells.

    Returns:
        the line; if what is in it must be cut, it is, and marked.
    """
    rest = width - sum(_WIDTHS) - len(_WIDTHS) - 1
    of_key = max(_NARROWEST, rest * 2 // 5)
    of_detail = max(_NARROWEST, rest - of_key)
    widths = (*_WIDTHS, of_key, of_detail)
    parts = [_fit(cell, size) for cell, size in zip(cells, widths, strict=True)]
    line = Text(no_wrap=True, end="\n")
    for heading, part in zip(HEADINGS, parts, strict=True):
        style = _STYLES.get(part.strip(), "") if heading == "state" else ""
        line.append(f"{part} ", style)
    line.rstrip()
    if cells == HEADINGS:
        line.stylize("bold")
    return line


def _details(record: dict[str, Any]) -> list[str]:
    said: list[str] = []
    if record.get("attempt", 1) != 1:
        said.append(f"attempt {record['attempt']}")
    if "delay" in record:
        said.append(f"again in {record['delay']:.3f} s")
    if "origin" in record:
        said.append(f"{record['origin']}: {record.get('reason')}")
    if record.get("error") is not None:
        said.append(f"{record['error']['type']}: {record['error']['message']}")
    if record.get("after"):
        said.append(f"after {', '.join(_key(one) for one in record['after'])}")
    if record.get("parent"):
        said.append(f"by {_key(record['parent']['key'])}")
    said += [
        f"{field} {', '.join(map(str, record[field]))}"
        for field in ("limits", "tags")
        if record.get(field)
    ]
    if "args" in record:
        said.append(f"({', '.join(record['args'])})")
    if "value" in record:
        said.append(f"= {record['value']}")
    return said


def _key(key: str | dict[str, str]) -> str:
    return key if isinstance(key, str) else key["repr"]


def _is_like(key: str, pattern: str) -> bool:
    """A bracket is itself: the keys of flows are full of them."""
    if pattern in key:
        return True
    if "*" not in pattern and "?" not in pattern:
        return False
    return re.match(fnmatch.translate(pattern.replace("[", "[[]")), key) is not None


def _fit(text: str, width: int) -> str:
    """Exactly as many cells; wide characters have two."""
    return (
        set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"
    )
