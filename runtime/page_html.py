"""What the HTML pages share: the frame, sections, pictures, facts. Plain values in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from runtime.report_css import CSS


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
    """A whole page that needs no other file and no script."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def section(name: str, *content: str) -> str:
    """A titled box."""
    return f"<section><h2>{escape(name)}</h2>{''.join(content)}</section>"


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """The figures that matter most, each with its name: (name, value)."""
    boxes = "".join(
        f"<div><strong>{escape(value)}</strong><span>{escape(name)}</span></div>"
        for name, value in values
    )
    return f'<div class="tiles">{boxes}</div>'


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


def strips(panels: Sequence[Panel]) -> str:
    """Each panel as a row of pictures, which a click enlarges."""
    return "".join(
        f'<h3>{escape(panel.name)}</h3><div class="strip">'
        + "".join(
            f'<figure tabindex="0"><img src="{p.uri}" alt="{escape(p.caption)}" loading="lazy">'
            f"<figcaption>{escape(p.caption)} <small>{escape(p.note)}</small></figcaption></figure>"
            for p in panel.pictures
        )
        + "</div>"
        for panel in panels
    )


def machine_facts(machine: Mapping[str, Any], threads: int) -> dict[str, str]:
    """What `runtime.machine.describe` says, in the words of a page."""
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
    return f"<pre>{escape(commands)}</pre><dl>{cells}</dl>"


def number(value: float | None, form: str, factor: float = 1) -> str:
    """`factor` times the value in this form with a true minus, or a dash where there is none."""
    return "–" if value is None else form.format(factor * value).replace("-", "−")
