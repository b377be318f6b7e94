"""The page: one file of HTML that needs nothing else, and asks nobody for anything.

What it is for: its text is written by a template that escapes all that it is given; what its scripts
read is JSON, in which no character can end the element that it is in. A Content-Security-Policy allows
its own script and style, by their hashes, and nothing else.

What it does not know: what there is to tell (`_overview` and `_columns` do), files.

Invariant: no text of a user's becomes markup or code.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.resources
import json
from collections.abc import Callable
from typing import Any

from creche._states import State
from creche.instruments import History

from . import _charts, _words
from ._columns import columns
from ._critical import Kind
from ._overview import MOST_LINKS, MOST_RUNS, overview

_SCRIPTS = ("data", "call", "table", "timeline", "graph", "print", "main")
_FILES = importlib.resources.files("creche.report") / "page"


def render(history: History, name: str) -> bytes:
    """The page of a history.

    Args:
        history: all there is.
        name: of the event file.

    Returns:
        the page, in UTF-8.

    Raises:
        ImportError: jinja2 is not installed.
    """
    told = overview(history)
    numbers = {call: number for number, call in enumerate(history.calls)}
    failures = {call: group.number for group in told.failures for call in group.calls}
    # In a block, so that no name of it becomes one of the window's.
    script = "".join(('"use strict";\n{\n', *(_read(f"{one}.js") for one in _SCRIPTS), "}\n"))
    style = _read("page.css")
    page = _template()(
        name=name,
        told=told,
        history=history,
        number=numbers.__getitem__,
        failure=failures.get,
        words=_words,
        charts=_charts,
        State=State,
        Kind=Kind,
        most_links=MOST_LINKS,
        most_runs=MOST_RUNS,
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        data=_json(columns(history, told.critical, failures, told.all_phases)),
    )
    # What is no character at all, half of a pair, is written as a reference, which shows as unknown.
    return page.encode("utf-8", "xmlcharrefreplace")


def _read(file: str) -> str:
    return (_FILES / file).read_text(encoding="utf-8")


def _template() -> Callable[..., str]:
    # Late: it belongs to an extra, and nothing but this needs it.
    jinja2 = importlib.import_module("jinja2")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    render: Callable[..., str] = environment.from_string(_read("page.html")).render
    return render


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(columns: dict[str, Any]) -> str:
    """In ASCII, and without the characters that mean something in HTML."""
    text = json.dumps(columns, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
