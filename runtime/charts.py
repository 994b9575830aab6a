"""Plots as inline SVG: no script, no library, colours from the page's style sheet.

Colours are CSS variables (`--s0`, `--s1`, … one per series), so a plot follows the page into dark
mode; each mark carries its exact values in a <title>, which browsers show on hovering.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 460
# Left of, below and right of the plotting area there is room for axis labels.
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 16, 40
CELL, CELL_HEIGHT = 180, 18  # of a drawing in a table


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels with round tick values.

    Attributes:
        low, high: the range of values shown.
        start, end: their positions in pixels.
        ticks: values to mark.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, low: float, high: float, start: float, end: float, count: int = 5) -> Axis:
        """An axis that covers low..high, widened to round numbers, with about `count` steps."""
        step = _round_step((high - low) / count)
        first, last = math.floor(low / step), math.ceil(high / step)
        ticks = tuple(round(k * step, 10) for k in range(first, max(last, first + 1) + 1))
        return cls(ticks[0], ticks[-1], start, end, ticks)

    def at(self, value: float) -> float:
        """The position of a value, in pixels."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def scatter(points: Mapping[str, tuple[float, float]], *, x: str, y: str, height: int = 270) -> str:
    """Named points, one per series; `x` and `y` name the axes. The x axis starts at zero."""
    across = Axis.over(0, max(p[0] for p in points.values()) * 1.1, LEFT, WIDTH - RIGHT)
    values = [p[1] for p in points.values()]
    # At least two units, lest a difference of nothing looks like a cliff.
    spare = max(0.25 * (max(values) - min(values)), 1 - (max(values) - min(values)) / 2)
    up = Axis.over(min(values) - spare, max(values) + spare, height - BOTTOM, TOP)
    # Formats often lie on one another: smaller dots are drawn over larger ones.
    marks = [
        f'<circle class="s{index} dot" r="{max(9 - 2 * index, 3)}" cx="{across.at(px)}" '
        f'cy="{up.at(py)}"><title>{escape(name)}: {px:.2f} {escape(x)}, {py:.2f} {escape(y)}'
        "</title></circle>"
        for index, (name, (px, py)) in enumerate(points.items())
    ]
    return _svg(height, _grid(across, up, x, y) + "".join(marks), f"{y} against {x}")


def bars(labels: Sequence[str], series: Mapping[str, Sequence[float | None]], *, unit: str) -> str:
    """Horizontal bars from 0 to 100, a group per label with one bar per series.

    The first series also stands there as numbers. A value of None, which does not exist, is a
    group without bars and a dash.
    """
    left = min(165, 14 + 8 * max(len(label) for label in labels))
    thick, gap = 6, 9
    row = thick * len(series) + gap
    bottom = TOP + row * len(labels)
    across = Axis(0, 100, left, WIDTH - RIGHT - 36, (0, 25, 50, 75, 100))
    parts = [
        f'<path class="grid" d="M{across.at(t)} {TOP}V{bottom}"/>'
        f'<text class="tick" x="{across.at(t)}" y="{bottom + 15}" text-anchor="middle">{t:g}</text>'
        for t in across.ticks
    ]
    parts.append(
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{TOP - 5}" text-anchor="end">'
        f"{escape(next(iter(series)))}</text>"
    )
    for index, label in enumerate(labels):
        top = TOP + index * row
        middle = top + (row - gap) / 2 + 4
        parts.append(
            f'<text class="label" x="{left - 8}" y="{middle}" text-anchor="end">'
            f"{escape(_clip(label, 19))}<title>{escape(label)}</title></text>"
        )
        first = next(iter(series.values()))[index]
        parts.append(
            f'<text class="tick" x="{WIDTH - RIGHT}" y="{middle}" text-anchor="end">'
            f"{'–' if first is None else f'{first:.1f}'}</text>"
        )
        for place, (name, values) in enumerate(series.items()):
            value = values[index]
            if value is not None:
                parts.append(
                    f'<rect class="s{place} bar" x="{left}" y="{top + place * thick}" rx="1.5" '
                    f'width="{max(across.at(value) - left, 1):.1f}" height="{thick - 1}">'
                    f"<title>{escape(label)}, {escape(name)}: {value:.2f} {escape(unit)}</title>"
                    "</rect>"
                )
    return _svg(bottom + 22, "".join(parts), f"{unit} of each class")


def whisker(
    value: float, low: float, high: float, *, reach: float, mark: float | None, title: str
) -> str:
    """A dot with its interval on a scale from -reach to reach, to stand in a table's cell.

    Args:
        mark: a value to mark beside zero, such as a threshold.
        title: shown on hovering.
    """
    across = Axis(-reach, reach, 6, CELL - 6, ())
    middle = CELL_HEIGHT / 2
    parts = [f'<path class="grid" d="M{across.at(0)} 0V{CELL_HEIGHT}"/>']
    if mark is not None:
        parts.append(f'<path class="mark" d="M{across.at(mark)} 0V{CELL_HEIGHT}"/>')
    parts.append(
        f'<path class="span" d="M{across.at(low)} {middle}H{across.at(high)}"/>'
        f'<circle class="dot" r="4" cx="{across.at(value)}" cy="{middle}"/>'
    )
    return (
        f'<svg class="cell s1" viewBox="0 0 {CELL} {CELL_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


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
    if dots:
        content += "".join(
            f'<circle class="dot" r="3.5" cx="{across.at(px)}" cy="{up.at(py)}">'
            f"<title>{escape(x)} {px:g}: {py:.2f} {escape(y)}</title></circle>"
            for px, py in points
        )
    else:
        content += _path(_smoothed(points), across, up, "curve")
    return _svg(
        height, f'{_grid(across, up, x, y)}<g class="s{series}">{content}</g>', f"{y} by {x}"
    )


def _grid(across: Axis, up: Axis, x: str, y: str) -> str:
    """Tick lines with their values and the names of both axes."""
    bottom, top = up.start, up.end
    parts = [
        f'<path class="grid" d="M{across.start} {up.at(t)}H{across.end}"/>'
        f'<text class="tick" x="{across.start - 6}" y="{up.at(t) + 4}" text-anchor="end">'
        f"{t:g}</text>"
        for t in up.ticks
    ]
    parts += [
        f'<path class="grid" d="M{across.at(t)} {bottom}V{top}"/>'
        f'<text class="tick" x="{across.at(t)}" y="{bottom + 15}" text-anchor="middle">'
        f"{_thousands(t)}</text>"
        for t in across.ticks
    ]
    middle = (across.start + across.end) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{bottom + 33}" text-anchor="middle">{escape(x)}</text>'
        f'<text class="axis" transform="translate(12 {(top + bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y)}</text>'
    )
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]], across: Axis, up: Axis, style: str) -> str:
    steps = " ".join(f"{across.at(px)},{up.at(py)}" for px, py in points)
    return f'<polyline class="{style}" points="{steps}"/>'


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The running mean over a twentieth of the points to either side."""
    reach = max(1, len(points) // 20)
    windows = [points[max(0, k - reach) : k + reach + 1] for k in range(len(points))]
    return [
        (points[k][0], sum(p[1] for p in window) / len(window)) for k, window in enumerate(windows)
    ]


def _svg(height: float, content: str, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{content}</svg>"
    )


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return power * next(f for f in (1, 2, 2.5, 5, 10) if f * power >= step * 0.999)


def _thousands(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10000 else f"{value:g}"


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
