"""Pictures of what INT8 costs: bars of the sensitivity, and the curve of the search.

They need matplotlib, which is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.study.block_costs import BlockCost, Change
from runtime import plot_canvas
from runtime.plot import MARKERS
from runtime.plot_canvas import (
    DARK,
    GREY,
    WIDTH,
    canvas,
    legend,
    limits_of_bars,
    names_of_bars,
    plain,
    save,
    scale,
)
from runtime.plot_names import clip, write_names
from runtime.plot_points import Point, coordinates, pareto_front, steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _RED = "#2b6cb0", "#e08a2c", "#b03a3a"
_MEASURES = {"mIoU": _BLUE, "label agreement with FP32": _ORANGE}
_TITLES = "lost: this block alone in INT8", "gained: all in INT8 but this block"
_GAP = 0.22  # inches between the two panels
_ROW = 0.34  # inches for a block
_MARK_POINTS = 13.0  # the star
_STAR: dict[str, Any] = {"marker": "*", "markersize": 14}
_TRIED: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 4, "color": "#9db7d4"}
_FRONT: dict[str, Any] = {"linestyle": "--", "linewidth": 1.2, "color": GREY}


@dataclass(frozen=True)
class MixPoint:
    """One mix of the search.

    Attributes:
        name: "FP32", "FP16", "INT8", or what the table of the search calls it.
        latency: in ms.
        miou: 0..1.
        blocks: those in INT8.
    """

    name: str
    latency: float
    miou: float
    blocks: tuple[str, ...] = ()


def missing() -> str:
    """A line that says why there will be no picture; "" where there will be one."""
    return "" if plot_canvas.is_possible() else "no picture: pip install matplotlib"


def draw_sensitivity(rows: Sequence[BlockCost], stem: Path, *, caption: str) -> list[Path]:
    """Write `stem`.png and `stem`.svg: per block, what INT8 loses there and what leaving it gains.

    Args:
        rows: in the order of the network.
        stem: path without a suffix.
        caption: what was measured on what, for the lines under the bars.
    """
    return save(lambda: sensitivity_figure(rows, caption), stem)


def draw_curve(
    points: Sequence[MixPoint],
    stem: Path,
    *,
    caption: str,
    chosen: str,
    limit: float,
    latency: str = "median latency, ms",
) -> list[Path]:
    """Write `stem`.png and `stem`.svg: mIoU over latency of every mix, and the Pareto front.

    Args:
        points: whatever was tried; "FP32", "FP16", "INT8" and the chosen one bear their names.
        stem: path without a suffix.
        caption: what was measured on what, for the lines under the plot.
        chosen: the name of a point.
        limit: the lowest mIoU allowed, 0..1.
        latency: what the latencies are, with the unit.
    """
    return save(lambda: curve_figure(points, caption, chosen, limit, latency), stem)


def sensitivity_figure(rows: Sequence[BlockCost], caption: str) -> Figure:
    """Two panels of bars, loss and gain, with a bar for mIoU and one for agreement per block."""
    from matplotlib.patches import Patch

    figure, left = canvas(1.4 + _ROW * len(rows), caption, above=0.62)
    left.set_ylim(len(rows) - 0.4, -0.6)
    names_of_bars(left, range(len(rows)), [clip(_words(row.block)) for row in rows])
    panels = left, _halve(figure, left)
    losses, gains = [-row.loss for row in rows], [row.gain for row in rows]
    values = [value for change in losses + gains for value in (change.miou, change.agreement)]
    low, high = min(1.08 * min(values), 0), max(*values, 1e-9)
    for axes, changes, title in zip(panels, (losses, gains), _TITLES, strict=True):
        axes.set_title(title, fontsize=9.5, color=DARK, loc="left")
        axes.set_xlabel("points")
        _bars(axes, changes, gap=0.02 * (high - low))
    high = max(limits_of_bars(axes, low)[1] for axes in panels)
    for axes in panels:
        axes.set_xlim(low, high)
    legend(figure, [Patch(color=colour, label=name) for name, colour in _MEASURES.items()])
    return figure


def _words(block: str) -> str:
    """`pixel_decoder.mask_features` -> `pixel decoder mask features`."""
    return block.replace("_", " ").replace(".", " ")


def _halve(figure: Figure, left: Axes) -> Axes:
    """Give the right half of the axes to others, whose rows are the same."""
    frame = left.get_position()
    gap = _GAP / WIDTH
    width = (frame.width - gap) / 2
    left.set_position((frame.x0, frame.y0, width, frame.height))
    right = figure.add_axes((frame.x0 + width + gap, frame.y0, width, frame.height), sharey=left)
    plain(right)
    right.grid(False, axis="y")
    right.tick_params(axis="y", length=0, labelleft=False)
    return right


def _bars(axes: Axes, changes: Sequence[Change], *, gap: float) -> None:
    """Two bars in each row and their values, right of zero even where the bar is left of it."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    for row, change in enumerate(changes):
        values = change.miou, change.agreement
        for value, place, colour in zip(
            values, (row - 0.2, row + 0.2), _MEASURES.values(), strict=True
        ):
            axes.barh(place, value, height=0.36, color=colour)
            text = f"{round(value, 2) or 0.0:.2f}".replace("-", "−")
            start = max(value, 0) + gap
            axes.text(start, place, text, va="center_baseline", fontsize=8, color=DARK)
    axes.axvline(0, color=GREY, linewidth=0.8)


