import re
import xml.etree.ElementTree as ET

import pytest
from svg_marks import marks

from runtime import chart_bars
from runtime.chart_axis import Axis


def widths(svg):
    return [float(rect.get("width")) for rect in marks(svg, "rect")]


def titles(svg, tag="rect"):
    return [mark.find("title").text for mark in marks(svg, tag)]


def test_bars_are_as_long_as_their_values():
    series = {"FP32": [80, 40], "INT8": [20, None]}
    svg = chart_bars.bars(["sky", "a & b"], series, unit="%", most=100)
    first, second, third = widths(svg)
    assert first == pytest.approx(4 * second, abs=0.5)
    assert first == pytest.approx(2 * third, abs=0.5)
    assert titles(svg) == [
        "sky, FP32: 80.00 %",
        "sky, INT8: 20.00 %",
        "a & b, FP32: 40.00 %",
    ]
    texts = [text.text for text in marks(svg, "text")]
    assert {"a & b", "80.0", "40.0"} <= set(texts)


def test_what_does_not_exist_has_a_dash():
    assert ">–</text>" in chart_bars.bars(["sky"], {"FP32": [None]}, unit="%", most=100)


def test_changes_grow_from_zero_to_their_side():
    svg = chart_bars.changes(["a", "b"], {"mIoU": [0.2, -0.1]}, unit="points")
    up, down = marks(svg, "rect")
    assert float(up.get("width")) == pytest.approx(2 * float(down.get("width")), abs=0.5)
    zero = float(up.get("x"))
    assert float(down.get("x")) + float(down.get("width")) == pytest.approx(zero, abs=0.2)
    assert titles(svg) == ["a, mIoU: +0.200 points", "b, mIoU: −0.100 points"]
    assert not re.search("nan|inf", chart_bars.changes(["a"], {"mIoU": [0.0]}, unit="points"))


def test_stacks_lie_end_to_end():
    rows = {"FP32": {"decode": 10.0, "infer": 30.0}, "INT8": {"decode": 10.0, "infer": 5.0}}
    svg = chart_bars.stacks(rows, unit="ms")
    decode, infer = marks(svg, "rect")[:2]
    end = float(decode.get("x")) + float(decode.get("width"))
    assert end == pytest.approx(float(infer.get("x")), abs=0.2)
    assert float(infer.get("width")) == pytest.approx(3 * float(decode.get("width")), abs=0.3)
    assert titles(svg)[3] == "INT8, infer: 5.00 ms"
    assert "40.0" in [text.text for text in marks(svg, "text")]


def test_spans_reach_from_the_least_to_the_most():
    svg = chart_bars.spans({"FP32": [("median", 10.0), ("99th percentile", 20.0)]}, unit="ms")
    near, far = (float(mark.get("cx")) for mark in marks(svg, "circle"))
    (span,) = [path for path in marks(svg, "path") if "span" in path.get("class")]
    assert re.fullmatch(rf"M{near} \S+H{far}", span.get("d"))
    assert titles(svg, "circle") == ["FP32, median: 10.00 ms", "FP32, 99th percentile: 20.00 ms"]


def test_histograms_count_every_query():
    values = [10 + n % 5 for n in range(500)] + [900.0]
    svg = chart_bars.histograms({"INT8": values, "FP32": [7.0]}, unit="ms")
    counts = [int(re.search(r": (\d+) of (\d+) queries", title)[1]) for title in titles(svg)]
    assert sum(counts) == 502
    slowest, alone = titles(svg)[-2:]
    assert re.fullmatch(r"INT8, from 15\.\d+ ms on: 1 of 501 queries", slowest)
    assert alone == "FP32, 7.00 to 7.02 ms: 1 of 1 queries"
    heights = [float(bar.get("height")) for bar in marks(svg, "rect")]
    assert heights[0] == pytest.approx(heights[-1])  # each row is as tall as its tallest


def test_whisker_places_dot_interval_and_threshold():
    svg = chart_bars.whisker(-1, -2, 0.5, reach=2, mark=-1.5, title="a & b: -1")
    (dot,) = marks(svg, "circle")
    zero, mark, span = (path.get("d") for path in marks(svg, "path"))
    place = Axis(-2, 2, 6, chart_bars.CELL - 6, ()).at
    assert float(dot.get("cx")) == place(-1)
    assert span.startswith(f"M{place(-2)} ")
    assert span.endswith(f"H{place(0.5)}")
    assert zero.startswith(f"M{place(0)} ")
    assert mark.startswith(f"M{place(-1.5)} ")
    assert ET.fromstring(svg).find("title").text == "a & b: -1"
    assert len(marks(chart_bars.whisker(0, 0, 0, reach=1, mark=None, title="t"), "path")) == 2


def test_long_labels_keep_both_ends_and_tell_the_whole():
    name = "Model-with-an-uncommonly-long-name INT8"
    svg = chart_bars.spans({name: [("median", 1.0)]}, unit="ms")
    (label,) = [text for text in marks(svg, "text") if text.get("class") == "label"]
    assert label.text == "Model-with-an-unc…ame INT8"
    assert label.find("title").text == name
