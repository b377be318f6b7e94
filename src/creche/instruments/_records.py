"""An event as one line of JSON: the schema of event files.

What it is for: what `EventLog` writes and `read_history` reads, and its version.

What it does not know: files, threads; what the events are used for.

Invariant: a record is made of any event, whatever its key, its error or its values are, and bears
arguments and values only if it is asked for them. The schema is in `docs/reference/events.md`.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
import sys
from collections.abc import Callable, Hashable
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, final

from creche._events import CallEvent, RunnerEvent
from creche._rates import Rate
from creche._tracebacks import users_traceback

SCHEMA = 1
"""The version of the schema. It is raised when a reader of the last one would misread a file."""

# Characters of what users give: a longer text is cut, and marked as cut.
_LONGEST_KEY, _LONGEST_TEXT, _LONGEST_VALUE = 500, 20_000, 2_000
# How many arguments of a call are shown.
_MOST_ARGS = 100
# Whole numbers up to this one are the same in every reader.
_EXACT = 2**53


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def header(version: str, wall: float) -> str:
    """The first line of a file.

    Args:
        version: of creche.
        wall: the time, in seconds since the epoch.

    Returns:
        the line, in ASCII, with its end.
    """
    return _encode({"event": "log", "schema": SCHEMA, "creche": version, "wall": round(wall, 6)}) + "\n"


def footer(wall: float) -> str:
    """The last line of a file that was closed.

    Args:
        wall: the time, in seconds since the epoch.

    Returns:
        the line, in ASCII, with its end.
    """
    return _encode({"event": "log_closed", "wall": round(wall, 6)}) + "\n"


def runner_line(name: str, event: RunnerEvent, wall: float) -> str:
    """An event of a runner as one line.

    Args:
        name: the method of the instrument that heard it.
        event: what it heard.
        wall: when, in seconds since the epoch.

    Returns:
        the line, in ASCII, with its end.
    """
    made: dict[str, Any] = {
        "event": name,
        "run": event.run,
        "time": round(event.time, 6),
        "wall": round(wall, 6),
        "name": event.name,
        "max_workers": event.max_workers,
        "limits": {
            one: None if math.isinf(size) else size for one, size in sorted(event.limits.items())
        },
        "loop": event.loop,
    }
    if event.rate is not None:
        made["rate"] = _rate(event.rate)
    if event.rates:
        made["rates"] = {one: _rate(rate) for one, rate in sorted(event.rates.items())}
    if event.ageing is not None:
        made["ageing"] = _finite(event.ageing)
    return _encode(made) + "\n"


def call_line(name: str, event: CallEvent, *, values: bool = False) -> str:
    """An event of a call as one line; what has its usual value is left out.

    Args:
        name: the method of the instrument that heard it.
        event: what it heard.
        values: with arguments and values, if they are in the event: it may have been built for another
            instrument that wants them.

    Returns:
        the line, in ASCII, with its end.
    """
    # By hand, what is in each of them: a writer that is slower than the loop loses more at a kill.
    key = event.key
    shown = _quote(key) if type(key) is str and len(key) <= _LONGEST_KEY else _encode(key_of(key))
    line = (
        f'{{"event":"{name}","run":{event.run},"time":{event.time:.6f},"call":{event.call},'
        f'"key":{shown},'
        f'"state":"{event.state.name}","place":{_quote(event.place)}'
    )
    more: dict[str, Any] = {
        field: show(given)
        for index, field, usual, show in _SELDOM
        if (given := event[index]) is not usual
    }
    if values:
        more.update(
            (field, show(given)) for index, field, show in _SECRET if (given := event[index]) is not None
        )
    return f"{line},{_encode(more)[1:]}\n" if more else f"{line}}}\n"


def key_of(key: Hashable) -> str | dict[str, str]:
    """A key: a string is itself; of anything else what it looks like, and of which type it is.

    Args:
        key: any.

    Returns:
        the same for the same key; a longer one than 500 characters is cut, and ends in its digest.
    """
    if type(key) is str:
        return _cut_key(key)
    # Two keys that cannot be shown are two keys still; and it is the same object in all its events.
    text = _text(repr, key, f" at {id(key):#x}")
    return {"repr": _cut_key(text), "type": type(key).__qualname__}


def _cut_key(text: str) -> str:
    if len(text) <= _LONGEST_KEY:
        return text
    digest = hashlib.blake2s(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[:_LONGEST_KEY]}… {digest}"


def _rate(rate: Rate) -> dict[str, float]:
    made = {"starts": rate.starts, "per": rate.per, "burst": rate.burst}
    return {part: _finite(number) for part, number in made.items()}


def _finite(number: float) -> float:
    """A number as JSON has them: of one that is endless, or larger, the largest that there is."""
    most = sys.float_info.max
    near = max(-most, min(number, most))
    return near if isinstance(near, int) and abs(near) < _EXACT else float(near)


def _error(error: BaseException) -> dict[str, str]:
    return {
        "type": type(error).__qualname__,
        "message": _cut(_text(str, error)),
        "traceback": _cut(_text(users_traceback, error)),
    }


def _text(fn: Callable[[Any], str], given: object, mark: str = "") -> str:
    """What a function, perhaps of the user's, makes of something; whatever that raises."""
    try:
        return str.__str__(fn(given))  # the method: of a string of a class of the user's, the plain one
    except BaseException as exc:  # noqa: BLE001 - one bad repr must not cost the rest of the file
        return f"<{type(given).__qualname__}{mark} that cannot be shown: {type(exc).__name__}>"


def _cut(text: str) -> str:
    """The beginning of a long text, and its end: in a traceback that is where the error is."""
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}… ({len(text)} characters) …{text[-half:]}"


@final
class _Shortener(reprlib.Repr):
    """Shows values, and of large ones a part: the whole of ten million numbers would hold up the loop.

    Not because the loop waits for it, but because no other thread runs while Python puts together the
    `repr` of a large list, or of large bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 8
        self.maxtuple = self.maxlist = self.maxarray = self.maxdict = 100
        self.maxset = self.maxfrozenset = self.maxdeque = 100
        self.maxstring = self.maxlong = self.maxother = _LONGEST_VALUE

    def repr_bytes(self, given: bytes, level: int) -> str:
        """Of bytes; those of the standard library are shown whole."""
        del level
        if len(given) <= self.maxstring:
            return repr(given)
        return f"{given[: self.maxstring]!r}… ({len(given)} bytes)"


_shortener = _Shortener()


def _value(given: object) -> str:
    return _cut(_text(_shortener.repr, given))


def _at(field: str) -> int:
    return CallEvent._fields.index(field)


# What is in a line only if it is not the usual: where it is in an event, its name, that, and how it is
# written.
_SELDOM: tuple[tuple[int, str, object, Callable[[Any], object]], ...] = tuple(
    (_at(field), field, usual, show)
    for field, usual, show in (
        ("attempt", 1, int),
        ("origin", None, str),
        ("reason", None, lambda reason: _cut(_text(str, reason))),
        ("error", None, _error),
        ("after", (), lambda keys: [key_of(key) for key in keys]),
        ("limits", (), list),
        ("tags", (), list),
        ("parent", None, lambda parent: {"run": parent[0], "key": key_of(parent[1])}),
        ("delay", None, lambda seconds: round(seconds, 6)),
        ("pulled", False, bool),
        ("priority", 0, _finite),
    )
)
# And only if it is asked for.
_SECRET: tuple[tuple[int, str, Callable[[Any], object]], ...] = (
    (_at("args"), "args", lambda args: [_value(one) for one in args[:_MOST_ARGS]]),
    (_at("value"), "value", _value),
)
