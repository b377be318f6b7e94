"""Keys as people are shown them: a key may be anything that can be hashed, and of any length.

What it is for: messages, names of threads, dumps and lines of logs spell keys by this. Event files have
a way of their own, by which keys that begin alike are told apart.

What it does not know: where the text is shown.

Invariant: what it gives is short, whatever the key is, and never raises; a key that is short itself is
spelled as Python spells it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ._tracebacks import in_a_line

LONGEST = 400
"""Characters that are shown of a key as it is."""

_HEAD, _TAIL = 200, 40

_SHOWN = 10
"""How many keys a message spells out."""

# What makes a key one of many: `load[3]`, `fetch-17`; and below a task or a subflow: `part[1]/load[0]`,
# or an attempt of a task: `part[1]#2/load[0]`.
# What is in quotes may be anything.
_MANY = re.compile(
    r"""\[(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^]'"])*\](?:#\d+(?=/)|(?=/|$))|\[.*|-\d+$""", re.DOTALL
)


def spell(key: object) -> str:
    """The `repr` of a key, shortened in its middle if it is long.

    Args:
        key: any key; or a tuple of keys, or another thing that may hold one.

    Returns:
        at most as many characters as `LONGEST`. If its `repr` raises, its type and what was raised.
    """
    try:
        text = repr(key)
    except Exception as exc:  # noqa: BLE001 - code of the user's
        text = f"<{type(key).__name__} whose repr failed: {in_a_line(exc)}>"
    return text if len(text) <= LONGEST else shorten(text)


def spell_some(keys: Sequence[object], count: int | None = None) -> str:
    """Some keys, and how many more there are.

    Args:
        keys: those that are there.
        count: how many there are in all; `None` for as many as `keys`.

    Returns:
        at most ten of them, spelled, and the number of the others.
    """
    shown = keys[:_SHOWN]
    more = (len(keys) if count is None else count) - len(shown)
    return ", ".join(map(spell, shown)) + (f" and {more} more" if more else "")


def shorten(text: str) -> str:
    """The beginning and the end of a long text, and how long it is.

    Args:
        text: any.

    Returns:
        it, if it is no longer than `LONGEST`.
    """
    if len(text) <= LONGEST:
        return text
    return f"{text[:_HEAD]}…{text[-_TAIL:]} ({len(text):,} characters)"


def kind_of(key: str) -> str:
    """What the keys of many calls of a kind have in common.

    Args:
        key: one of them.

    Returns:
        `part/load` of `part[1]/load[0]`; empty if there is nothing else to it.
    """
    return _MANY.sub("", key)