def curve_figure(
    points: Sequence[MixPoint], caption: str, chosen: str, limit: float, latency: str
) -> Figure:
    """Dots for all mixes, the front as steps, names for the plain formats and the chosen one."""
    figure, axes = canvas(4.6, caption)
    spots = [Point(point.name, "", point.latency, 100 * point.miou) for point in points]
    across, up = coordinates(spots)
    is_near = 100 * limit > min(up) - 2 * max(max(up) - min(up), 0.5)
    scale(axes, across, [*up, 100 * limit] if is_near else up, least=0.15)
    axes.set_xlabel(latency)
    axes.set_ylabel("mIoU, %")
    front = pareto_front(spots)
    axes.step(*coordinates(front), where="post", zorder=1, **_FRONT)
    others = [spot for spot in spots if spot.model not in (*MARKERS, chosen)]
    axes.plot(*coordinates(others), zorder=2, **_TRIED)
    names: dict[str, list[tuple[float, float]]] = {}
    palette: dict[str, Any] = {}
    for point, spot in zip(points, spots, strict=True):
        if spot in others:
            continue
        colour = _ORANGE if point.name == chosen else _BLUE
        style = _STAR if point.name == chosen else MARKERS[point.name]
        axes.plot([spot.latency], [spot.miou], color=colour, zorder=3, **style)
        name = _name(point, chosen, limit)
        names[name], palette[name] = [(spot.latency, spot.miou)], colour
    lines = [steps(front), *_draw_limit(axes, 100 * limit)]
    marks = [(spot.latency, spot.miou) for spot in others]
    write_names(axes, names, palette, mark_points=_MARK_POINTS, marks=marks, lines=lines)
    _curve_legend(figure)
    return figure


def _name(point: MixPoint, chosen: str, limit: float) -> str:
    if point.name != chosen:
        return point.name
    word = "chosen" if point.miou >= limit else "best found"
    if point.name in MARKERS:
        return f"{point.name}, {word}"
    return f"{word}, {len(point.blocks)} block{'' if len(point.blocks) == 1 else 's'} in INT8"


def _draw_limit(axes: Axes, limit: float) -> list[list[tuple[float, float]]]:
    """The lowest mIoU allowed, in percent; returns the lines that names had better not cover.

    Where it is far below, only the words stand at the bottom.
    """
    bottom = axes.get_ylim()[0]
    is_near = limit > bottom
    if is_near:
        axes.axhline(limit, color=_RED, linewidth=1, zorder=1)
    text = axes.annotate(
        f"{'' if is_near else 'all '}allowed from {limit:.2f} %", (1, max(limit, bottom)),
        xycoords=("axes fraction", "data"), xytext=(-2, -3 if is_near else 3),
        textcoords="offset points", ha="right", va="top" if is_near else "bottom",
        fontsize=8.5, color=_RED,
    )  # fmt: skip
    box = text.get_window_extent()
    to_data = axes.transData.inverted().transform
    middle = (box.y0 + box.y1) / 2
    own = [(float(x), float(y)) for x, y in (to_data((x, middle)) for x in (box.x0, box.x1))]
    return [[(x, limit) for x in axes.get_xlim()], own] if is_near else [own]


def _curve_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    styles = {"tried": _TRIED, "Pareto front": _FRONT}
    legend(figure, [Line2D([], [], label=name, **style) for name, style in styles.items()])
