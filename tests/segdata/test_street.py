from __future__ import annotations

import numpy as np
import pytest

from segdata.classes import SCENES
from segdata.scene_canvas import PAVEMENT, ROAD, SKY
from segdata.street import draw_street


def scenes(count: int, size: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_street(np.random.default_rng([5, k]), size) for k in range(count)]


def test_streets_hold_every_class_and_nothing_else() -> None:
    labels = [label for _, label in scenes(24, (256, 512))]
    counts = np.bincount(np.concatenate([label.ravel() for label in labels]), minlength=256)
    assert counts[len(SCENES.classes) :].sum() == 0
    shares = counts[: len(SCENES.classes)] / counts.sum()
    assert shares.min() > 0.005
    assert shares.max() < 0.5
    assert np.mean([len(np.unique(label)) for label in labels]) > 7.5


def test_a_street_looks_like_one() -> None:
    for image, label in scenes(6, (128, 256)):
        row = {kind: np.nonzero(label == kind)[0] for kind in (SKY, ROAD, PAVEMENT)}
        assert row[SKY].mean() < 50
        assert row[ROAD].mean() > 80
        assert row[PAVEMENT].mean() > 64
        assert image[label == SKY].mean() > image[label == ROAD].mean()
        assert image.std() > 25


def test_labels_follow_the_picture() -> None:
    """Where the label changes, so does the picture: far more than inside the classes."""
    image, label = draw_street(np.random.default_rng(3), (256, 512))
    steps = np.abs(np.diff(image.astype(int), axis=1)).mean(axis=2)
    borders = label[:, 1:] != label[:, :-1]
    assert steps[borders].mean() > 2 * steps[~borders].mean()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (480, 360), (64, 512), (512, 1024)])
def test_any_size(size: tuple[int, int]) -> None:
    image, label = draw_street(np.random.default_rng(1), size)
    assert image.shape == (*size, 3)
    assert label.shape == size
    assert image.dtype == label.dtype == np.uint8
    assert len(np.unique(label)) >= 4


def test_another_size_shows_the_same_street() -> None:
    _, small = draw_street(np.random.default_rng(4), (128, 256))
    _, large = draw_street(np.random.default_rng(4), (256, 512))
    assert (large[1::2, 1::2] == small).mean() > 0.93
