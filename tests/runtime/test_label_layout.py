from itertools import combinations

import pytest

from runtime.label_layout import Box, Label, gap, place

AREA = Box(0, 0, 600, 400)


def labels(marks, width=80, height=12):
    return [Label((mark,), width, height) for mark in marks]


def test_boxes():
    box = Box.around((10, 20), 8, 4)
    assert box == Box(6, 18, 14, 22)
    assert box.centre == (10, 20)
    assert box.overlap(Box(12, 0, 100, 20)) == 4
    assert box.overlap(Box(14, 0, 100, 100)) == 0
    assert box.outside(Box(0, 0, 10, 100)) == 16
    assert box.holds((10, 20))
    assert not box.holds((6, 20))


def test_a_lone_label_stands_right_beside_its_mark():
    (placed,) = place(labels([(300, 200)]), marks=[(300, 200)], mark_size=10, area=AREA)
    assert gap(placed) == pytest.approx(5, abs=0.5)


def test_a_crowd_is_told_apart():
    marks = [(200 + 9 * k, 200 + 5 * (k % 3)) for k in range(12)]
    placed = place(labels(marks), marks=marks, mark_size=10, area=AREA)
    assert [spot.anchor for spot in placed] == marks
    for one, other in combinations(placed, 2):
        assert one.box.overlap(other.box) == 0
    for spot in placed:
        assert spot.box.outside(AREA) == pytest.approx(0)
        assert all(spot.box.overlap(Box.around(mark, 10, 10)) == 0 for mark in marks)
        assert gap(spot) < 160


def test_labels_stay_inside_and_avoid_lines():
    (placed,) = place(labels([(598, 398)]), marks=[(598, 398)], mark_size=10, area=AREA)
    assert placed.box.outside(AREA) == pytest.approx(0)
    lines = [(x, 200.0) for x in range(300, 600, 4)]
    (placed,) = place(
        labels([(300, 200)]), marks=[(300, 200)], mark_size=10, area=AREA, lines=lines
    )
    assert not any(placed.box.holds(spot) for spot in lines)


def test_a_label_takes_the_mark_with_more_room():
    crowd = [(300 + dx, 200 + dy) for dx in range(-90, 91, 12) for dy in range(-60, 61, 12)]
    label = Label(((300, 200), (100, 50)), 80, 12)
    (placed,) = place([label], marks=[*crowd, (100, 50)], mark_size=10, area=AREA)
    assert placed.anchor == (100, 50)
