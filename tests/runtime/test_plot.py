import math
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from emca.errors import UserError
from runtime import plot, plot_canvas
from runtime.plot_points import Point

NETWORKS = {
    "EMCA": (91, 67.5),
    "mean prototype": (89, 66.9),
    "no interaction": (88, 66.7),
    "mean prototype, no interaction": (87.5, 66.5),
    "masked cross-attention": (96, 67.7),
    "a name that is much too long for any plot": (243, 68.8),
    "PEM pixel decoder": (141, 68.4),
    "$PIDNet_S$": (45, 61.0),
}


def points(networks=NETWORKS):
    return [
        Point(name, form, latency * factor, miou + change)
        for name, (latency, miou) in networks.items()
        for form, factor, change in (("FP32", 1, 0), ("FP16", 1.004, 0.01), ("INT8", 0.45, -0.3))
    ]


def boxes(figure):
    """Extents of the models' names by text."""
    (axes,) = figure.axes
    return {text.get_text(): text.get_window_extent() for text in axes.texts}


def test_names_cover_neither_one_another_nor_marks():
    figure = plot.accuracy_figure(points(), "caption")
    (axes,) = figure.axes
    found = boxes(figure)
    assert len(found) == len(NETWORKS)
    assert "a name that is much too long for…" in found
    frame = axes.get_window_extent()
    marks = axes.transData.transform([(p.latency, p.miou) for p in points()])
    for name, box in found.items():
        assert box.x0 >= frame.x0
        assert box.x1 <= frame.x1
        assert not any(box.overlaps(other) for key, other in found.items() if key != name)
        inside = (marks > (box.x0, box.y0)) & (marks < (box.x1, box.y1))
        assert not inside.all(axis=1).any(), name
        own = [p for p in points() if p.model == name or name.endswith("…")]
        places = axes.transData.transform([(p.latency, p.miou) for p in own])
        centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        assert np.linalg.norm(places - centre, axis=1).min() < box.width / 2 + 120


def test_wide_ranges_take_a_logarithmic_axis():
    near = plot.accuracy_figure(points({"a": (10, 60), "b": (44, 62)}), "")
    far = plot.accuracy_figure(points({"a": (10, 60), "b": (50, 62)}), "")
    assert near.axes[0].get_xscale() == "linear"
    assert far.axes[0].get_xscale() == "log"


def test_colours_tell_models_apart():
    for count in (2, 10, 20, 33):
        palette = plot.colours([str(k) for k in range(count)])
        assert len({tuple(colour) for colour in palette.values()}) == count


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    stem = tmp_path_factory.mktemp("plot") / "compare"
    written = plot.draw(points(), stem, caption="on a computer", not_trained=["blank one"])
    assert [path.name for path in written] == ["compare.png", "compare.svg"]
    return written


def test_the_picture_shows_every_model_in_its_colour(drawn):
    image = cv2.imread(str(drawn[0]))[..., ::-1].reshape(-1, 3).astype(int)
    assert 0.7 < (image.min(axis=1) > 250).mean() < 0.99
    for colour in plot.colours(list(NETWORKS)).values():
        wanted = 255 * np.array(colour[:3])
        assert (np.abs(image - wanted).max(axis=1) < 3).sum() > 20


def test_the_svg_is_the_same_every_time(drawn, tmp_path):
    again = plot.draw(
        points(), tmp_path / "compare", caption="on a computer", not_trained=["blank one"]
    )
    assert again[1].read_bytes() == drawn[1].read_bytes()
    assert ET.parse(again[1]).getroot().tag.endswith("svg")


def text_of(figure):
    return "\n".join(text.get_text() for text in figure.texts)


def test_the_untrained_are_listed_below(monkeypatch, tmp_path):
    seen = []
    real = plot.accuracy_figure

    def spy(points, caption):
        seen.append(caption)
        return real(points, caption)

    monkeypatch.setattr(plot, "accuracy_figure", spy)
    unknown = [Point("blank", "FP32", 50.0)]
    plot.draw([*points(), *unknown], tmp_path / "p", caption="here", not_trained=["blank"])
    assert seen == ["Not trained, so not shown: blank.\nhere"]


def test_without_accuracy_there_are_bars_of_latency(tmp_path):
    bare = [Point(p.model, p.format, p.latency) for p in points()]
    assert all(math.isnan(p.miou) for p in bare)
    figure = plot.latency_figure(bare, "on a computer")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [p.latency for p in bare]
    found = boxes(figure)
    assert "FP32  91.0 ms" in found
    width = figure.get_figwidth() * figure.dpi
    assert all(box.x1 < width for box in found.values())
    names = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert min(box.x0 for box in names) >= 0
    assert "on a computer" in text_of(figure)
    plot.draw(bare, tmp_path / "bars", caption="")
    assert cv2.imread(str(tmp_path / "bars.png")).std() > 10


def test_missing_matplotlib_is_said(monkeypatch):
    plot.require()
    monkeypatch.setattr(plot_canvas, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install matplotlib"):
        plot.require()
