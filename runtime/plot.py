"""Pictures of a comparison: accuracy over latency, or latency alone, as PNG and SVG.

Needs matplotlib, which is imported when a picture is drawn, and draws without a display.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.plot_names import GREY, clip, write_names
from runtime.plot_points import Point, coordinates, pareto_front
from segdata.errors import UserError
from segdata.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Formats often lie on one another: a ring, a small square that fits into it, a triangle.
MARKERS: dict[str, dict[str, Any]] = {
    "FP32": {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.8},
    "FP16": {"marker": "s", "markersize": 4.5},
    "INT8": {"marker": "^", "markersize": 8},
}
# The share of a colour that a bar keeps, by format.
STRENGTHS = {"FP32": 1.0, "FP16": 0.7, "INT8": 0.45}
LOG_SPREAD = 10

_WIDTH, _HEIGHT = 8.0, 5.0  # inches, without the caption
_DPI = 150
_MARK_POINTS = 10.0  # the largest of the markers with its edge
_SETTINGS = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same widths everywhere
    "font.size": 9.5,
    "svg.hashsalt": "comparison",  # the same picture is the same file
    "text.parse_math": False,  # names may hold dollar signs
}
_DARK = "#30343a"


def require() -> None:
    """UserError where pictures cannot be drawn, before anything is measured for them."""
    if not find_spec("matplotlib"):
        raise UserError("the plot of -o needs matplotlib: pip install matplotlib, or leave out -o")


def draw(
    points: Sequence[Point], stem: Path, *, caption: str, not_trained: Sequence[str] = ()
) -> list[Path]:
    """Write `stem`.png and `stem`.svg: mIoU over latency, or bars of latency if no mIoU is known.

    Args:
        points: what was measured, in the order of the models.
        stem: path without a suffix.
        caption: what the figures were measured with, for the lines under the plot.
        not_trained: models without an accuracy worth showing.
    """
    from matplotlib import rc_context

    scored = [point for point in points if not math.isnan(point.miou)]
    if scored and not_trained:
        caption = f"Not trained, so not shown: {', '.join(not_trained)}.\n{caption}"
    written = []
    with rc_context(_SETTINGS):  # type: ignore[arg-type]  # takes any mapping of settings
        figure = accuracy_figure(scored, caption) if scored else latency_figure(points, caption)
        for suffix in (".png", ".svg"):
            target = stem.with_name(stem.name + suffix)
            with atomic_path(target) as path:
                figure.savefig(path, dpi=_DPI, metadata={"Date": None} if suffix == ".svg" else {})
            written.append(target)
    return written


def colours(models: Sequence[str]) -> dict[str, Any]:
    """A colour for each model, distinct as far as eyes can tell."""
    from matplotlib import colormaps

    if len(models) <= 10:
        palette = [colormaps["tab10"](k) for k in (0, 3, 2, 4, 1, 9, 6, 5, 8, 7)]
    elif len(models) <= 20:
        palette = [colormaps["tab20"](k) for k in (*range(0, 20, 2), *range(1, 20, 2))]
    else:
        palette = [colormaps["turbo"](k / (len(models) - 1)) for k in range(len(models))]
    return dict(zip(models, palette, strict=False))


def accuracy_figure(points: Sequence[Point], caption: str) -> Figure:
    """mIoU over latency: a colour and a label per model, a marker per format, the Pareto front."""
    figure, axes = _canvas(_HEIGHT, caption)
    models = list(dict.fromkeys(point.model for point in points))
    palette = colours(models)
    _scale(axes, points)
    front = pareto_front(points)
    axes.step(
        *coordinates(front), where="post", color=GREY, linestyle="--", linewidth=1.2, zorder=1
    )
    for model in models:
        own = [point for point in points if point.model == model]
        axes.plot(*coordinates(own), color=palette[model], linewidth=1, alpha=0.45, zorder=2)
        for point in own:
            axes.plot(
                [point.latency],
                [point.miou],
                color=palette[model],
                zorder=3,
                **MARKERS[point.format],
            )
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel("mIoU, %")
    _legend(figure, [name for name in MARKERS if any(p.format == name for p in points)])
    write_names(axes, points, palette, mark_points=_MARK_POINTS)
    return figure


def latency_figure(points: Sequence[Point], caption: str) -> Figure:
    """Median latency as bars, a group per model."""
    models = list(dict.fromkeys(point.model for point in points))
    palette = colours(models)
    rows = len(points) + len(models)
    figure, axes = _canvas(max(2.2, 0.9 + 0.22 * rows), caption)
    top = max(point.latency for point in points)
    place_y, ticks = 0.0, []
    for model in models:
        own = [point for point in points if point.model == model]
        ticks.append(place_y + (len(own) - 1) / 2)
        for point in own:
            axes.barh(
                place_y,
                point.latency,
                height=0.85,
                color=palette[model],
                alpha=STRENGTHS[point.format],
            )
            text = f"{point.format}  {point.latency:.1f} ms"
            axes.text(point.latency + 0.01 * top, place_y, text, va="center", color=_DARK)
            place_y += 1
        place_y += 1
    axes.set_yticks(ticks, [clip(model) for model in models])
    axes.set_ylim(place_y - 1.3, -0.7)
    axes.set_xlim(0, 1.1 * top)
    axes.set_xlabel("median latency, ms")
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    _fit_texts(axes)
    return figure


def _canvas(height: float, caption: str) -> tuple[Figure, Axes]:
    """A figure with axes in fixed places and the caption below them."""
    from matplotlib.figure import Figure

    lines = [row for line in caption.splitlines() for row in textwrap.wrap(line, 118) or [""]]
    below = 0.62 + 0.17 * len(lines)
    total = height + 0.17 * len(lines)
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI)
    above = 0.42
    axes = figure.add_axes(
        (0.72 / _WIDTH, below / total, 1 - 0.92 / _WIDTH, (total - below - above) / total)
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=_DARK)
    axes.grid(True, which="major", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.text(
        0.1 / _WIDTH, 0.08 / total, "\n".join(lines), fontsize=7.5, color="#5b616a", va="bottom"
    )
    return figure, axes


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    """Limits with room for the labels; the latency axis is logarithmic over wide ranges."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    latencies = [point.latency for point in points]
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
    scores = [point.miou for point in points]
    # One unit at least, lest a difference of nothing looks like a cliff.
    spare = max(0.14 * (max(scores) - min(scores)), 0.5)
    axes.set_ylim(min(scores) - spare, max(scores) + spare)


def _legend(figure: Figure, formats: Sequence[str]) -> None:
    """Formats and the front, above the axes where no point can be."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_DARK, linestyle="", label=name, **MARKERS[name]) for name in formats
    ]
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="Pareto front"))
    figure.legend(
        handles=handles, loc="upper right", ncols=len(handles), frameon=False, borderaxespad=0.3
    )


def _fit_texts(axes: Axes) -> None:
    """Move the left edge so that the names of the bars have room, then the scale for the values."""
    widest = max(label.get_window_extent().width for label in axes.get_yticklabels())
    frame = axes.get_position()
    left = (0.2 + widest / _DPI) / _WIDTH
    axes.set_position((left, frame.y0, frame.x1 - left, frame.height))
    room = axes.get_window_extent().width
    values = [(text.get_position()[0], text.get_window_extent().width) for text in axes.texts]
    axes.set_xlim(0, max(place * room / (room - width - 4) for place, width in values))
