"""Plots as inline SVG: no library, colours from the page's style sheet.

Colours are CSS variables (`--s0`, `--s1`, … one per series), so a plot follows the page into dark
mode; each mark carries its exact values in a <title>, which browsers and the page's script show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from runtime.chart_axis import (
    BOTTOM,
    LEFT,
    RIGHT,
    SERIES,
    TOP,
    WIDTH,
    Axis,
    clip,
    svg,
    tick_label,
)
from runtime.label_layout import Box, Label, gap, place
from runtime.plot_points import Point, pareto_front, steps

# Of the text at its largest, on phones, in units of the drawing.
CHARACTER, LINE = 7.4, 16
CURVE_SPOTS = 60  # of a curve without dots, that tell their values
# Formats often lie on one another: a ring, a small square that fits into it, a triangle.
SHAPES = {
    "ring": '<circle r="6.5" cx="{x}" cy="{y}"',
    "dot": '<circle r="4" cx="{x}" cy="{y}"',
    "square": '<path d="M{x} {y}m-3.5-3.5h7v7h-7z"',
    "triangle": '<path d="M{x} {y}m0-6.5l6.5 11h-13z"',
    "star": '<path d="M{x} {y}m0-9l2.6 5.6 6.1.7-4.5 4.2 1.2 6-5.4-3-5.4 3 1.2-6-4.5-4.2 6.1-.7z"',
}


@dataclass(frozen=True)
class Dot:
    """A mark of a scatter plot.

    Attributes:
        title: shown on hovering; of more than one line where it has to be.
        x, y: its values.
        series: its colour.
        shape: one of SHAPES.
        name: written beside it, once for all dots of that name; "" is not written.
    """

    title: str
    x: float
    y: float
    series: int = 1
    shape: str = "dot"
    name: str = ""


def scatter(
    dots: Sequence[Dot],
    *,
    x: str,
    y: str,
    front: bool = False,
    limit: float | None = None,
    least: float = 2,
    height: int = 290,
) -> str:
    """Dots and their names.

    Args:
        x, y: the names of the axes.
        front: draw the steps through the dots that no other one beats to the left and above.
        limit: a value of y to draw as a line.
        least: the axis upwards covers this much, lest a difference of nothing looks like a cliff.
    """
    across = Axis.across([dot.x for dot in dots])
    values = [dot.y for dot in dots] + ([] if limit is None else [limit])
    span = max(values) - min(values)
    spare = max(0.18 * span, (least - span) / 2)
    up = Axis.over(min(values) - spare, max(values) + spare, height - BOTTOM, TOP)
    parts = [_grid(across, up, x, y)]
    lines = []
    if front:
        lines.append(_front(dots, across, up))
        parts.append(f'<polyline class="front" points="{_points(lines[0])}"/>')
    if limit is not None:
        lines.append([(across.start, up.at(limit)), (across.end, up.at(limit))])
        told = f"the lowest {y} allowed: {limit:.2f}"
        parts.append(
            f'<path class="mark" d="M{across.start} {up.at(limit)}H{across.end}">'
            f"<title>{escape(told)}</title></path>"
        )
    parts += [draw(dot, across.at(dot.x), up.at(dot.y)) for dot in dots]
    parts.append(_names(dots, across, up, [spot for line in lines for spot in _along(line)]))
    return svg(height, "".join(parts), f"{y} against {x}")


def draw(dot: Dot, x: float, y: float) -> str:
    """A dot at a position in pixels."""
    return shape(dot.shape, x, y, f"s{dot.series % SERIES}", dot.title)


def shape(name: str, x: float, y: float, colour: str = "", title: str = "") -> str:
    """One of SHAPES at a position in pixels."""
    start = SHAPES[name].format(x=x, y=y)
    element = "circle" if start.startswith("<circle") else "path"
    style = f"{colour} {'ring' if name == 'ring' else 'dot'}".strip()
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'{start} class="{style}">{told}</{element}>'


def line(
    points: Sequence[tuple[float, float]],
    *,
    x: str,
    y: str,
    series: int = 1,
    dots: bool = False,
    height: int = 220,
) -> str:
    """A curve. With `dots` every point is marked; without, a running mean runs through them."""
    across = Axis.over(0, max(p[0] for p in points) or 1, LEFT, WIDTH - RIGHT)
    values = [p[1] for p in points]
    low = min(values) if max(values) > min(values) else min(values) - 1
    up = Axis.over(low, max(values), height - BOTTOM, TOP, count=4)
    content = _path(points, across, up, "curve" if dots else "curve faint")
    marked = points
    if not dots:
        smooth = _smoothed(points)
        content += _path(smooth, across, up, "curve")
        marked = smooth[:: 1 + len(smooth) // CURVE_SPOTS]
    content += "".join(
        f'<circle class="{"dot" if dots else "spot"}" r="3.5" cx="{across.at(px)}" '
        f'cy="{up.at(py)}"><title>{escape(x)} {px:g}: {py:.2f} {escape(y)}</title></circle>'
        for px, py in marked
    )
    return svg(
        height, f'{_grid(across, up, x, y)}<g class="s{series}">{content}</g>', f"{y} by {x}"
    )


def _front(dots: Sequence[Dot], across: Axis, up: Axis) -> list[tuple[float, float]]:
    """The corners of the Pareto front in pixels."""
    points = [Point(dot.name, "", dot.x, dot.y) for dot in dots]
    return [(across.at(x), up.at(y)) for x, y in steps(pareto_front(points))]


def _names(
    dots: Sequence[Dot], across: Axis, up: Axis, taken: Sequence[tuple[float, float]]
) -> str:
    """Each name beside one of its dots, with a line to it where it is far.

    `taken` are spots that are better not covered.
    """
    spots: dict[str, list[tuple[float, float]]] = {}
    for dot in dots:
        if dot.name:
            spots.setdefault(dot.name, []).append((across.at(dot.x), up.at(dot.y)))
    labels = [
        Label(tuple(own), CHARACTER * len(clip(name, 26)), LINE) for name, own in spots.items()
    ]
    placed = place(
        labels,
        marks=[(across.at(dot.x), up.at(dot.y)) for dot in dots],
        mark_size=16,
        area=Box(across.start, up.end, across.end, up.start),
        lines=taken,
    )
    parts = []
    for name, spot in zip(spots, placed, strict=True):
        x, y = spot.box.centre
        if gap(spot) > 18:
            parts.append(
                f'<path class="grid" d="M{spot.anchor[0]} {spot.anchor[1]}L{x:.1f} {y:.1f}"/>'
            )
        parts.append(
            f'<text class="name" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">'
            f"{escape(clip(name, 26))}</text>"
        )
    return "".join(parts)


def _along(corners: Sequence[tuple[float, float]], step: float = 6) -> list[tuple[float, float]]:
    """Spots every few pixels along a line."""
    found = []
    for (ax, ay), (bx, by) in pairwise(corners):
        count = max(1, round(math.dist((ax, ay), (bx, by)) / step))
        found += [
            (ax + k / count * (bx - ax), ay + k / count * (by - ay)) for k in range(count + 1)
        ]
    return found


def _grid(across: Axis, up: Axis, x: str, y: str) -> str:
    """Tick lines with their values and the names of both axes."""
    bottom, top = up.start, up.end
    parts = [
        f'<path class="grid" d="M{across.start} {up.at(t)}H{across.end}"/>'
        f'<text class="tick" x="{across.start - 6}" y="{up.at(t) + 4}" text-anchor="end">'
        f"{tick_label(t)}</text>"
        for t in up.ticks
    ]
    parts += [
        f'<path class="grid" d="M{across.at(t)} {bottom}V{top}"/>'
        f'<text class="tick" x="{across.at(t)}" y="{bottom + 18}" text-anchor="middle">'
        f"{tick_label(t)}</text>"
        for t in across.ticks
    ]
    middle = (across.start + across.end) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{bottom + 37}" text-anchor="middle">{escape(x)}</text>'
        f'<text class="axis" transform="translate(12 {(top + bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y)}</text>'
    )
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]], across: Axis, up: Axis, style: str) -> str:
    spots = [(across.at(px), up.at(py)) for px, py in points]
    return f'<polyline class="{style}" points="{_points(spots)}"/>'


def _points(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in spots)


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The running mean over a twentieth of the points to either side."""
    reach = max(1, len(points) // 20)
    windows = [points[max(0, k - reach) : k + reach + 1] for k in range(len(points))]
    return [
        (points[k][0], sum(p[1] for p in window) / len(window)) for k, window in enumerate(windows)
    ]
