"""Sections of the report about several models: what runtime.compare found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from runtime import chart_bars, charts
from runtime.chart_axis import SERIES
from runtime.charts import Dot
from runtime.page_html import Column, Html, card, key, legend, note, number, pair, signed, table
from runtime.plot_points import Point, pareto_front
from runtime.report_bench import SHAPES

Row = Mapping[str, Any]

MOST_NAMES = 6  # that a plot has room for


def headline(compare: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    rows = compare["rows"]
    fastest = min(rows, key=lambda row: float(row["median_ms"]))
    text = f"{_name(fastest)} is the fastest with {fastest['median_ms']:.1f} ms"
    scored = [row for row in rows if row["miou"] is not None]
    if not scored:
        return text
    best = max(scored, key=lambda row: float(row["miou"]))
    return f"{text}, {_name(best)} the most accurate with {100 * best['miou']:.1f} % mIoU"


def facts(compare: Mapping[str, Any]) -> str:
    """What was measured where, in one line."""
    return (
        f"{len(compare['models'])} models · {compare['backend']} on {compare['machine']['cpu']} · "
        f"{compare['date'][:10]}"
    )


def cards(compare: Mapping[str, Any]) -> str:
    """Accuracy over latency, latency by format, both tables."""
    models = [model["name"] for model in compare["models"]]
    rows = compare["rows"]
    return "".join(
        (
            card("", _rows(rows, models), note(*_notes(compare))),
            pair(_plot(rows, models), _percentiles(rows, models)),
            card("Operations and parameters", _costs(compare["models"])),
        )
    )


def _notes(compare: Mapping[str, Any]) -> list[str]:
    """Its remarks, but for the one on a column that only the text has."""
    return [line for line in compare["notes"] if not line.startswith("/ first")]


def _name(row: Row) -> str:
    return f"{row['model']} {row['format']}"


def _rows(rows: Sequence[Row], models: Sequence[str]) -> str:
    columns = [
        *(Column("model", text=True), Column("format", text=True), Column("MB")),
        *(Column("median ms"), Column("p90 ms"), Column("p99 ms"), Column("images/s")),
        *(Column("× FP32"), Column("mIoU %"), Column("Δ points"), Column("same labels %")),
    ]
    front = {(point.model, point.format) for point in pareto_front(_points(rows))}
    cells = [
        [
            Html(key(models.index(row["model"]) + 1) + escape(row["model"])),
            row["format"],
            f"{row['size_mb']:.2f}",
            f"{row['median_ms']:.2f}",
            f"{row['p90_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['fps']:.1f}",
            number(row["ratio_to_fp32"] and 1 / row["ratio_to_fp32"], "{:.2f}×"),
            _miou(row, (row["model"], row["format"]) in front),
            signed(row["delta_miou"]),
            number(row["agreement"], "{:.2f}", 100),
        ]
        for row in rows
    ]
    return table(columns, cells, caption="Speed and accuracy of each model and format")


def _miou(row: Row, best: bool) -> str:
    text = number(row["miou"], "{:.2f}", 100)
    return Html(f"<strong>{text}</strong>") if best else text


def _points(rows: Sequence[Row]) -> list[Point]:
    return [
        Point(row["model"], row["format"], float(row["median_ms"]), 100 * float(row["miou"]))
        for row in rows
        if row["miou"] is not None
    ]


def _plot(rows: Sequence[Row], models: Sequence[str]) -> str:
    dots = [
        Dot(
            f"{point.model} {point.format}: {point.latency:.2f} ms, {point.miou:.2f} % mIoU",
            point.latency,
            point.miou,
            series=(models.index(point.model) + 1) % SERIES,
            shape=SHAPES.get(point.format, "dot"),
            name=point.model if len(models) <= MOST_NAMES else "",
        )
        for point in _points(rows)
    ]
    if not dots:
        return ""
    shapes = "".join(
        f'<span><svg viewBox="0 0 16 16" aria-hidden="true">'
        f"{charts.shape(SHAPES[name], 8, 8)}</svg>{name}</span>"
        for name in SHAPES
        if any(row["format"] == name for row in rows)
    )
    return card(
        "Accuracy over latency, and the Pareto front",
        f'<p class="legend">{shapes}</p>',
        "" if len(models) <= MOST_NAMES else legend(models, first=1),
        charts.scatter(dots, x="median latency in ms", y="mIoU in %", front=True),
        note("No other point is both faster and more accurate than those on the dashed line, "
             "whose mIoU is bold in the table."),
    )  # fmt: skip


def _percentiles(rows: Sequence[Row], models: Sequence[str]) -> str:
    named = {
        _name(row): [
            ("median", float(row["median_ms"])),
            ("90th percentile", float(row["p90_ms"])),
            ("99th percentile", float(row["p99_ms"])),
        ]
        for row in rows
    }
    colours = [models.index(row["model"]) + 1 for row in rows]
    return card(
        "Latency in ms: median, 90th and 99th percentile",
        chart_bars.spans(named, unit="ms", series=colours),
    )


def _costs(models: Sequence[Mapping[str, Any]]) -> str:
    counted = [model["gflops"] for model in models if model["gflops"]]
    parts = [
        part
        for part in dict.fromkeys(part for own in counted for part in own if part != "total")
        if any(own.get(part) for own in counted)
    ]
    columns = [
        *(Column("model", text=True), Column("input"), Column("M parameters"), Column("GFLOPs")),
        *(Column(part.replace("_", " "), wide=True) for part in parts),
    ]
    cells = [
        [
            Html(key(k + 1) + escape(model["name"])),
            "×".join(map(str, model["input"][::-1])),
            number(model["params"] and model["params"]["total"], "{:.2f}", 1e-6),
            number(model["gflops"] and model["gflops"]["total"], "{:.2f}"),
            *(number((model["gflops"] or {}).get(part), "{:.2f}") for part in parts),
        ]
        for k, model in enumerate(models)
    ]
    return table(columns, cells, caption="What one image costs each model")
