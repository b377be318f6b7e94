"""How the docs are built: Markdown by MyST, the reference from docstrings; a warning is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

from creche._states import TRANSITIONS, State

project = "creche"
author = "The creche authors"
project_copyright = "2026, The creche authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = "creche"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

default_role = "code"
autodoc_typehints = "none"  # the signature is in the source; the docstring says what a type cannot
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "inherited-members": "tuple, Exception, BaseException, object",
}
napoleon_google_docstring = True
napoleon_use_ivar = True

# Nothing is fetched while building, so names of other projects stay text.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(collections|typing|types|asyncio|trio|anyio|outcome|contextlib|enum|abc)\b.*",
    ),
    (
        r"py:class",
        r"creche\._.*|creche\.flows.*|optional|Place|T|T_co|P|R|R_co|V|Item|NamedTuple|Limiter|Context|Keepsake|Feed|RetryOn|FindingKind|Outcome|BackendName",
    ),
    (r"py:exc", r".*"),
    (r"py:obj", r".*"),
]


SVG_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 590 230" font-family="sans-serif" '
    'font-size="14" role="img">'
)
ARROW_HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>'
)


def draw_states() -> str:
    """The state table as a picture, drawn from the table in code.

    Returns:
        the text of an SVG file: a box for each state, an arrow for each entry of the table.
    """
    rows = [state for state in State if state.final]
    place = {State.PENDING: (20, 90), State.RUNNING: (210, 40)}
    place |= {state: (440, 10 + 55 * row) for row, state in enumerate(rows)}
    parts = [
        SVG_HEAD,
        ARROW_HEAD,
    ]
    for before, row in TRANSITIONS.items():
        for after in (state for state in State if state in row):
            (x1, y1), (x2, y2) = place[before], place[after]
            parts.append(
                f'<line x1="{x1 + 130}" y1="{y1 + 18}" x2="{x2}" y2="{y2 + 18}" stroke="#888" '
                f'marker-end="url(#head)"><title>{before.name} to {after.name}</title></line>',
            )
    for state, (x, y) in place.items():
        parts.append(
            f'<rect x="{x}" y="{y}" width="130" height="36" rx="6" fill="#fff" stroke="#444" '
            f'stroke-width="{2 if state.final else 1}"/>'
            f'<text x="{x + 65}" y="{y + 23}" text-anchor="middle" fill="#222">{state.name}</text>',
        )
    return "\n".join([*parts, "</svg>"])


def setup(app: Any) -> None:  # noqa: ANN401 - Sphinx, which the tests of the picture do without
    """Draw the picture of the states before the pages are read."""
    app.add_lexer("mermaid", TextLexer)
    (Path(__file__).parent / "explanation" / "states.svg").write_text(draw_states(), encoding="utf-8")
