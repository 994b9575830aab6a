"""Pictures of a comparison: accuracy over latency, or latency alone, as PNG and SVG.

Needs matplotlib, which is imported when a picture is drawn, and draws without a display.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emca.errors import UserError
from runtime import plot_canvas
from runtime.plot_canvas import (
    DARK,
    GREY,
    canvas,
    legend,
    limits_of_bars,
    names_of_bars,
    save,
    scale,
)
from runtime.plot_names import clip, write_names
from runtime.plot_points import Point, coordinates, pareto_front, steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Formats often lie on one another: a ring, a small square that fits into it, a triangle.
MARKERS: dict[str, dict[str, Any]] = {
    "FP32": {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.8},
    "FP16": {"marker": "s", "markersize": 4.5},
    "INT8": {"marker": "^", "markersize": 8},
}
# The share of a colour that a bar keeps, by format.
STRENGTHS = {"FP32": 1.0, "FP16": 0.7, "INT8": 0.45}

_HEIGHT = 5.0  # inches, without the caption
_MARK_POINTS = 10.0  # the largest of the markers with its edge


def require() -> None:
    """UserError where pictures cannot be drawn, before anything is measured for them."""
    if not plot_canvas.is_possible():
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
    scored = [point for point in points if not math.isnan(point.miou)]
    if scored and not_trained:
        caption = f"Not trained, so not shown: {', '.join(not_trained)}.\n{caption}"
    return save(
        lambda: accuracy_figure(scored, caption) if scored else latency_figure(points, caption),
        stem,
    )


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
    figure, axes = canvas(_HEIGHT, caption)
    models = list(dict.fromkeys(point.model for point in points))
    palette = colours(models)
    scale(axes, *coordinates(points))
    front = pareto_front(points)
    axes.step(
        *coordinates(front), where="post", color=GREY, linestyle="--", linewidth=1.2, zorder=1
    )
    marks = {}
    for model in models:
        own = [point for point in points if point.model == model]
        marks[model] = [(point.latency, point.miou) for point in own]
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
    lines = [*marks.values(), steps(front)]
    write_names(axes, marks, palette, mark_points=_MARK_POINTS, lines=lines)
    return figure


def latency_figure(points: Sequence[Point], caption: str) -> Figure:
    """Median latency as bars, a group per model."""
    models = list(dict.fromkeys(point.model for point in points))
    palette = colours(models)
    rows = len(points) + len(models)
    figure, axes = canvas(max(2.2, 0.9 + 0.22 * rows), caption)
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
            axes.text(point.latency + 0.01 * top, place_y, text, va="center", color=DARK)
            place_y += 1
        place_y += 1
    axes.set_ylim(place_y - 1.3, -0.7)
    axes.set_xlim(0, 1.1 * top)
    axes.set_xlabel("median latency, ms")
    names_of_bars(axes, ticks, [clip(model) for model in models])
    axes.set_xlim(limits_of_bars(axes))
    return figure


def _legend(figure: Figure, formats: Sequence[str]) -> None:
    """Formats and the front."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=DARK, linestyle="", label=name, **MARKERS[name]) for name in formats
    ]
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="Pareto front"))
    legend(figure, handles)
