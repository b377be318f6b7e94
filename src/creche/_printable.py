"""Text of users' as text for a terminal: what would steer that is written as Python writes it.

What it is for: whatever the library or the command shows: keys, messages, tracebacks. They may come from
a file that was sent, or from whoever a call has talked to; an escape among them could move the cursor,
rename the window, or paint over what was said before.

What it does not know: terminals, colours, where the text goes.

Invariant: nothing that comes out has a control character in it, nor one that turns the direction of the
text, but for the ends of lines and the tabs of `printable_lines`.
"""

from __future__ import annotations


def printable(text: str, longest: int | None = None) -> str:
    """A text in one line, without anything that is no character to be shown.

    Args:
        text: any.
        longest: how many characters there may be; `None` for all.

    Returns:
        the same, those escaped as Python writes them, and cut with an ellipsis.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def printable_lines(text: str) -> str:
    """The same of a text of several lines.

    Args:
        text: any.

    Returns:
        the same, with its ends of lines and its tabs.
    """
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
