import re
import xml.etree.ElementTree as ET

import pytest

from runtime import charts
from runtime.charts import Axis


def marks(svg, tag):
    root = ET.fromstring(svg)  # well-formed, or this raises
    return root.findall(f".//{tag}")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, (0, 2, 4, 6, 8, 10)),
        (0, 47.3, (0, 10, 20, 30, 40, 50)),
        (73.4, 74.9, (73, 73.5, 74, 74.5, 75)),
        (0, 0.013, (0, 0.005, 0.01, 0.015)),
    ],
)
def test_ticks_are_round_and_cover_the_range(low, high, ticks):
    assert Axis.over(low, high, 0, 100).ticks == ticks


def test_axis_places_values():
    axis = Axis.over(0, 10, 200, 0)
    assert (axis.at(0), axis.at(5), axis.at(10)) == (200, 100, 0)


def test_scatter_puts_fast_left_and_accurate_up():
    points = {"FP32": (100.0, 70.0), "INT8": (25.0, 69.5)}
    first, second = marks(charts.scatter(points, x="ms", y="mIoU"), "circle")
    assert float(second.get("cx")) < float(first.get("cx"))
    assert float(second.get("cy")) > float(first.get("cy"))
    assert second.find("title").text == "INT8: 25.00 ms, 69.50 mIoU"


def test_equal_points_stay_visible_and_near_in_height():
    same = {"FP32": (10.0, 70.0), "FP16": (10.0, 70.01)}
    first, second = marks(charts.scatter(same, x="ms", y="mIoU"), "circle")
    assert float(second.get("r")) < float(first.get("r"))
    assert abs(float(second.get("cy")) - float(first.get("cy"))) < 4


def test_whisker_places_dot_interval_and_threshold():
    svg = charts.whisker(-1, -2, 0.5, reach=2, mark=-1.5, title="a & b: -1")
    (dot,) = marks(svg, "circle")
    zero, mark, span = (path.get("d") for path in marks(svg, "path"))
    place = charts.Axis(-2, 2, 6, charts.CELL - 6, ()).at
    assert float(dot.get("cx")) == place(-1)
    assert span.startswith(f"M{place(-2)} ")
    assert span.endswith(f"H{place(0.5)}")
    assert zero.startswith(f"M{place(0)} ")
    assert mark.startswith(f"M{place(-1.5)} ")
    assert ET.fromstring(svg).find("title").text == "a & b: -1"
    assert len(marks(charts.whisker(0, 0, 0, reach=1, mark=None, title="t"), "path")) == 2


def test_bars_are_as_long_as_their_values():
    svg = charts.bars(["sky", "a & b"], {"FP32": [80, 40], "INT8": [20, None]}, unit="%")
    widths = [float(rect.get("width")) for rect in marks(svg, "rect")]
    assert len(widths) == 3
    assert widths[0] == pytest.approx(2 * widths[2], abs=0.5)
    assert widths[0] == pytest.approx(4 * widths[1], abs=0.5)
    texts = [text.text for text in marks(svg, "text")]
    assert "a & b" in texts
    assert {"80.0", "40.0"} <= set(texts)


def test_a_class_that_does_not_exist_has_a_dash():
    assert ">–</text>" in charts.bars(["sky"], {"FP32": [None]}, unit="%")


def test_line_falls_where_the_values_fall():
    svg = charts.line([(n, 100.0 - n) for n in range(0, 100, 5)], x="iteration", y="loss")
    curve = marks(svg, "polyline")[-1].get("points")
    heights = [float(pair.split(",")[1]) for pair in curve.split()]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]


def test_line_of_one_point_is_a_dot():
    svg = charts.line([(100, 71.5)], x="iteration", y="mIoU", dots=True)
    (dot,) = marks(svg, "circle")
    assert dot.find("title").text == "iteration 100: 71.50 mIoU"
    assert not re.search("nan|inf", svg)
