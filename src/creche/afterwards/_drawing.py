"""A graph as text for those who draw: Mermaid, and the language of Graphviz.

What it does not know: what the nodes are.

Invariant: no text of a user's, whatever is in it, ends the place where it stands: in Mermaid all but
letters, figures and a few signs are character references, in dot quotes and backslashes are escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from creche._printable import printable

from ._graph import Group, Node

# For Mermaid and SVG: how the states look. Both the light and the dark have their text in black.
FILLS = {
    "": "#e8eef7",
    "pending": "#eeeeee",
    "running": "#fff3c4",
    "completed": "#d7f0d7",
    "failed": "#f8c9c4",
    "cancelled": "#dddddd",
    "crashed": "#e9b3e0",
}

# Signs that mean nothing to Mermaid inside of quotes.
_HARMLESS = frozenset(" _.,:-+/='()[]\N{MULTIPLICATION SIGN}")

_LONGEST = 80


def mermaid(nodes: Sequence[Node], groups: Sequence[Group]) -> Iterator[str]:
    """As a flowchart of Mermaid's.

    Args:
        nodes: what is in it.
        groups: the boxes, outer ones first.

    Yields:
        the lines.
    """
    names = _names(nodes)
    yield "flowchart TD"

    def inside(outer: Group | None, indent: str) -> Iterator[str]:
        for node in nodes:
            if node.group is outer:
                yield f'{indent}{names[node]}["{mermaid_text(node.text)}"]'
        for number, group in enumerate(groups):
            if group.outer is outer:
                yield f'{indent}subgraph g{number}["{mermaid_text(group.label)}"]'
                yield from inside(group, f"{indent}  ")
                yield f"{indent}end"

    yield from inside(None, "  ")
    for node in nodes:
        yield from (f"  {names[one]} --> {names[node]}" for one in node.after)
        yield from (f"  {names[one]} -.-> {names[node]}" for one in node.parents)
    states = dict.fromkeys(node.state for node in nodes if node.state)
    for state in states:
        members = ",".join(names[node] for node in nodes if node.state == state)
        yield f"  classDef {state} fill:{FILLS[state]},stroke:#555555,color:#000000"
        yield f"  class {members} {state}"
    critical = ",".join(names[node] for node in nodes if node.is_critical)
    if critical:
        yield "  classDef critical stroke:#c00000,stroke-width:3px"
        yield f"  class {critical} critical"


def dot(nodes: Sequence[Node], groups: Sequence[Group]) -> Iterator[str]:
    """In the language of Graphviz.

    Args:
        nodes: what is in it.
        groups: the boxes, outer ones first.

    Yields:
        the lines.
    """
    names = _names(nodes)
    yield "digraph {"
    yield '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontcolor="#000000"];'

    def inside(outer: Group | None, indent: str) -> Iterator[str]:
        for node in nodes:
            if node.group is outer:
                look = f'fillcolor="{FILLS[node.state]}"'
                look += ', color="#c00000", penwidth=3' if node.is_critical else ""
                state = f', tooltip="{node.state}"' if node.state else ""
                yield f"{indent}{names[node]} [label={dot_text(node.text)}, {look}{state}];"
        for number, group in enumerate(groups):
            if group.outer is outer:
                yield f"{indent}subgraph cluster{number} {{"
                yield f"{indent}  label={dot_text(group.label)};"
                yield from inside(group, f"{indent}  ")
                yield f"{indent}}}"

    yield from inside(None, "  ")
    for node in nodes:
        yield from (f"  {names[one]} -> {names[node]};" for one in node.after)
        yield from (f"  {names[one]} -> {names[node]} [style=dashed];" for one in node.parents)
    yield "}"


def plain(text: str) -> str:
    """A text in one line, and not too long.

    Args:
        text: anything.

    Returns:
        the text, with what cannot be printed as an escape.
    """
    return printable(text, _LONGEST)


def mermaid_text(text: str) -> str:
    """A text to stand in quotes in Mermaid.

    Args:
        text: anything.

    Returns:
        the text, with a reference for each character that may mean something; for an empty one that
        of a space without a width, since Mermaid refuses empty quotes.
    """
    escaped = (one if one.isalnum() or one in _HARMLESS else f"#{ord(one)};" for one in plain(text))
    return "".join(escaped) or "#8203;"


def dot_text(text: str) -> str:
    """A text in quotes, for Graphviz.

    Args:
        text: anything.

    Returns:
        the text, with its quotes.
    """
    # Graphviz reads references as HTML does.
    escaped = plain(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _names(nodes: Sequence[Node]) -> dict[Node, str]:
    return {node: f"n{number}" for number, node in enumerate(nodes)}
