"""The page of `runtime.report` as text: takes plain values, reads and measures nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from runtime import charts
from runtime.page_html import (
    Panel,
    colours,
    document,
    machine_facts,
    made_with,
    number,
    section,
    strips,
    tiles,
)

Row = Mapping[str, Any]

# A ratio of medians this close to 1 is noise, not a difference worth a headline.
NOTICEABLE = 0.9
# Data sets with more classes show the rest folded up.
CLASSES_SHOWN = 24


def page(
    bench: Mapping[str, Any],
    *,
    title: str,
    log: Sequence[Mapping[str, Any]],
    panels: Sequence[Panel],
    present: Sequence[int],
    command: str,
) -> str:
    """The whole page.

    Args:
        bench: what runtime.bench --exportTable wrote.
        log: records of the training log; empty when there is none.
        panels: pictures; empty when there are none.
        present: ids of the classes to be seen in the pictures.
        command: the command line that makes the page.
    """
    rows: Sequence[Row] = bench["rows"]
    sections = [
        _header(bench, title, rows),
        section("Formats side by side", _table(rows), _notes(bench)),
        _plots(bench, rows),
        _pictures(bench, panels, present),
        _training(log),
        _origin(bench, command),
    ]
    return document(title, sections)


def headline(rows: Sequence[Row]) -> str:
    """The result in one sentence."""
    first, fastest = rows[0], min(rows, key=lambda row: float(row["ratio"]))
    if fastest["ratio"] > NOTICEABLE:
        text = f"{first['format']} runs at {first['fps']:.1f} images per second"
        if first["miou"] is not None:
            text += f" with {100 * first['miou']:.1f} % mIoU"
        return text if len(rows) == 1 else f"{text}; no other format is faster here"
    text = f"{fastest['format']} is {1 / fastest['ratio']:.1f}× as fast as {first['format']}"
    delta = fastest["delta_miou"]
    if delta is None:
        return text
    if abs(delta) < 0.005:
        return f"{text} at the same mIoU"
    return f"{text} and {'loses' if delta < 0 else 'gains'} {abs(delta):.2f} points of mIoU"


def _header(bench: Mapping[str, Any], title: str, rows: Sequence[Row]) -> str:
    first, fastest = rows[0], min(rows, key=lambda row: float(row["ratio"]))
    smallest = min(rows, key=lambda row: float(row["size_mb"]))
    miou = "not measured" if first["miou"] is None else f"{100 * first['miou']:.1f} %"
    figures = [
        (f"mIoU, {first['format']}", miou),
        (f"images per second, {fastest['format']}", f"{fastest['fps']:.1f}"),
        (f"median latency, {fastest['format']}", f"{fastest['median_ms']:.1f} ms"),
        (f"file size, {smallest['format']}", f"{smallest['size_mb']:.1f} MB"),
    ]
    warning = ""
    if not bench.get("is_trained", bench["trained_iterations"]):  # older tables have no is_trained
        warning = (
            '<p class="warning">This model was never trained: its weights are random, so only '
            "speed and agreement between formats mean something.</p>"
        )
    batch, height, width, _ = bench["input"]
    facts = (
        f"{len(bench['classes'])} classes · {width}×{height} pixels, batch {batch} · "
        f"{bench['backend']} on {bench['machine']['cpu']} · {bench['date'][:10]}"
    )
    return (
        f'<header><p class="kicker">{escape(title)}</p><h1>{escape(headline(rows))}</h1>'
        f'<p class="facts">{escape(facts)}</p>{warning}{tiles(figures)}</header>'
    )


def _table(rows: Sequence[Row]) -> str:
    """Formats as columns, so that the table fits a phone."""
    first = rows[0]["format"]
    lines: list[tuple[str, Callable[[Row], str]]] = [
        ("file size, MB", lambda r: f"{r['size_mb']:.2f}"),
        ("median latency, ms", lambda r: f"{r['median_ms']:.2f}"),
        ("90th percentile, ms", lambda r: f"{r['p90_ms']:.2f}"),
        ("99th percentile, ms", lambda r: f"{r['p99_ms']:.2f}"),
        ("images per second", lambda r: f"{r['fps']:.1f}"),
        (f"speed against {first}", lambda r: f"{1 / r['ratio']:.2f}×"),
        ("mIoU, %", lambda r: number(r["miou"], "{:.2f}", 100)),
        (f"mIoU against {first}, points", lambda r: number(r["delta_miou"], "{:+.2f}")),
        (f"labels as {first}, %", lambda r: number(r["agreement"], "{:.2f}", 100)),
        ("pixel accuracy, %", lambda r: number(r["pixel_accuracy"], "{:.2f}", 100)),
    ]
    names = [f'<th scope="col">{_key(k)}{escape(r["format"])}</th>' for k, r in enumerate(rows)]
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value(row))}</td>" for row in rows)
        + "</tr>"
        for name, value in lines
    )
    return (
        f'<div class="scroll"><table><thead><tr><th></th>{"".join(names)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _notes(bench: Mapping[str, Any]) -> str:
    lines = [
        "The formats took turns while they were timed, "
        f"{min(row['queries'] for row in bench['rows'])} runs each or more; times cover inference "
        "only, not reading or resizing.",
        *bench["notes"],
    ]
    if bench["data"]:
        lines.insert(0, f"Accuracy on {bench['images']} images of {bench['data']}.")
    return f'<p class="note">{escape(" ".join(lines))}</p>'


def _plots(bench: Mapping[str, Any], rows: Sequence[Row]) -> str:
    measured = [row for row in rows if row["miou"] is not None]
    if not measured:
        return ""
    points = {r["format"]: (float(r["median_ms"]), 100 * float(r["miou"])) for r in measured}
    scatter = charts.scatter(points, x="median latency in ms", y="mIoU in %")
    names = [f"{name} {x:.1f} ms, {y:.1f} %" for name, (x, y) in points.items()]
    percent = {
        row["format"]: [None if v is None else 100 * v for v in row["iou"]] for row in measured
    }
    groups = _class_bars(bench["classes"], percent)
    return (
        '<div class="pair">'
        + section("Speed and accuracy (up and left is better)", _legend(names), scatter)
        + section("IoU of each class in %", _legend(list(percent)), groups)
        + "</div>"
    )


def _class_bars(classes: Sequence[str], percent: Mapping[str, list[float | None]]) -> str:
    shown, folded = classes[:CLASSES_SHOWN], classes[CLASSES_SHOWN:]
    head = {name: values[:CLASSES_SHOWN] for name, values in percent.items()}
    text = charts.bars(shown, head, unit="IoU in %")
    if folded:
        tail = {name: values[CLASSES_SHOWN:] for name, values in percent.items()}
        more = charts.bars(folded, tail, unit="IoU in %")
        text += f"<details><summary>{len(folded)} more classes</summary>{more}</details>"
    return text


def _pictures(bench: Mapping[str, Any], panels: Sequence[Panel], present: Sequence[int]) -> str:
    if not panels:
        return ""
    legend = colours(bench["classes"], bench["palette"], present)
    return section("Labels", legend, strips(panels))


def _training(log: Sequence[Mapping[str, Any]]) -> str:
    losses, scores = _curve(log, "loss"), _curve(log, "miou", 100)
    parts = []
    if losses:
        parts.append(section("Training loss", charts.line(losses, x="iteration", y="loss")))
    if scores:
        curve = charts.line(scores, x="iteration", y="mIoU in %", dots=True)
        parts.append(section("Validation mIoU", curve))
    return f'<div class="pair">{"".join(parts)}</div>' if parts else ""


def _curve(
    log: Sequence[Mapping[str, Any]], key: str, factor: float = 1
) -> list[tuple[float, float]]:
    """(step, value) of the records that have the key, thinned to what a plot can show."""
    points = [
        (float(record["step"]), factor * float(record[key]))
        for record in log
        if isinstance(record.get(key), int | float) and math.isfinite(record[key])
    ]
    return points[:: 1 + len(points) // 500]


def _origin(bench: Mapping[str, Any], command: str) -> str:
    commands = [file["command"] for file in bench["files"].values()]
    lines = "\n".join(dict.fromkeys([*commands, bench["command"], command]))
    facts = {
        **machine_facts(bench["machine"], bench["threads"]),
        **bench["versions"],
        "trained for": f"{bench['trained_iterations']} iterations",
        "checkpoint": bench["checkpoint_sha256"][:16],
    }
    return section("Made with", made_with(lines, facts))


def _legend(names: Sequence[str]) -> str:
    keys = "".join(f"<span>{_key(k)}{escape(name)}</span>" for k, name in enumerate(names))
    return f'<p class="legend">{keys}</p>'


def _key(series: int) -> str:
    return f'<i class="s{series}"></i>'
