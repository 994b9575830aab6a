from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segdata.classes import CITYSCAPES, CITYSCAPES_LABEL_TO_TRAIN
from segdata.metrics import ConfusionMatrix
from segdata.preprocess import Bytes, read_label


def official_scores(pairs: list[tuple[Path, Path]]) -> dict[str, Any]:
    """What cityscapesScripts reports on (truth, prediction) files of label ids."""
    script = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    script.args.evalInstLevelScore = False
    script.args.JSONOutput = False
    script.args.quiet = True
    truths, predictions = zip(*((str(t), str(p)) for t, p in pairs), strict=True)
    scores: dict[str, Any] = script.evaluateImgLists(list(predictions), list(truths), script.args)
    return scores


def check_against_official(pairs: list[tuple[Path, Path]]) -> None:
    official = official_scores(pairs)
    ours = ConfusionMatrix(19)
    for truth, prediction in pairs:
        ours.update(
            CITYSCAPES_LABEL_TO_TRAIN[read_label(truth)],
            CITYSCAPES_LABEL_TO_TRAIN[read_label(prediction)],
        )
    expected = [official["classScores"][name] for name in CITYSCAPES.classes]
    np.testing.assert_array_equal(ours.iou, expected)  # to the last bit, nan included
    assert ours.miou == pytest.approx(official["averageScoreClasses"], rel=1e-15)
    assert 0 < ours.miou < 1


def test_random_maps_score_as_in_cityscapes_scripts(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Void in the truth, void predicted, a class that is nowhere, one that is only predicted."""
    pairs = []
    for k in range(3):
        truth = rng.integers(0, 31, (50, 70), np.uint8)  # ids 31..33 do not occur
        prediction = np.where(
            rng.random(truth.shape) < 0.6, truth, rng.integers(0, 33, truth.shape)
        )
        paths = (tmp_path / f"{k}_gtFine_labelIds.png", tmp_path / f"{k}_pred.png")
        for path, labels in zip(paths, (truth, prediction.astype(np.uint8)), strict=True):
            cv2.imwrite(str(path), labels)
        pairs.append(paths)
    check_against_official(pairs)


def test_the_real_sample_scores_as_in_cityscapes_scripts(shared: Path, tmp_path: Path) -> None:
    (truth,) = (shared / "cityscapes_sample").rglob("*_gtFine_labelIds.png")
    prediction = np.roll(read_label(truth), (5, 9), (0, 1))
    cv2.imwrite(str(tmp_path / "prediction.png"), prediction)
    check_against_official([(truth, tmp_path / "prediction.png")])


TRUTH = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 1, 1], [0, 1, 0, 2]], np.uint8)


def counted(num_classes: int = 4) -> ConfusionMatrix:
    result = ConfusionMatrix(num_classes)
    result.update(TRUTH, PREDICTION)
    return result


def test_counts_by_hand() -> None:
    result = counted()
    assert result.matrix.dtype == np.int64
    assert result.matrix.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(result.iou, [0.5, 0.5, np.nan, np.nan])
    assert result.miou == 0.5
    assert result.pixel_accuracy == pytest.approx(4 / 6)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    result = counted()
    result.update(np.array([0]), np.array([3]))
    np.testing.assert_array_equal(result.iou, [2 / 5, 0.5, np.nan, 0.0])
    assert result.miou == pytest.approx(0.3)


def test_predicting_nothing_is_a_miss() -> None:
    result = counted()
    result.update(np.array([0, 0]), np.array([255, 255]))
    np.testing.assert_array_equal(result.iou[:2], [2 / 6, 0.5])
    assert result.pixel_accuracy == pytest.approx(4 / 8)


def test_adding_is_counting_together() -> None:
    double = counted() + counted()
    assert double.matrix.tolist() == (2 * counted().matrix).tolist()
    assert double.miou == counted().miou
    with pytest.raises(ValueError, match="different classes"):
        counted(3) + counted(4)


def test_counts_stay_exact_beyond_float32() -> None:
    result = ConfusionMatrix(2)
    result.update(np.zeros(1, np.uint8), np.ones(1, np.uint8))
    result._counts[0, 0] = 1 << 40
    result.update(np.zeros(1, np.uint8), np.zeros(1, np.uint8))
    assert result.matrix[0].tolist() == [(1 << 40) + 1, 1]


def test_batches_and_wide_integers_are_fine() -> None:
    batch = ConfusionMatrix(4)
    batch.update(
        np.stack([TRUTH] * 2).astype(np.int64), np.stack([PREDICTION] * 2).astype(np.int32)
    )
    assert batch.matrix.tolist() == (counted() + counted()).matrix.tolist()


def test_nothing_counted_has_no_score() -> None:
    empty = ConfusionMatrix(3)
    empty.update(np.full((2, 2), 255), np.zeros((2, 2), int))
    assert math.isnan(empty.miou)
    assert math.isnan(empty.pixel_accuracy)
    assert empty.to_dict() == {
        "miou": None,
        "pixel_accuracy": None,
        "iou": [None, None, None],
        "pixels": 0,
    }


def test_to_dict_is_json() -> None:
    values = json.loads(json.dumps(counted().to_dict()))
    assert values["iou"] == [0.5, 0.5, None, None]
    assert values["miou"] == 0.5
    assert values["pixels"] == 6


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (TRUTH, PREDICTION[:1], r"truth is \(2, 4\) but prediction is \(1, 4\)"),
        (np.array([7]), np.array([0]), r"truth holds label 7, outside 0\.\.3"),
        (np.array([0]), np.array([4]), r"prediction holds label 4, outside 0\.\.3"),
        (np.array([0]), np.array([-1]), r"prediction holds label -1, outside 0\.\.3"),
    ],
)
def test_labels_that_do_not_fit(truth: Bytes, prediction: Bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(4).update(truth, prediction)
