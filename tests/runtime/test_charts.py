import re

from svg_marks import marks

from runtime import charts
from runtime.charts import Dot

FORMATS = [
    Dot("FP32: 100 ms", 100.0, 70.0, series=0, shape="ring", name="FP32"),
    Dot("INT8: 25 ms", 25.0, 69.5, series=2, shape="dot", name="INT8"),
]


def circle(svg, k=0):
    mark = marks(svg, "circle")[k]
    return float(mark.get("cx")), float(mark.get("cy"))


def test_scatter_puts_fast_left_and_accurate_up():
    svg = charts.scatter(FORMATS, x="ms", y="mIoU")
    first, second = circle(svg, 0), circle(svg, 1)
    assert second[0] < first[0]
    assert second[1] > first[1]
    assert [mark.find("title").text for mark in marks(svg, "circle")] == [
        "FP32: 100 ms",
        "INT8: 25 ms",
    ]
    texts = [text.text for text in marks(svg, "text")]
    assert texts.count("FP32") == texts.count("INT8") == 1


def test_nearly_equal_values_are_near_in_height():
    same = [Dot("a", 10.0, 70.0), Dot("b", 10.0, 70.01)]
    svg = charts.scatter(same, x="ms", y="mIoU")
    assert abs(circle(svg, 0)[1] - circle(svg, 1)[1]) < 4
    fine = charts.scatter(same, x="ms", y="mIoU", least=0.02)
    assert abs(circle(fine, 0)[1] - circle(fine, 1)[1]) > 50


def test_the_front_passes_through_the_dots_that_none_beats():
    worse = Dot("worse", 60.0, 69.0)
    svg = charts.scatter([*FORMATS, worse], x="ms", y="mIoU", front=True)
    (front,) = marks(svg, "polyline")
    corners = [tuple(map(float, pair.split(","))) for pair in front.get("points").split()]
    first, second, third = (circle(svg, k) for k in range(3))
    assert corners[0] == second
    assert corners[-1] == first
    assert third not in corners


def test_the_limit_is_a_line_below_what_it_allows():
    svg = charts.scatter(FORMATS, x="ms", y="mIoU", limit=69.0)
    (mark,) = [path for path in marks(svg, "path") if path.get("class") == "mark"]
    height = float(re.match(r"M[\d.]+ ([\d.]+)H", mark.get("d"))[1])
    assert height > circle(svg, 1)[1]


def test_names_of_many_dots_do_not_lie_on_one_another():
    dots = [Dot("t", 20.0 + k, 60 + k / 10, name=f"model {k}") for k in range(6)]
    svg = charts.scatter(dots, x="ms", y="mIoU")
    names = [text for text in marks(svg, "text") if text.get("class") == "name"]
    boxes = [(float(one.get("x")), float(one.get("y")), len(one.text) * 7.4) for one in names]
    assert len(boxes) == 6
    for k, (ax, ay, wide) in enumerate(boxes):
        for bx, by, _ in boxes[k + 1 :]:
            assert abs(ax - bx) >= wide - 1 or abs(ay - by) >= 14


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


def test_a_curve_without_dots_still_tells_values():
    svg = charts.line([(n, 2.0) for n in range(200)], x="iteration", y="loss")
    spots = [mark for mark in marks(svg, "circle") if mark.get("class") == "spot"]
    assert 20 < len(spots) < 70
    assert spots[1].find("title").text.endswith(": 2.00 loss")
