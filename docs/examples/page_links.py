"""What the pages of pipeline.py link to: HTML by its anchors, JSON by its member `links`."""

import json
from html.parser import HTMLParser


def parse(kind: str, body: str) -> list[str]:
    """The links of a page, in order, given its media type and its text."""
    if kind == "application/json":
        return list(json.loads(body)["links"])
    anchors = Anchors()
    anchors.feed(body)
    return anchors.links


class Anchors(HTMLParser):
    """Collects what a page of HTML links to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.links += [value or "" for name, value in attrs if (tag, name) == ("a", "href")]
