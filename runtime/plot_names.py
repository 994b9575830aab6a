"""Names in a plot of speed and accuracy, each beside its marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runtime.label_layout import Box, Label, Placed, Spot, gap, place
from runtime.plot_canvas import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_names(
    axes: Axes,
    names: Mapping[str, Sequence[Spot]],
    palette: Mapping[str, Any],
    *,
    mark_points: float,
    marks: Sequence[Spot] = (),
    lines: Sequence[Sequence[Spot]] = (),
) -> list[Placed]:
    """Each name beside one of its marks, with a line to it where it is far.

    Limits, scales and the place of the axes must be final. All spots are (latency, mIoU).

    Args:
        axes: latency across, mIoU up.
        names: the marks that each name belongs to.
        palette: a colour for each name.
        mark_points: the size of a mark, in points.
        marks: others, which have no name.
        lines: the corners of lines that are better not covered.
    """
    from matplotlib.patheffects import withStroke

    dpi = axes.get_figure(root=True).dpi  # type: ignore[union-attr]  # axes here have a figure
    mark = mark_points * dpi / 72
    halo = [withStroke(linewidth=2.5, foreground="white")]
    spots = {name: _pixels(axes, own) for name, own in names.items()}
    texts = [
        axes.annotate(clip(name), (0, 0), xycoords="figure pixels", color=palette[name])
        for name in spots
    ]
    sizes = [text.get_window_extent() for text in texts]
    labels = [
        Label(tuple(own), size.width + 4, size.height + 2)
        for own, size in zip(spots.values(), sizes, strict=True)
    ]
    frame = axes.get_window_extent()
    placed = place(
        labels,
        marks=[*(spot for own in spots.values() for spot in own), *_pixels(axes, marks)],
        mark_size=mark + 2,
        area=Box(frame.x0, frame.y0, frame.x1, frame.y1),
        lines=[spot for line in lines for spot in _along(_pixels(axes, line))],
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


def _pixels(axes: Axes, spots: Sequence[Spot]) -> tuple[Spot, ...]:
    return tuple(
        (float(x), float(y)) for x, y in (axes.transData.transform(spot) for spot in spots)
    )


def _along(corners: Sequence[Spot], step: float = 6.0) -> list[Spot]:
    """Spots every few pixels along a line."""
    found = []
    for (ax, ay), (bx, by) in pairwise(corners):
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
