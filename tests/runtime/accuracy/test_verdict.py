from pathlib import Path

import numpy as np
import pytest

from emca.errors import UserError
from runtime.accuracy.batches import Batch, BatchCheck
from runtime.accuracy.counts import Counts, count, draws, near_borders
from runtime.accuracy.verdict import Check, Thresholds, Verdict, judge, table

CLASSES = ("sky", "road", "car")
ALONE = BatchCheck((), 0, 1)


def pair(wrong, images=40):
    """Counts of a reference that is always right and of one wrong in `wrong` columns of cars."""
    expected = np.zeros((10, 30), np.uint8)
    expected[:, 10:], expected[:, 20:] = 1, 2
    found = expected.copy()
    found[:, 20 : 20 + wrong] = 1
    near = near_borders(expected, 1)
    right = Counts.join([count(expected, expected, near, expected, 3)] * images)
    return right, Counts.join([count(found, expected, near, expected, 3)] * images)


def checks(counts, *, batches=ALONE, labelled=True, **thresholds):
    reference, candidate = counts
    return judge(
        reference,
        candidate,
        draws(len(reference.pixels), resamples=100, seed=0),
        thresholds=Thresholds(**thresholds),
        batches=batches,
        classes=CLASSES,
        boundary=1,
        labelled=labelled,
    )


def verdict(found):
    return Verdict(Path("m.onnx"), tuple(found), (), Path("m.json"), Path("m.html"))


def by_name(found):
    return {check.name: check for check in found}


def test_a_file_that_labels_alike_is_certified():
    found = checks(pair(0))
    assert all(check.passed is not False for check in found)
    assert by_name(found)["label agreement"].value == 100
    assert by_name(found)["ΔmIoU"].value == 0
    assert verdict(found).text == "certified: m.onnx meets every threshold"


def test_each_threshold_is_held_against_its_measure():
    found = by_name(checks(pair(1), max_drop=5, max_class_drop=5))
    # One of thirty columns; one of the four beside a border; cars 9 of 10, roads 10 of 11.
    assert found["label agreement"].value == pytest.approx(100 * 29 / 30)
    assert found["boundary agreement (1 px)"].value == pytest.approx(75)
    assert found["ΔmIoU"].value == pytest.approx(100 * ((1 + 10 / 11 + 0.9) / 3 - 1))
    assert found["ΔIoU of car"].value == pytest.approx(-10)
    missed = [name for name, check in found.items() if check.passed is False]
    assert missed == [
        "label agreement",
        "boundary agreement (1 px)",
        "ΔmIoU",
        "ΔIoU of car",
    ]
    text = verdict(found.values()).text
    assert text.startswith("NOT certified: m.onnx: label agreement is 96.67 %, 1.33 below 98.00 %")
    assert "ΔIoU of car is -10.00 points, 5.00 below -5.00 points (--max-class-drop)" in text


def test_thresholds_decide():
    easy = {"min_agreement": 96, "min_boundary": 75, "max_drop": 7}
    assert verdict(checks(pair(1), **easy)).certified
    for harder in ({"min_agreement": 97}, {"min_boundary": 76}, {"max_drop": 6}):
        missed = verdict(checks(pair(1), **(easy | harder))).missed
        option = next(iter(harder)).replace("_", "-")
        assert len(missed) == 1
        assert f"(--{option})" in missed[0]
    assert verdict(checks(pair(1), **(easy | {"min_boundary": None}))).certified
    assert not verdict(checks(pair(1), **easy, max_class_drop=9)).certified


def test_without_labels_only_agreement_counts():
    found = checks(pair(0), labelled=False)
    assert not any("IoU" in check.name for check in found)


def test_batches_count():
    wrong = BatchCheck((Batch(2, 1.0, 1.0), Batch(4, 0.8, 0.2)), 16, None)
    found = checks(pair(0), batches=wrong)
    assert verdict(found).missed == [
        "labels in batches is 80.00 %, 19.00 below 99.00 % (--min-batch)"
    ]
    assert verdict(checks(pair(0), batches=wrong, min_batch=80)).certified
    assert by_name(checks(pair(0)))["labels in batches"].remark == "batch 1 only"


def crossing(strict):
    return Check("ΔmIoU", "points", -0.4, -0.7, -0.1, -0.5, "--max-drop", strict)


def test_strict_asks_the_whole_interval():
    loose, strict = crossing(False), crossing(True)
    assert loose.passed
    assert "the interval reaches down to -0.70 points, beyond -0.50 points" in loose.doubt
    assert not strict.passed
    assert strict.doubt == ""
    assert "ΔmIoU, low end of its interval, is -0.70 points, 0.20 below" in strict.complaint
    assert [c.strict for c in checks(pair(0), strict=True) if c.name == "ΔmIoU"] == [True]


def test_what_meets_the_bound_exactly_passes_and_a_hair_less_does_not():
    assert Check("x", "%", 98.0, bound=98.0).passed
    close = Check("x", "%", 97.999, bound=98.0, option="--y")
    assert close.complaint == "x is 98.00 %, 0.001 below 98.00 % (--y)"


def test_what_was_not_asked_or_measured_neither_passes_nor_fails():
    assert Check("x", "%", 50.0).passed is None
    assert Check("x", "%", None, bound=98.0).passed is None
    assert Check("x", "%", None, bound=98.0).complaint == ""


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("max_drop", -1, "--max-drop=-1 is out of range; give 0 to 100 points"),
        ("min_agreement", 100.5, "--min-agreement=100.5 is out of range; give 0 to 100 percent"),
        ("min_boundary", float("nan"), "--min-boundary=nan is out of range"),
        ("max_class_drop", 101, "--max-class-drop=101 is out of range"),
        ("min_batch", -0.1, "--min-batch=-0.1 is out of range"),
    ],
)
def test_thresholds_out_of_range_are_refused(option, value, text):
    with pytest.raises(UserError) as error:
        Thresholds(**{option: value})
    assert text in str(error.value)


def test_table_tells_value_interval_bound_and_result():
    head, rule, *lines = table([crossing(False), Check("x", "%", 1.0, bound=2.0)]).splitlines()
    assert head.split()[0] == "measure"
    assert set(rule) == {"-"}
    first, second = (line.split() for line in lines)
    assert "-0.70 points … -0.10 points" in lines[0]
    assert (first[-1], second[-1]) == ("yes", "NO")
