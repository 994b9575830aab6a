"""Sections of the report about certificates: what runtime.certify found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from runtime import chart_bars
from runtime.certify_html import classes, file_name, measures
from runtime.page_html import Column, Html, card, details, note, number, signed, table
from runtime.results.finding import Result, section_of

Content = Mapping[str, Any]


def headline(content: Content, name: str = "") -> str:
    """The verdict in one sentence; `name` is what to call the candidate, by default its file."""
    word = "Certified" if content["certified"] else "Not certified"
    candidate = name or file_name(content, "candidate")
    return f"{word}: {candidate} in place of {file_name(content, 'reference')}"


def names(results: Sequence[Result]) -> list[str]:
    """What to call each certificate: its candidate's file, and its own where files share a name."""
    files = [section_of(one, file_name, "candidate") for one in results]
    return [
        f"{file} ({one.name})" if files.count(file) > 1 else file
        for file, one in zip(files, results, strict=True)
    ]


@dataclass(frozen=True)
class Line:
    """A certificate as a row of the overview.

    Attributes:
        cells: name, verdict, difference in mIoU and its interval.
        delta: that measure, None where there was no truth.
        others: cells that stand right of the drawing.
    """

    cells: tuple[str, ...]
    delta: Mapping[str, Any] | None
    others: tuple[str, ...]


def overview(lines: Sequence[Line]) -> str:
    """All certificates as rows: verdict, ΔmIoU with its interval, agreement."""
    known = [line.delta for line in lines if line.delta]
    reach = max([0.1, *(abs(delta[key]) for delta in known for key in ("low", "high"))])
    columns = [
        *(Column("candidate", text=True), Column("verdict", text=True), Column("ΔmIoU points")),
        *(Column("95 % interval", wide=True), Column(""), Column("same labels %")),
        *(Column("at borders %"), Column("on", text=True)),
    ]
    rows = [
        [*line.cells, _drawing(line.delta, reach) if line.delta else "–", *line.others]
        for line in lines
    ]
    scale = (
        f"The drawings reach from −{reach:.1f} to +{reach:.1f} points of mIoU; left of the middle "
        "the candidate is worse."
    )
    return card("", table(columns, rows, caption="Certificates"), note(scale if known else ""))


def row(content: Content, name: str) -> Line:
    """One certificate for the overview, called `name`."""
    style, word = ("good", "✓ certified") if content["certified"] else ("bad", "✗ refused")
    delta = _delta(content)
    cells = (
        name,
        Html(f'<span class="{style}">{word}</span>'),
        signed(delta["value"] if delta else None),
        f"{signed(delta['low'])} … {signed(delta['high'])}" if delta else "–",
    )
    measured = (_measured(content, f"{what} agreement") for what in ("label", "boundary"))
    return Line(cells, delta, (*measured, content["candidate"]["backend"]))


def certificate(content: Content, name: str, fold: bool) -> str:
    """The certificate called `name`: its measures, its classes, folded as far as `fold` says."""
    missed = "".join(f'<p class="warning">{escape(line)}</p>' for line in content["missed"])
    told = f"{content['images']} images of {content['data']}, {content['date'][:10]}."
    own = classes(content)
    text = measures(content) + note(told, *content["notes"])
    if own:
        text += f"<h4>IoU of each class</h4>{own}" if fold else details("IoU of each class", own)
    verdict = headline(content, name)
    if fold:
        return missed + details(f"{verdict}, {content['candidate']['backend']}", text)
    return card(verdict, missed, text)


def _drawing(delta: Mapping[str, Any], reach: float) -> str:
    ends = f"{signed(delta['low'])} … {signed(delta['high'])}"
    near = delta["bound"] is not None and abs(delta["bound"]) <= reach
    return Html(
        chart_bars.whisker(
            *(delta["value"], delta["low"], delta["high"]),
            reach=reach,
            mark=delta["bound"] if near else None,
            title=f"ΔmIoU {signed(delta['value'])} points, {ends}",
        )
    )


def _delta(content: Content) -> Mapping[str, Any] | None:
    """The measure of the difference in mIoU, or None where there was no truth."""
    found = _check(content, "ΔmIoU")
    return found if found and found["low"] is not None else None


def _measured(content: Content, name: str) -> str:
    found = _check(content, name)
    return number(found["value"] if found else None, "{:.2f}")


def _check(content: Content, name: str) -> Mapping[str, Any] | None:
    return next((check for check in content["checks"] if check["name"].startswith(name)), None)
