"""Bars, spans and histograms as inline SVG; see `runtime.charts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from runtime.chart_axis import LEFT, RIGHT, SERIES, TOP, WIDTH, Axis, clip, svg, tick_label

CELL, CELL_HEIGHT = 180, 18  # of a drawing in a table
BINS = 36
LABEL = 26  # characters of a label beside bars


def bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    unit: str,
    most: float,
) -> str:
    """Horizontal bars from 0, a group per label with one bar per series.

    The first series also stands there as numbers. A value of None, which does not exist, is a
    group without bars and a dash.

    Args:
        unit: of the values, in words.
        most: where the axis ends.
    """
    left = _left(labels)
    thick, gap = (6, 9) if len(series) > 1 else (11, 9)
    row = thick * len(series) + gap
    bottom = TOP + row * len(labels)
    across = Axis.over(0, most, left, WIDTH - RIGHT - 46, 4)
    parts = [_columns(across, bottom)]
    if len(series) > 1:
        parts.append(_text("tick", WIDTH - RIGHT, TOP - 5, next(iter(series)), "end"))
    for index, label in enumerate(labels):
        top = TOP + index * row
        first = next(iter(series.values()))[index]
        number = "–" if first is None else f"{first:.1f}"
        parts.append(_words(label, number, left, top + (row - gap) / 2 + 4))
        for place, (name, values) in enumerate(series.items()):
            value = values[index]
            if value is not None:
                title = f"{label}, {name}: {value:.2f} {unit}"
                width = max(across.at(value) - left, 1)
                parts.append(_bar(place, left, top + place * thick, width, thick - 1, title))
    return svg(bottom + 22, "".join(parts), f"{unit} of each row")


def changes(labels: Sequence[str], series: Mapping[str, Sequence[float]], *, unit: str) -> str:
    """Horizontal bars to both sides of zero with their values, a group per label."""
    left = _left(labels)
    thick, gap, room = 8, 9, 50
    row = thick * len(series) + gap
    bottom = TOP + row * len(labels)
    values = [value for own in series.values() for value in own]
    low, high = min(*values, 0), max(*values, 0.01)
    across = Axis.over(low, high, left + 4, WIDTH - RIGHT - room, 4)
    zero = across.at(0)
    parts = [_columns(across, bottom)]
    for index, label in enumerate(labels):
        top = TOP + index * row
        first = next(iter(series.values()))[index]
        number = f"{round(first, 2) + 0.0:+.2f}".replace("-", "−")
        parts.append(_words(label, number, left, top + (row - gap) / 2 + 4))
        for place, (name, own) in enumerate(series.items()):
            end = across.at(own[index])
            title = f"{label}, {name}: {own[index]:+.3f} {unit}".replace("-", "−")
            start, width = min(zero, end), max(abs(end - zero), 1)
            parts.append(_bar(place + 1, start, top + place * thick, width, thick - 1, title))
    parts.append(f'<path class="zero" d="M{zero} {TOP}V{bottom}"/>')
    return svg(bottom + 22, "".join(parts), f"{unit} of each row")


def stacks(rows: Mapping[str, Mapping[str, float]], *, unit: str) -> str:
    """Horizontal bars made of parts; the parts of all rows have the same names and colours."""
    left = _left(list(rows))
    thick, row, room = 20, 34, 50
    bottom = TOP + row * len(rows)
    totals = [sum(parts.values()) for parts in rows.values()]
    across = Axis.over(0, max(*totals, 1e-9), left, WIDTH - RIGHT - room, 4)
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    drawn = [_columns(across, bottom)]
    for index, (label, parts) in enumerate(rows.items()):
        top, start = TOP + index * row + 4, 0.0
        drawn.append(_words(label, f"{sum(parts.values()):.1f}", left, top + thick / 2 + 4))
        for name, value in parts.items():
            x = across.at(start)
            width = max(across.at(start + value) - x, 0.5)
            title = f"{label}, {name}: {value:.2f} {unit}"
            drawn.append(_bar(names.index(name) % SERIES, x, top, width, thick, title))
            start += value
    return svg(bottom + 22, "".join(drawn), f"{unit} of each part")


def spans(
    rows: Mapping[str, Sequence[tuple[str, float]]],
    *,
    unit: str,
    series: Sequence[int] | None = None,
) -> str:
    """For each row named values on a line, from the smallest to the largest, from zero on.

    `series` are the colours of the rows; None gives each its own.
    """
    left, row = _left(list(rows)), 44 if len(rows) < 5 else 30
    bottom = TOP + row * len(rows)
    most = max(value for named in rows.values() for _, value in named)
    across = Axis.over(0, most, left, WIDTH - RIGHT)
    parts = [_columns(across, bottom)]
    for index, (label, named) in enumerate(rows.items()):
        y = TOP + (index + 0.5) * row
        ends = [across.at(value) for _, value in named]
        style = f"s{(series[index] if series else index) % SERIES}"
        parts.append(_label(label, left, y + 4))
        parts.append(f'<path class="{style} span" d="M{min(ends)} {y}H{max(ends)}"/>')
        for place, (name, value) in enumerate(named):
            parts.append(
                f'<circle class="{style} dot" r="{(6, 4.5, 3.5)[min(place, 2)]}" '
                f'cx="{across.at(value)}" cy="{y}"><title>{escape(label)}, {escape(name)}: '
                f"{value:.2f} {escape(unit)}</title></circle>"
            )
    return svg(bottom + 22, "".join(parts), f"{unit} at each percentile")


def histograms(series: Mapping[str, Sequence[float]], *, unit: str) -> str:
    """How often each value occurs, a row per series with an axis of its own.

    What is above 1.1 times the 99th percentile is in the last bar.
    """
    row, tall = 78, 46
    parts = []
    for index, (name, values) in enumerate(series.items()):
        top = index * row + TOP
        ordered = sorted(values)
        end = 1.1 * ordered[int(0.99 * (len(ordered) - 1))]
        low, high = ordered[0], max(end, ordered[0] * 1.02)
        counts = [0] * BINS
        for value in ordered:
            counts[min(int((value - low) / (high - low) * BINS), BINS - 1)] += 1
        across = Axis(low, high, LEFT, WIDTH - RIGHT, ())
        step = (high - low) / BINS
        parts.append(_text("label", LEFT - 8, top + tall - 4, clip(name, 7), "end"))
        for place, count in enumerate(counts):
            if not count:
                continue
            start, stop = low + place * step, low + (place + 1) * step
            x, height = across.at(start), max(tall * count / max(counts), 1)
            last = place == BINS - 1
            reach = f"from {start:.2f} {unit} on" if last else f"{start:.2f} to {stop:.2f} {unit}"
            title = f"{name}, {reach}: {count} of {len(ordered)} queries"
            width = across.at(stop) - x - 1
            parts.append(_bar(index, x, top + tall - height, width, height, title))
        parts.append(f'<path class="zero" d="M{LEFT} {top + tall}H{WIDTH - RIGHT}"/>')
        for value, anchor in ((low, "start"), ((low + high) / 2, "middle"), (high, "end")):
            parts.append(_text("tick", across.at(value), top + tall + 15, f"{value:.1f}", anchor))
    return svg(TOP + row * len(series), "".join(parts), f"how often each latency in {unit} occurs")


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


def _columns(across: Axis, bottom: float) -> str:
    """Tick lines from top to bottom with their values below."""
    return "".join(
        f'<path class="grid" d="M{across.at(t)} {TOP}V{bottom}"/>'
        + _text("tick", across.at(t), bottom + 15, tick_label(t), "middle")
        for t in across.ticks
    )


def _left(labels: Sequence[str]) -> float:
    """Where bars begin, right of their labels."""
    return 16 + 7.7 * min(max(len(label) for label in labels), LABEL)


def _words(label: str, number: str, left: float, y: float) -> str:
    """What stands left and right of a bar."""
    return _label(label, left, y) + _text("tick", WIDTH - RIGHT, y, number, "end")


def _label(label: str, left: float, y: float) -> str:
    shown = label if len(label) <= LABEL else f"{label[: LABEL - 9]}…{label[-8:]}"
    more = "" if shown == label else f"<title>{escape(label)}</title>"
    return (
        f'<text class="label" x="{left - 8}" y="{y:g}" text-anchor="end">{escape(shown)}{more}'
        "</text>"
    )


def _text(style: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _bar(series: int, x: float, y: float, width: float, height: float, title: str) -> str:
    return (
        f'<rect class="s{series} bar" x="{x:.1f}" y="{y:.1f}" rx="1.5" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{escape(title)}</title></rect>'
    )
