from __future__ import annotations

import numpy as np
import pytest

from segdata.classes import ADE20K, CAMVID
from segdata.draw import colorize, legend, overlay, overlay_with_legend

PALETTE = ((250, 0, 0), (0, 240, 0))


def test_colorize_leaves_void_black() -> None:
    labels = np.array([[0, 1, 255]], np.uint8)
    assert colorize(labels, PALETTE).tolist() == [[[250, 0, 0], [0, 240, 0], [0, 0, 0]]]


def test_overlay_blends_inside_keeps_void_and_marks_borders() -> None:
    image = np.full((9, 12, 3), 100, np.uint8)
    labels = np.zeros((9, 12), np.uint8)
    labels[:, 4:8], labels[:, 8:] = 1, 255
    result = overlay(image, labels, PALETTE, alpha=0.5)
    assert result[5, 2].tolist() == [175, 50, 50]
    assert result[5, 6].tolist() == [50, 170, 50]
    assert result[5, 10].tolist() == [100, 100, 100]
    assert (result[:, 4] > result[:, 6]).all()  # the border is lighter
    assert (image == 100).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (37, 50)])
@pytest.mark.parametrize("alpha", [0, 0.3, 0.55, 1])
def test_overlay_is_what_its_formula_says(
    rng: np.random.Generator, size: tuple[int, int], alpha: float
) -> None:
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    labels = rng.integers(0, 14, size, np.uint8)
    labels[labels > 11] = 255
    palette = np.zeros((256, 3))
    palette[:11] = CAMVID.palette
    blended = np.rint(alpha * palette[labels] + (1 - alpha) * image)
    expected = np.where((labels < 11)[..., None], blended, image)
    border = np.zeros(size, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    expected = np.where(border[..., None], (expected + 255) // 2, expected)
    difference = overlay(image, labels, CAMVID.palette, alpha) - expected
    assert np.abs(difference).max() <= (0 if alpha in (0, 1) else 1)  # rounding of halves
    assert (difference == 0).mean() > 0.98


def test_the_legend_shows_the_colours_present_and_no_others() -> None:
    present = [0, 3, 255]
    strip = legend(CAMVID.classes, CAMVID.palette, present, 300, 14)
    colours = {tuple(c) for c in strip.reshape(-1, 3).tolist()}
    assert {CAMVID.palette[0], CAMVID.palette[3]} <= colours
    assert CAMVID.palette[4] not in colours
    dark = (strip.max(axis=2) < 120).sum()
    assert dark > 40  # names are written


def test_long_legends_take_more_rows() -> None:
    few = legend(ADE20K.classes, ADE20K.palette, range(3), 400, 12)
    many = legend(ADE20K.classes, ADE20K.palette, range(40), 400, 12)
    assert many.shape[0] > 3 * few.shape[0]
    assert many.shape[1] == few.shape[1] == 400


@pytest.mark.parametrize("size", [(48, 64), (360, 480), (1024, 2048)])
def test_overlay_with_legend_is_readable_at_any_size(
    size: tuple[int, int], rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 2 :] = 3
    result = overlay_with_legend(image, labels, CAMVID.classes, CAMVID.palette)
    assert result.shape[1] == size[1]
    assert 12 <= result.shape[0] - size[0] <= size[0]
    expected = overlay(image, labels, CAMVID.palette)
    assert np.array_equal(result[: size[0]], expected)


def test_a_picture_of_void_only_has_an_empty_legend() -> None:
    image = np.full((20, 60, 3), 90, np.uint8)
    result = overlay_with_legend(image, np.full((20, 60), 255, np.uint8), ("a", "b"), PALETTE)
    assert np.array_equal(result[:20], image)
