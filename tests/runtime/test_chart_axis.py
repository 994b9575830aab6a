import pytest

from runtime.chart_axis import Axis, clip, tick_label


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


def test_wide_ranges_are_logarithmic():
    wide = Axis.across([10.0, 100.0, 140.0])
    assert wide.ticks == (10, 20, 50, 100)
    assert wide.at(100) - wide.at(50) == pytest.approx(wide.at(20) - wide.at(10), abs=0.2)
    assert not Axis.across([10.0, 90.0]).log


@pytest.mark.parametrize("values", [[10.0], [10.0, 10.0], [0.0, 0.0], [10.0, 10.1]])
def test_equal_latencies_have_an_axis(values):
    axis = Axis.across(values)
    assert axis.low <= min(values)
    assert axis.high > max(values)


def test_short_texts():
    assert [tick_label(v) for v in (0.5, 9000, 20000, -1)] == ["0.5", "9000", "20k", "−1"]
    assert clip("abcdef", 4) == "abc…"
    assert clip("abcd", 4) == "abcd"
