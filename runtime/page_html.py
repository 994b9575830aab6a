"""What the HTML pages share: the frame, sections, tables, pictures, facts.

Plain values in, text out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

LONGEST = 24  # characters of a row's name in one line


class Html(str):
    """Text that is HTML already, where plain text would be escaped."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        text: whether it holds words, which are flush left.
        wide: whether phones leave it out.
        wrap: whether its cells may take several lines.
    """

    name: str
    text: bool = False
    wide: bool = False
    wrap: bool = False


@dataclass(frozen=True)
class Picture:
    """One picture of a panel: a caption, the image as a data URI, a remark on it."""

    caption: str
    uri: str
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """One sample: its name and the pictures side by side."""

    name: str
    pictures: Sequence[Picture]


def document(title: str, sections: Sequence[str]) -> str:
    """A whole page that needs no other file, and may load none."""
    style, script = _part("page.css"), _part("page.js")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{allowed}'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(sections)}</main><script>{script}</script></body></html>\n"
    )


def section(name: str, *content: str) -> str:
    """A titled box that is a section of the page by itself."""
    return f'<section class="card"><h2>{escape(name)}</h2>{"".join(content)}</section>'


def group(ident: str, name: str, lead: str, *content: str) -> str:
    """A titled part of a page that holds boxes; `lead` is a sentence below the title."""
    told = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return (
        f'<section class="group" id="{escape(ident)}"><h2>{escape(name)}</h2>{told}'
        f"{''.join(content)}</section>"
    )


def card(name: str, *content: str) -> str:
    """A box within a group; `name` may be empty."""
    title = f"<h3>{escape(name)}</h3>" if name else ""
    return f'<div class="card">{title}{"".join(content)}</div>'


def pair(*cards: str) -> str:
    """Columns of boxes side by side where there is room; those that are empty are left out."""
    shown = [f"<div>{text}</div>" for text in cards if text]
    return f'<div class="pair">{"".join(shown)}</div>' if shown else ""


def details(summary: str, *content: str) -> str:
    """What a reader unfolds."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(content)}</details>"


def note(*lines: str) -> str:
    """Remarks below a table or plot, or nothing."""
    text = " ".join(line for line in lines if line)
    return f'<p class="note">{escape(text)}</p>' if text else ""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str, sort: bool = True
) -> str:
    """A table whose first column names the rows; it scrolls by itself where it is too wide.

    Args:
        rows: plain text or `Html`.
        caption: what it shows, for those who do not see it.
        sort: whether a click on a heading sorts.
    """
    styles = [_style(column) for column in columns]
    head = "".join(
        f'<th scope="col"{style}>{escape(column.name)}</th>'
        for column, style in zip(columns, styles, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row"{_style(columns[0], _is_long(row[0]))}>{_cell(row[0])}</th>'
        + "".join(
            f"<td{style}>{_cell(cell)}</td>"
            for cell, style in zip(row[1:], styles[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    kind = ' class="sort"' if sort else ""
    return (
        f'<div class="scroll"><table{kind}><caption class="hidden">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """The figures that matter most, each with its name: (name, value)."""
    boxes = "".join(
        f"<div><strong>{escape(value)}</strong><span>{escape(name)}</span></div>"
        for name, value in values
    )
    return f'<div class="tiles">{boxes}</div>'


def legend(names: Sequence[str], first: int = 0) -> str:
    """The colours of series; `first` is that of the first name."""
    keys = "".join(f"<span>{key(k + first)}{escape(name)}</span>" for k, name in enumerate(names))
    return f'<p class="legend">{keys}</p>'


def key(series: int) -> Html:
    """A small square in the colour of a series."""
    return Html(f'<i class="s{series % 8}"></i>')


def colours(
    classes: Sequence[str], palette: Sequence[Sequence[int]], present: Sequence[int]
) -> str:
    """The names of the classes in `present` beside their colours."""
    chips = "".join(
        f'<span><i style="background:rgb({",".join(map(str, palette[k]))})"></i>'
        f"{escape(classes[k])}</span>"
        for k in present
    )
    return f'<p class="legend">{chips}</p>'


def strips(panels: Sequence[Panel], *, left: str, right: str) -> str:
    """Each panel as a row of pictures, which a click enlarges.

    Args:
        panels: of one or more samples, with pictures of the same captions.
        left, right: captions of the pictures that the slider shows first.
    """
    rows = "".join(
        f'<h4>{escape(panel.name)}</h4><div class="strip">'
        + "".join(_figure(panel, picture) for picture in panel.pictures)
        + "</div>"
        for panel in panels
    )
    return (
        f'<div class="strips" data-left="{escape(left)}" data-right="{escape(right)}">{rows}</div>'
    )


def machine_facts(machine: Mapping[str, Any], threads: int) -> dict[str, str]:
    """What `runtime.results.machine.describe` says, in the words of a page."""
    return {
        "processor": str(machine["cpu"]),
        "cores": str(machine["cores"]),
        "threads": str(threads or "every core"),
        "memory": f"{machine['memory_gb']} GB" if "memory_gb" in machine else "unknown",
        **({"GPU": str(machine["gpu"])} if "gpu" in machine else {}),
        "system": str(machine["os"]),
        "Python": str(machine["python"]),
    }


def made_with(commands: str, facts: Mapping[str, Any]) -> str:
    """The command lines and, below, named facts."""
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )
    return f'<pre tabindex="0">{escape(commands)}</pre><dl>{cells}</dl>'


def number(value: float | None, form: str, factor: float = 1) -> str:
    """`factor` times the value in this form with a true minus, or a dash where there is none."""
    return "–" if value is None else form.format(factor * value).replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """With its sign, unless it rounds to nothing."""
    return number(None if value is None else round(value, digits) + 0.0, f"{{:+.{digits}f}}")


def _figure(panel: Panel, picture: Picture) -> str:
    name = escape(picture.caption)
    return (
        f'<figure tabindex="0" data-name="{name}"><img src="{picture.uri}" '
        f'alt="{escape(panel.name)}: {name}" loading="lazy">'
        f"<figcaption>{name} <small>{escape(picture.note)}</small></figcaption></figure>"
    )


def _is_long(text: str) -> bool:
    """Whether a name would leave a phone no room for what it names."""
    plain = re.sub(r"<[^>]*>", "", text) if isinstance(text, Html) else text
    return len(plain) > LONGEST


def _style(column: Column, wrap: bool = False) -> str:
    own = {"text": column.text, "wide": column.wide, "wrap": column.wrap or wrap}
    names = [name for name, holds in own.items() if holds]
    return f' class="{" ".join(names)}"' if names else ""


def _cell(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)


def _part(name: str) -> str:
    return files("runtime").joinpath(name).read_text(encoding="utf-8")
