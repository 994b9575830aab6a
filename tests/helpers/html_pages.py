"""Whether a page is well formed."""

from __future__ import annotations

from html.parser import HTMLParser


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> None:
    """Every tag is closed, and nothing is fetched or run."""
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    for part in ("http://", "https://", "<script", "<link", "@import"):
        assert part not in text
