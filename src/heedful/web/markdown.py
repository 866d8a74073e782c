"""Markdown as a tree that a page builds element by element: no HTML ever reaches a script.

The text is rendered (markdown-it, HTML in it escaped), cleaned (nh3), and read back as nested lists:
a string, or [tag, child, ...].
"""

from html.parser import HTMLParser
from typing import Any

import nh3
from markdown_it import MarkdownIt

TAGS = {
    *("p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "hr", "br"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
EMPTY = {"hr", "br"}

_RENDERER = MarkdownIt("commonmark", {"html": False}).enable("table")

Tree = list[Any]


def blocks(text: str) -> Tree:
    """Return the text's blocks; links lose their targets, so that nothing leads away."""
    html = nh3.clean(_RENDERER.render(text), tags=TAGS, attributes={}, url_schemes=set())
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.root[1:]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root: Tree = ["root"]
        self._open: list[Tree] = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element: Tree = [tag]
        self._open[-1].append(element)
        if tag not in EMPTY:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY and len(self._open) > 1:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if data != "\n":
            self._open[-1].append(data)
