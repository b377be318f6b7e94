"""A graph as a picture, with nothing but text: layers from the top to the bottom.

What it is for: a picture without a program that must be installed.

What it does not know: what the nodes are.

Invariant: the picture is one XML document, whatever the texts are; boxes that are beside each other do
not overlap.

A box is laid out by itself, what is in it in layers by the longest way from the top, and is then one
thing among the others of the box around it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final
from xml.sax.saxutils import escape

from ._drawing import FILLS, plain
from ._graph import Group, Node

# Pixels. A character is as wide as that on the average; a text is made to fit.
_CHARACTER, _HEIGHT, _GAP, _LAYER_GAP, _PADDING, _TITLE = 7.5, 32.0, 16.0, 44.0, 14.0, 22.0


@dataclass(eq=False)
class _Thing:
    """A node, or a box with what is in it.

    Attributes:
        of: what it is; `None` for the picture.
        parts: what is in it.
        x: of its left edge, in what it is in; later in the picture.
        y: of its upper edge, likewise.
        width: of it.
        height: of it.
    """

    of: Node | Group | None
    parts: list[_Thing] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = _HEIGHT


def svg(nodes: Sequence[Node], groups: Sequence[Group]) -> Iterator[str]:
    """As an SVG document.

    Args:
        nodes: what is in it.
        groups: the boxes, outer ones first.

    Yields:
        the lines.
    """
    layout = _Layout(nodes, groups)
    width, height = layout.picture.width, layout.picture.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="13">'
    )
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#555555"/></marker></defs>'
    )
    yield f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    for thing in layout.boxes:
        assert isinstance(thing.of, Group)
        yield f'<rect {_at(thing)} rx="6" fill="#000000" fill-opacity="0.04" stroke="#999999"/>'
        yield f'<text x="{thing.x + 8:.1f}" y="{thing.y + 16:.1f}">{_text(thing.of.label)}</text>'
    for node in nodes:
        for one, dashes in (
            *((one, "") for one in node.after),
            *((one, ' stroke-dasharray="5 4"') for one in node.parents),
        ):
            path = _path(layout.things[one], layout.things[node])
            yield f'<path d="{path}" fill="none" stroke="#555555" marker-end="url(#tip)"{dashes}/>'
    for node in nodes:
        thing = layout.things[node]
        stroke = '"#c00000" stroke-width="3"' if node.is_critical else '"#555555"'
        yield f'<g><rect {_at(thing)} rx="6" fill="{FILLS[node.state]}" stroke={stroke}/>'
        words = " ".join(filter(None, (node.text, node.state)))
        yield f"<title>{_text(words)}</title>"
        x, y = thing.x + thing.width / 2, thing.y + thing.height / 2 + 4.5
        yield f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{_text(node.text)}</text></g>'
    yield "</svg>"


@final
class _Layout:
    """Where everything is.

    Attributes:
        picture: the whole.
        boxes: the boxes, outer ones first.
        things: the nodes.
    """

    def __init__(self, nodes: Sequence[Node], groups: Sequence[Group]) -> None:
        self.picture = _Thing(None)
        self.things: dict[Node, _Thing] = {}
        # What each thing is in.
        self._outer: dict[_Thing, _Thing] = {}
        boxes: dict[Group | None, _Thing] = {None: self.picture}
        for group in groups:
            boxes[group] = self._put(_Thing(group), boxes[group.outer])
        for node in nodes:
            width = _CHARACTER * len(plain(node.text)) + 2 * _PADDING
            self.things[node] = self._put(_Thing(node, width=width), boxes[node.group])
        del boxes[None]
        self.boxes = list(boxes.values())
        above: defaultdict[_Thing, dict[_Thing, None]] = defaultdict(dict)
        for node in nodes:
            for one in (*node.after, *node.parents):
                upper, lower = self._beside(self.things[one], self.things[node])
                above[lower][upper] = None
        for box in (*reversed(self.boxes), self.picture):
            _lay_out(box, above)
        for box in (self.picture, *self.boxes):
            for part in box.parts:
                part.x += box.x
                part.y += box.y

    def _put(self, thing: _Thing, outer: _Thing) -> _Thing:
        outer.parts.append(thing)
        self._outer[thing] = outer
        return thing

    def _beside(self, one: _Thing, other: _Thing) -> tuple[_Thing, _Thing]:
        """The things of one box that have them in them."""
        ways = [self._way(one), self._way(other)]
        common = sum(1 for first, second in zip(*ways, strict=False) if first is second)
        return ways[0][common], ways[1][common]

    def _way(self, thing: _Thing) -> list[_Thing]:
        way = [thing]
        while way[-1] is not self.picture:
            way.append(self._outer[way[-1]])
        return way[::-1]


def _lay_out(box: _Thing, above: dict[_Thing, dict[_Thing, None]]) -> None:
    """Give the parts of a box their places in it, and the box its size."""
    numbers: dict[_Thing, int] = {}
    layers: defaultdict[int, list[_Thing]] = defaultdict(list)
    # A box may need something that comes later: as many as can be have what they need above them.
    left = dict.fromkeys(box.parts)
    while left:
        ready = [part for part in left if not any(one in left for one in above.get(part, {}))]
        for part in ready or [next(iter(left))]:
            needs = [numbers[one] for one in above.get(part, {}) if one in numbers]
            numbers[part] = max(needs, default=-1) + 1
            layers[numbers[part]].append(part)
            del left[part]
    y = _PADDING + (_TITLE if box.of is not None else 0.0)
    widths: list[float] = []
    centers: dict[_Thing, float] = {}
    for number in sorted(layers):
        layer = layers[number]
        layer.sort(key=lambda part: _middle(part, above, centers))
        widths.append(sum(part.width for part in layer) + _GAP * (len(layer) - 1))
        x = -widths[-1] / 2
        for part in layer:
            part.x, part.y = x, y
            centers[part] = x + part.width / 2
            x += part.width + _GAP
        y += max(part.height for part in layer) + _LAYER_GAP
    title = 0.0
    if isinstance(box.of, Group):
        title = _CHARACTER * len(plain(box.of.label)) + 2 * _PADDING
    box.width = max([*(width + 2 * _PADDING for width in widths), title, 2 * _PADDING])
    box.height = max(y - _LAYER_GAP + _PADDING, 2 * _PADDING + _TITLE)
    for part in box.parts:
        part.x += box.width / 2


def _middle(
    part: _Thing, above: dict[_Thing, dict[_Thing, None]], centers: dict[_Thing, float]
) -> float:
    """Between what it comes after, so that lines are short."""
    found = [centers[one] for one in above.get(part, {}) if one in centers]
    return sum(found) / len(found) if found else 0.0


def _path(upper: _Thing, lower: _Thing) -> str:
    x, y = upper.x + upper.width / 2, upper.y + upper.height
    to_x, to_y = lower.x + lower.width / 2, lower.y
    bend = max((to_y - y) / 2, 12.0)
    return f"M{x:.1f} {y:.1f}C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"


def _at(thing: _Thing) -> str:
    return f'x="{thing.x:.1f}" y="{thing.y:.1f}" width="{thing.width:.1f}" height="{thing.height:.1f}"'


def _text(text: str) -> str:
    return escape(plain(text), {'"': "&quot;"})
