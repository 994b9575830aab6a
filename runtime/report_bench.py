"""Sections of the report about one model and its formats: what runtime.bench found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from runtime import chart_bars, charts
from runtime.charts import Dot
from runtime.page_html import (
    Column,
    Html,
    Panel,
    card,
    colours,
    details,
    key,
    legend,
    note,
    number,
    pair,
    signed,
    strips,
    table,
    tiles,
)

Row = Mapping[str, Any]

# A ratio of medians this close to 1 is noise, not a difference worth a headline.
NOTICEABLE = 0.9
# Data sets with more classes show the rest folded up.
CLASSES_SHOWN = 24
SHAPES = {"FP32": "ring", "FP16": "square", "INT8": "triangle"}


@dataclass(frozen=True)
class Gallery:
    """Pictures of the formats of one benchmark.

    Attributes:
        panels: of one or more samples; empty where there are none.
        present: ids of the classes to be seen in them.
        marks: what colours of the pictures of differences mean.
    """

    panels: Sequence[Panel] = ()
    present: Sequence[int] = ()
    marks: Sequence[tuple[str, Sequence[int]]] = ()


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


def facts(bench: Mapping[str, Any]) -> str:
    """What was measured where, in one line."""
    batch, height, width, _ = bench["input"]
    return (
        f"{len(bench['classes'])} classes · {width}×{height} pixels, batch {batch} · "
        f"{bench['backend']} on {bench['machine']['cpu']} · {bench['date'][:10]}"
    )


def figures(bench: Mapping[str, Any]) -> str:
    """The four figures that matter most."""
    rows: Sequence[Row] = bench["rows"]
    first, fastest = rows[0], min(rows, key=lambda row: float(row["ratio"]))
    smallest = min(rows, key=lambda row: float(row["size_mb"]))
    miou = "not measured" if first["miou"] is None else f"{100 * first['miou']:.1f} %"
    return tiles(
        [
            (f"mIoU, {first['format']}", miou),
            (f"images per second, {fastest['format']}", f"{fastest['fps']:.1f}"),
            (f"median latency, {fastest['format']}", f"{fastest['median_ms']:.1f} ms"),
            (f"file size, {smallest['format']}", f"{smallest['size_mb']:.1f} MB"),
        ]
    )


def warning(bench: Mapping[str, Any]) -> str:
    """What has to be said of weights that are random."""
    if bench.get("is_trained", bench["trained_iterations"]):  # older tables have no is_trained
        return ""
    return (
        '<p class="warning">This model was never trained: its weights are random, so only '
        "speed and agreement between formats mean something.</p>"
    )


def lead(bench: Mapping[str, Any]) -> str:
    """What the accuracy was measured on."""
    return f"Accuracy on {bench['images']} images of {bench['data']}." if bench["data"] else ""


def formats(bench: Mapping[str, Any], times: Mapping[str, Sequence[float]]) -> str:
    """The boxes of a benchmark: table, accuracy, latency, stages from file to labels.

    Args:
        bench: what runtime.bench --exportTable wrote.
        times: the latencies in ms of each format, where runtime.bench --exportTimes wrote them.
    """
    rows: Sequence[Row] = bench["rows"]
    return "".join(
        (
            card("", _table(rows), _notes(bench)),
            pair(_scatter(rows) + _percentiles(rows), _classes(bench["classes"], rows)),
            pair(histograms(times), _stages(bench)),
        )
    )


def labels(bench: Mapping[str, Any], gallery: Gallery) -> str:
    """The pictures and the names of their colours."""
    names = [picture.caption for picture in gallery.panels[0].pictures]
    formats = [name for name in bench["files"] if name in names]
    left, right = (formats[0], formats[-1]) if len(formats) > 1 else (names[0], names[-1])
    words, tints = [text for text, _ in gallery.marks], [rgb for _, rgb in gallery.marks]
    return card(
        "",
        colours(bench["classes"], bench["palette"], gallery.present),
        colours(words, tints, range(len(words))) if words else "",
        strips(gallery.panels, left=left, right=right),
    )


def _table(rows: Sequence[Row]) -> str:
    first = rows[0]["format"]
    lines: list[tuple[Column, Callable[[Row], str]]] = [
        (Column("MB"), lambda r: f"{r['size_mb']:.2f}"),
        (Column("median ms"), lambda r: f"{r['median_ms']:.2f}"),
        (Column("p90 ms"), lambda r: f"{r['p90_ms']:.2f}"),
        (Column("p99 ms"), lambda r: f"{r['p99_ms']:.2f}"),
        (Column("images/s"), lambda r: f"{r['fps']:.1f}"),
        (Column(f"speed / {first}"), lambda r: f"{1 / r['ratio']:.2f}×"),
        (Column("mIoU %"), lambda r: number(r["miou"], "{:.2f}", 100)),
        (Column("Δ points"), lambda r: signed(r["delta_miou"])),
        (Column("same labels %"), lambda r: number(r["agreement"], "{:.2f}", 100)),
        (Column("pixel accuracy %"), lambda r: number(r["pixel_accuracy"], "{:.2f}", 100)),
    ]
    columns = [Column("format", text=True), *(column for column, _ in lines)]
    cells = [
        [Html(key(k) + escape(row["format"])), *(value(row) for _, value in lines)]
        for k, row in enumerate(rows)
    ]
    return table(columns, cells, caption="Size, speed and accuracy of each format")


def _notes(bench: Mapping[str, Any]) -> str:
    queries = min(row["queries"] for row in bench["rows"])
    turns = "The formats took turns while they were timed, " if len(bench["rows"]) > 1 else ""
    copies = ", nor copies to and from the GPU" if bench.get("data_transfers") is False else ""
    return note(
        f"{turns}{queries} runs each or more; times cover inference only, not reading or "
        f"resizing{copies}.",
        *bench["notes"],
        _gpu((bench.get("clocks") or {}).get("gpu")),
    )


def _gpu(states: Mapping[str, Any] | None) -> str:
    """What the GPU did meanwhile, as a sentence, where the benchmark could see it."""
    if not states or not states["available"]:
        return ""
    units = {"graphics_mhz": "MHz", "power_w": "W", "temperature_c": "°C"}
    spans = [(states[name], unit) for name, unit in units.items()]
    told = [
        f"{span[1]:.0f} {unit} ({span[0]:.0f} to {span[2]:.0f})" for span, unit in spans if span
    ]
    held = ", ".join(states["throttled"])
    return f"The GPU meanwhile: {', '.join(told)}" + (f"; held down by {held}." if held else ".")


def _scatter(rows: Sequence[Row]) -> str:
    dots = [
        Dot(
            f"{row['format']}: {row['median_ms']:.2f} ms, {100 * row['miou']:.2f} % mIoU",
            float(row["median_ms"]),
            100 * float(row["miou"]),
            series=place,
            shape=SHAPES.get(row["format"], "dot"),
            name=row["format"],
        )
        for place, row in enumerate(rows)
        if row["miou"] is not None
    ]
    if not dots:
        return ""
    plot = charts.scatter(dots, x="median latency in ms", y="mIoU in %")
    return card("Speed and accuracy (up and left is better)", plot)


def _classes(classes: Sequence[str], rows: Sequence[Row]) -> str:
    percent = {
        row["format"]: [None if v is None else 100 * v for v in row["iou"]]
        for row in rows
        if row["miou"] is not None
    }
    if not percent:
        return ""
    return card(
        "IoU of each class in %",
        legend(list(percent)),
        _class_bars(classes, percent),
        details("As a table", _class_table(classes, percent)),
    )


def _class_bars(classes: Sequence[str], percent: Mapping[str, list[float | None]]) -> str:
    shown, folded = classes[:CLASSES_SHOWN], classes[CLASSES_SHOWN:]
    head = {name: values[:CLASSES_SHOWN] for name, values in percent.items()}
    text = chart_bars.bars(shown, head, unit="IoU in %", most=100)
    if folded:
        tail = {name: values[CLASSES_SHOWN:] for name, values in percent.items()}
        more = chart_bars.bars(folded, tail, unit="IoU in %", most=100)
        text += details(f"{len(folded)} more classes", more)
    return text


def _class_table(classes: Sequence[str], percent: Mapping[str, list[float | None]]) -> str:
    columns = [Column("class", text=True), *(Column(name) for name in percent)]
    rows = [
        [name, *(number(values[k], "{:.2f}") for values in percent.values())]
        for k, name in enumerate(classes)
    ]
    return table(columns, rows, caption="IoU of each class in %")


def _percentiles(rows: Sequence[Row]) -> str:
    named = {
        row["format"]: [
            ("median", float(row["median_ms"])),
            ("90th percentile", float(row["p90_ms"])),
            ("99th percentile", float(row["p99_ms"])),
        ]
        for row in rows
    }
    return card(
        "Latency in ms: median, 90th and 99th percentile", chart_bars.spans(named, unit="ms")
    )


def histograms(times: Mapping[str, Sequence[float]]) -> str:
    """How often each latency occurs, a row per format; nothing where nothing is known."""
    if not times:
        return ""
    return card(
        "Latency in ms: how often", chart_bars.histograms(times, unit="ms"),
        note("Each format on an axis of its own; the last bar holds all that are slower."),
    )  # fmt: skip


def _stages(bench: Mapping[str, Any]) -> str:
    """The stages from the bytes of a JPEG to labels of its size, where they were measured."""
    walks = bench.get("end_to_end")
    if not walks or not walks["formats"]:
        return ""
    rows = {
        name: {
            stage: float(told["median_ms"]) / stages.get("batch", 1)
            for stage, told in stages.items()
            if isinstance(told, Mapping)
        }
        for name, stages in walks["formats"].items()
    }
    height, width = walks["image_size"]
    count = f"{walks['images']} image{'' if walks['images'] == 1 else 's in turn'}"
    return card(
        "From a JPEG file to labels, ms for one image",
        legend(list(next(iter(rows.values())))),
        chart_bars.stacks(rows, unit="ms"),
        note(f"{count}, the first of {width}×{height} pixels; medians of each stage."),
    )


def latencies(trace: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The latencies in ms by format of what runtime.bench --exportTimes wrote."""
    found: dict[str, list[float]] = {}
    for query in trace:
        found.setdefault(str(query.get("format", "queries")), []).append(float(query["latencyMs"]))
    return found
