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
    """Every tag is closed, nothing is fetched, and only our own script may run."""
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert "default-src 'none'; img-src data:;" in text
    assert text.count("<script") == 1
    for part in ("http://", "https://", "<link", "@import", "url("):
        assert part not in text
