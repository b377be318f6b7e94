"""The words that show a run while it goes on: numbers in, lines out.

What it is for: the live view of a terminal, and the plain lines elsewhere.

What it does not know: terminals, colours, clocks, where the lines go.

Invariant: no line is wider than asked for, and none holds a control character, whatever keys and errors
are made of.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from creche._states import ENDED

from ._tally import Fault, Fill, Going, Standing

_LONGEST_KEY = 200
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LAST_ASCII = 126


class Line(NamedTuple):
    """A line of the view.

    Attributes:
        text: of it.
        kind: what it tells of: `"head"`, `"note"`, `"fill"`, `"going"`, `"retry"`, `"fault"`, `"more"`.
    """

    text: str
    kind: str


class Extra(NamedTuple):
    """What the events do not tell.

    Attributes:
        title: what the run is called; may be empty.
        seconds: since the start.
        total: how many calls there will be; `None` if that is not known.
        note: what is going on beside, as a sentence.
    """

    title: str = ""
    seconds: float = 0.0
    total: int | None = None
    note: str | None = None


def calls(number: int) -> str:
    """So many calls, in words."""
    return "1 call" if number == 1 else f"{number} calls"


def plain(text: object) -> str:
    """Anything as text in one line, without control characters.

    Args:
        text: a key, say; what it says of itself may fail.

    Returns:
        the text, cut if it is endless.
    """
    try:
        text = str(text)
    except Exception:  # noqa: BLE001 - code of the user's
        text = f"<{type(text).__name__}>"
    if text.isascii() and text.isprintable():
        return text[:_LONGEST_KEY]
    return "".join(one if one.isprintable() else "�" for one in text[:_LONGEST_KEY])


def width_of(text: str) -> int:
    """How many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_width_of_one, text))


def _width_of_one(char: str) -> int:
    if ord(char) <= _LAST_ASCII:
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def fit(text: str, width: int) -> str:
    """Cut a text to a width.

    Args:
        text: without control characters.
        width: in columns.

    Returns:
        the text, or its beginning and an ellipsis.
    """
    if width_of(text) <= width:
        return text
    end, taken = 0, 0
    while (taken := taken + _width_of_one(text[end])) < width:
        end += 1
    return f"{text[:end]}…"[: max(0, width)]


def span(seconds: float) -> str:
    """A time that has passed, or will, for people.

    Args:
        seconds: how many.

    Returns:
        such as ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``.
    """
    seconds = max(0.0, seconds)
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"
    return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"


def seconds_left(standing: Standing, total: int | None) -> float | None:
    """How long it will take at the rate of late; `None` if that cannot be said.

    Args:
        standing: how it stands.
        total: how many calls there will be; `None` if that is not known.

    Returns:
        seconds.
    """
    if total is None or standing.rate <= 0:
        return None
    return max(0, total - standing.settled) / standing.rate


def headline(standing: Standing, extra: Extra) -> str:
    """How it stands, in one line.

    Args:
        standing: the numbers.
        extra: what the events do not tell.

    Returns:
        the line.
    """
    whole = standing.submitted if extra.total is None else max(extra.total, standing.submitted)
    running = len(standing.going) - standing.waiting
    parts = [f"{standing.settled} of {calls(whole)}", f"{running} running"]
    if standing.waiting:
        parts.append(f"{standing.waiting} to be tried again")
    parts += [
        f"{standing.counts[state]} {state.name.lower()}" for state in ENDED[1:] if standing.counts[state]
    ]
    if standing.retries:
        parts.append(f"{standing.retries} {'retry' if standing.retries == 1 else 'retries'}")
    if standing.rate:
        parts.append(f"{standing.rate:.1f}/s" if standing.rate < 100 else f"{standing.rate:.0f}/s")  # noqa: PLR2004 - from here on a digit after the point says nothing
    parts.append(span(extra.seconds))
    left = seconds_left(standing, extra.total)
    if left is not None and whole > standing.settled:
        parts.append(f"about {span(left)} left")
    title = f"{plain(extra.title)}: " if extra.title else ""
    return title + ", ".join(parts)


def view(standing: Standing, extra: Extra, now: float, width: int, height: int) -> list[Line]:
    """How it stands, in as many lines as there is room for.

    The numbers come first; then, as far as there is room, what is going on beside, how full the limits
    are, the calls that have run longest, and the last failures, of which one is shown before the calls
    take all the rest.

    Args:
        standing: the numbers.
        extra: what the events do not tell.
        now: by the clock of the tally.
        width: in columns.
        height: in lines.

    Returns:
        the lines: `height` at most, each `width` columns at most.
    """
    lines = [Line(headline(standing, extra), "head")]
    if extra.note:
        lines.append(Line(extra.note, "note"))
    if standing.fills:
        lines.append(Line(f"  {', '.join(map(_fill, standing.fills))}", "fill"))
    room = max(0, height - len(lines))
    going, faults = standing.going, standing.faults
    # Half of the room is the failures', if there are so many; at least one line of it.
    for_faults = min(len(faults), max(1, room // 3, room - len(going))) if room > 1 or not going else 0
    for_going = room - for_faults
    shown = going[:for_going]
    more = len(going) - len(shown)
    if more and for_going > 1:
        shown = going[: for_going - 1]
        more = len(going) - len(shown)
    lines += [_going(one, now) for one in shown]
    if more and for_going > 1:
        lines.append(Line(f"  and {more} more", "more"))
    lines += [_fault(one) for one in faults[:for_faults]]
    return [Line(fit(text, width), kind) for text, kind in lines[:height]]


def waited_for(going: Sequence[tuple[Hashable, float | None]], most: int = 3) -> str:
    """Calls, each with how long it has run.

    Args:
        going: the keys, and how many seconds, if that is known.
        most: how many to name.

    Returns:
        such as ``2 calls: fetch[1] (3.2 s), fetch[2] (0.4 s)``.
    """
    named = [
        plain(key) if seconds is None else f"{plain(key)} ({span(seconds)})"
        for key, seconds in going[:most]
    ]
    if len(going) > most:
        named.append(f"and {len(going) - most} more")
    return f"{calls(len(going))}: {', '.join(named)}"


def _fill(fill: Fill) -> str:
    return f"{plain(fill.name)} {fill.held}" + (f"/{fill.size:g}" if fill.size < float("inf") else "")


def _going(one: Going, now: float) -> Line:
    attempt = "" if one.attempt == 1 else f", attempt {one.attempt}"
    if one.is_waiting:
        text = f"attempt {one.attempt} failed {span(now - one.since)} ago, to be tried again"
        return Line(f"  {plain(one.key)} {text}", "retry")
    place = "" if one.place == "loop" else f" in {plain(one.place)}"
    return Line(f"  {plain(one.key)} {span(now - one.since)}{place}{attempt}", "going")


def _fault(one: Fault) -> Line:
    return Line(f"  {plain(one.key)} {one.state.name} {plain(' '.join(one.reason.split()))}", "fault")
