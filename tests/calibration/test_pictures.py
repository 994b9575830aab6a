import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from calibration import pictures
from calibration.pictures import MixPoint
from calibration.study.accuracy import Score
from calibration.study.block_costs import BlockCost, Change
from runtime import plot_canvas

SCORE = Score(0.5, 0.9, [])
LOSSES = {
    "backbone.embedder": (0.05, 0.22),
    "backbone.0": (-0.31, 0.34),
    "pixel_decoder.mask_features": (0.004, 0.0),
    "decoder.0": (-0.004, 0.03),
    "heads": (0.39, 1.47),
}
ROWS = [
    BlockCost(
        block, 3, SCORE, SCORE, block != "heads", Change(-miou, -same), Change(miou / 2, same / 2)
    )
    for block, (miou, same) in LOSSES.items()
]
POINTS = [
    MixPoint("FP32", 41.8, 0.675),
    MixPoint("FP16", 41.9, 0.6752),
    MixPoint("INT8", 20.0, 0.6702, ("a", "b", "c")),
    *(
        MixPoint(f"mix {k}", 21 + k, 0.6705 + 0.0003 * k - 0.0004 * (k % 3), ("a", "b"))
        for k in range(16)
    ),
]


def assert_apart(boxes, frame):
    """Texts cover one another nowhere and stay inside."""
    for name, box in boxes.items():
        assert box.x0 >= frame.x0, name
        assert box.x1 <= frame.x1, name
        assert not [key for key, other in boxes.items() if key != name and box.overlaps(other)]


def test_bars_and_their_values():
    figure = pictures.sensitivity_figure(ROWS, "on a computer")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "backbone embedder", "backbone 0", "pixel decoder mask features", "decoder 0", "heads",
    ]  # fmt: skip
    lost = [value for pair in LOSSES.values() for value in pair]
    assert [bar.get_width() for bar in left.patches] == pytest.approx(lost)
    assert [bar.get_width() for bar in right.patches] == pytest.approx([v / 2 for v in lost])
    said = [text.get_text() for text in left.texts]
    assert said == ["0.05", "0.22", "−0.31", "0.34", "0.00", "0.00", "0.00", "0.03", "0.39", "1.47"]
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first block on top
    for axes in (left, right):
        boxes = {k: text.get_window_extent() for k, text in enumerate(axes.texts)}
        assert_apart(boxes, axes.get_window_extent())
        low, high = axes.get_xlim()
        assert all(low <= min(bar.get_width(), 0) <= high for bar in axes.patches)
        for bar, text in zip(axes.patches, axes.texts, strict=True):
            assert not bar.get_window_extent().overlaps(text.get_window_extent())
    names = [label.get_window_extent() for label in left.get_yticklabels()]
    assert min(box.x0 for box in names) >= 0
    heading = figure.legends[0].get_window_extent()
    assert not any(axes.title.get_window_extent().overlaps(heading) for axes in figure.axes)


def test_bars_without_any_change():
    still = [BlockCost("a", 1, SCORE, SCORE, True, Change(0, 0), Change(0, 0))]
    figure = pictures.sensitivity_figure(still, "")
    assert [text.get_text() for text in figure.axes[1].texts] == ["0.00", "0.00"]


def test_names_of_the_curve_cover_nothing():
    figure = pictures.curve_figure(POINTS, "", "mix 4", 0.67, "ms")
    (axes,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(boxes) == {
        "FP32", "FP16", "INT8", "chosen, 2 blocks in INT8", "allowed from 67.00 %",
    }  # fmt: skip
    assert_apart(boxes, axes.get_window_extent())
    marks = axes.transData.transform([(p.latency, 100 * p.miou) for p in POINTS])
    for box in boxes.values():
        inside = (marks > (box.x0, box.y0)) & (marks < (box.x1, box.y1))
        assert not inside.all(axis=1).any()


def test_the_curve_shows_every_mix_the_front_and_the_limit():
    figure = pictures.curve_figure(POINTS, "", "mix 4", 0.665, "estimated ms")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "estimated ms"
    lines = [np.column_stack(line.get_data()) for line in axes.lines]
    spots = {(p.latency, 100 * p.miou) for p in POINTS}
    assert spots <= {tuple(spot) for line in lines for spot in line}
    front = lines[0]
    assert tuple(front[0]) == (20.0, 67.02)
    assert (np.diff(front, axis=0) > 0).all()
    limit = next(line for line in axes.lines if set(line.get_ydata()) == {66.5})
    assert limit.get_xdata()[0] == 0
    low, high = axes.get_ylim()
    assert low < 66.5 < 67.52 < high


def test_a_limit_far_below_does_not_flatten_the_curve():
    figure = pictures.curve_figure(POINTS, "", "mix 4", 0.6, "ms")
    (axes,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert axes.get_ylim()[0] > 66.5
    assert "all allowed from 60.00 %" in boxes
    assert_apart(boxes, axes.get_window_extent())


def test_where_nothing_is_allowed_none_is_chosen():
    figure = pictures.curve_figure(POINTS, "", "mix 4", 0.68, "ms")
    said = {text.get_text() for text in figure.axes[0].texts}
    assert "best found, 2 blocks in INT8" in said


def test_a_plain_format_can_be_the_chosen_one():
    figure = pictures.curve_figure(POINTS, "", "FP16", 0.67, "ms")
    said = {text.get_text() for text in figure.axes[0].texts}
    assert {"FP32", "FP16, chosen", "INT8"} < said


def test_pictures_are_files(tmp_path):
    written = pictures.draw_sensitivity(ROWS, tmp_path / "model.sensitivity", caption="here")
    written += pictures.draw_curve(
        POINTS, tmp_path / "model.search", caption="here", chosen="INT8", limit=0.67
    )
    assert [path.name for path in written] == [
        "model.sensitivity.png", "model.sensitivity.svg", "model.search.png", "model.search.svg",
    ]  # fmt: skip
    for path in written:
        if path.suffix == ".png":
            assert 0.7 < (cv2.imread(str(path)) > 250).mean() < 0.99
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_missing_matplotlib_is_said(monkeypatch):
    assert pictures.missing() == ""
    monkeypatch.setattr(plot_canvas, "find_spec", lambda name: None)
    assert pictures.missing() == "no picture: pip install matplotlib"
