"""What the pictures share: paper, axes, room for texts, and the files that they are saved in.

matplotlib is imported when a picture is drawn, and draws without a display.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from emca.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#8a8f98"
DARK = "#30343a"
LOG_SPREAD = 10

WIDTH = 8.0  # inches
DPI = 150
SUFFIXES = (".png", ".svg")
_SETTINGS = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same widths everywhere
    "font.size": 9.5,
    "svg.hashsalt": "comparison",  # the same picture is the same file
    "text.parse_math": False,  # names may hold dollar signs
}


def is_possible() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def save(make: Callable[[], Figure], stem: Path) -> list[Path]:
    """Write what `make` draws as `stem`.png and `stem`.svg; `stem` is a path without a suffix."""
    from matplotlib import rc_context

    written = []
    with rc_context(_SETTINGS):  # type: ignore[arg-type]  # takes any mapping of settings
        figure = make()
        for suffix in SUFFIXES:
            target = stem.with_name(stem.name + suffix)
            with atomic_path(target) as path:
                figure.savefig(path, dpi=DPI, metadata={"Date": None} if suffix == ".svg" else {})
            written.append(target)
    return written


def canvas(height: float, caption: str, *, above: float = 0.42) -> tuple[Figure, Axes]:
    """A figure with axes in fixed places and the caption below them.

    Args:
        height: in inches, without the caption.
        caption: one or more lines, which are wrapped.
        above: inches above the axes, for a legend.
    """
    from matplotlib.figure import Figure

    lines = [row for line in caption.splitlines() for row in textwrap.wrap(line, 118) or [""]]
    below = 0.62 + 0.17 * len(lines)
    total = height + 0.17 * len(lines)
    figure = Figure(figsize=(WIDTH, total), dpi=DPI)
    axes = figure.add_axes(
        (0.72 / WIDTH, below / total, 1 - 0.92 / WIDTH, (total - below - above) / total)
    )
    plain(axes)
    figure.text(
        0.1 / WIDTH, 0.08 / total, "\n".join(lines), fontsize=7.5, color="#5b616a", va="bottom"
    )
    return figure, axes


def plain(axes: Axes) -> None:
    """Axes with a light grid and without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=DARK)
    axes.grid(True, which="major", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


def scale(
    axes: Axes, latencies: Sequence[float], scores: Sequence[float], *, least: float = 0.5
) -> None:
    """Limits with room for the labels; the latency axis is logarithmic over wide ranges.

    Args:
        least: room above and below the scores, lest a difference of nothing looks like a cliff.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(latencies), max(latencies)
    if high / low > LOG_SPREAD:
        axes.set_xscale("log")
        spare = (high / low) ** 0.1
        axes.set_xlim(low / spare, high * spare)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        # Not narrower than a fifth of the latency, lest noise looks like a difference.
        spare = max(0.12 * (high - low), 0.1 * high)
        axes.set_xlim(max(low - spare, 0), high + spare)
    spare = max(0.14 * (max(scores) - min(scores)), least)
    axes.set_ylim(min(scores) - spare, max(scores) + spare)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """What the marks mean, in a row above the axes where none of them can be."""
    figure.legend(
        handles=handles, loc="upper right", ncols=len(handles), frameon=False, borderaxespad=0.3
    )


def names_of_bars(axes: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """Name horizontal bars and move the left edge so that the names have room."""
    axes.set_yticks(places, names)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    widest = max(label.get_window_extent().width for label in axes.get_yticklabels())
    frame = axes.get_position()
    left = (0.2 + widest / DPI) / WIDTH
    axes.set_position((left, frame.y0, frame.x1 - left, frame.height))


def limits_of_bars(axes: Axes, low: float = 0) -> tuple[float, float]:
    """Limits across from `low`, with room for the texts that stand right of horizontal bars."""
    room = axes.get_window_extent().width
    values = [(text.get_position()[0], text.get_window_extent().width) for text in axes.texts]
    return low, max(low + (place - low) * room / (room - width - 4) for place, width in values)
