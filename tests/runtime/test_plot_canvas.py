import pytest

from runtime.plot_canvas import canvas, limits_of_bars, names_of_bars, save, scale


def test_a_longer_caption_leaves_the_axes_as_large():
    heights = []
    for lines in (1, 4):
        figure, axes = canvas(4, "\n".join(["words"] * lines))
        heights.append(axes.get_position().height * figure.get_figheight())
        assert figure.texts[0].get_window_extent().y1 < axes.get_window_extent().y0
    assert heights[0] == pytest.approx(heights[1])


@pytest.mark.parametrize("low", [0, -40])
def test_values_of_bars_have_room(low):
    _, axes = canvas(3, "")
    names_of_bars(axes, [0, 1], ["a name that is rather long for a bar", "b"])
    for place, value in enumerate((100, 30)):
        axes.barh(place, value)
        axes.text(value, place, "a value with words to it")
    axes.set_xlim(limits_of_bars(axes, low))
    assert axes.get_xlim()[0] == low
    edge = axes.get_window_extent().x1
    assert edge - 10 < max(text.get_window_extent().x1 for text in axes.texts) <= edge
    assert min(label.get_window_extent().x0 for label in axes.get_yticklabels()) >= 0


def test_small_differences_stay_small():
    _, axes = canvas(3, "")
    scale(axes, [10, 10.1], [60, 60.01])
    low, high = axes.get_ylim()
    assert high - low > 1
    scale(axes, [10, 10.1], [60, 60.01], least=0.1)
    assert 0.2 < axes.get_ylim()[1] - axes.get_ylim()[0] < 0.3
    low, high = axes.get_xlim()
    assert high - low > 2


def test_both_files_are_written(tmp_path):
    written = save(lambda: canvas(2, "words")[0], tmp_path / "a.b")
    assert written == [tmp_path / "a.b.png", tmp_path / "a.b.svg"]
    assert all(path.stat().st_size > 1000 for path in written)
