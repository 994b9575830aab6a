"""What the pages point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for folder in (".", "benchmarks", "docker", "docs", "runtime/cpp")
    for page in ROOT.glob(f"{folder}/*.md")
)


def anchors(page: Path) -> set[str]:
    """The names that headings have as targets of links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_measurements_are_listed_and_those_listed_are_there():
    folder = ROOT / "benchmarks"
    told = (folder / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+\.jsonl?)`", told))
    assert named == {path.name for path in folder.glob("*.json*")}
