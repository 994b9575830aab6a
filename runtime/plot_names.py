"""The names of the models in a plot of speed and accuracy, each beside its marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runtime.label_layout import Box, Label, Placed, Spot, gap, place
from runtime.plot_points import Point, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#8a8f98"


def write_names(
    axes: Axes, points: Sequence[Point], palette: dict[str, Any], *, mark_points: float
) -> list[Placed]:
    """The name of each model beside one of its marks, with a line to it where it is far.

    Limits, scales and the place of the axes must be final.

    Args:
        axes: latency across, mIoU up.
        points: all marks.
        palette: a colour for each model.
        mark_points: the size of a mark, in points.
    """
    from matplotlib.patheffects import withStroke

    dpi = axes.get_figure(root=True).dpi  # type: ignore[union-attr]  # axes here have a figure
    mark = mark_points * dpi / 72
    halo = [withStroke(linewidth=2.5, foreground="white")]
    spots: dict[str, list[Spot]] = {}
    for point in points:
        x, y = axes.transData.transform((point.latency, point.miou))
        spots.setdefault(point.model, []).append((float(x), float(y)))
    texts = [
        axes.annotate(clip(model), (0, 0), xycoords="figure pixels", color=palette[model])
        for model in spots
    ]
    sizes = [text.get_window_extent() for text in texts]
    labels = [
        Label(tuple(own), size.width + 4, size.height + 2)
        for own, size in zip(spots.values(), sizes, strict=True)
    ]
    frame = axes.get_window_extent()
    placed = place(
        labels,
        marks=[spot for own in spots.values() for spot in own],
        mark_size=mark + 2,
        area=Box(frame.x0, frame.y0, frame.x1, frame.y1),
        lines=_line_spots(axes, spots, points),
    )
    for text, spot in zip(texts, placed, strict=True):
        text.remove()
        x, y = axes.transData.inverted().transform(spot.anchor)
        across, up = (
            (centre - at) * 72 / dpi
            for centre, at in zip(spot.box.centre, spot.anchor, strict=True)
        )
        far = gap(spot) > 1.5 * mark
        axes.annotate(
            text.get_text(),
            (float(x), float(y)),
            xytext=(across, up),
            textcoords="offset points",
            ha="center",
            va="center",
            color=_darker(text.get_color()),
            path_effects=halo,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.7} if far else None,
            zorder=4,
        )
    return placed


def _line_spots(
    axes: Axes, spots: dict[str, list[Spot]], points: Sequence[Point], step: float = 6.0
) -> list[Spot]:
    """Spots every few pixels along the lines of the models and the steps of the front."""
    front = [
        (float(x), float(y))
        for x, y in axes.transData.transform(
            [(point.latency, point.miou) for point in pareto_front(points)]
        )
    ]
    corners = [spot for a, b in pairwise(front) for spot in (a, (b[0], a[1]))]
    found = []
    for line in (*spots.values(), [*corners, *front[-1:]]):
        for (ax, ay), (bx, by) in pairwise(line):
            count = max(1, round(math.dist((ax, ay), (bx, by)) / step))
            shares = [k / count for k in range(count + 1)]
            found += [(ax + s * (bx - ax), ay + s * (by - ay)) for s in shares]
    return found


def _darker(colour: Any) -> tuple[float, ...]:
    """Dark enough to read as text."""
    from matplotlib.colors import to_rgb

    return tuple(0.75 * channel for channel in to_rgb(colour))


def clip(name: str, most: int = 34) -> str:
    """The name, cut off where it is too long for a plot."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"
