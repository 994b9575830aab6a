from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from segdata.classes import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_LABEL_TO_TRAIN,
    CITYSCAPES_LAST_LABEL,
    SCENES,
    Taxonomy,
    generated_palette,
)


@pytest.mark.parametrize(
    ("taxonomy", "count"), [(ADE20K, 150), (CITYSCAPES, 19), (CAMVID, 11), (SCENES, 9)]
)
def test_every_class_has_a_name_of_its_own_and_a_colour(taxonomy: Taxonomy, count: int) -> None:
    assert len(taxonomy.classes) == len(set(taxonomy.classes)) == len(taxonomy.palette) == count
    assert all(len(c) == 3 and 0 <= min(c) <= max(c) <= 255 for c in taxonomy.palette)


def test_cityscapes_is_what_its_own_scripts_say() -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    official = {label.trainId: label for label in labels if 0 <= label.trainId < 255}
    assert CITYSCAPES.classes == tuple(official[k].name for k in range(19))
    assert CITYSCAPES.palette == tuple(official[k].color for k in range(19))
    expected = np.full(256, 255)
    for label in labels:
        if label.id >= 0:
            expected[label.id] = label.trainId
    assert np.array_equal(CITYSCAPES_LABEL_TO_TRAIN, expected)
    assert max(label.id for label in labels) == CITYSCAPES_LAST_LABEL


def test_ade20k_names_follow_the_benchmark(shared: Path) -> None:
    with (shared / "ade20k_sample" / "objectInfo150.csv").open() as file:
        rows = [row["Name"].replace(";", " ") for row in csv.DictReader(file)]
    for name, row in zip(ADE20K.classes, rows, strict=True):
        assert f"{row} ".startswith(f"{name} ")


def test_ade20k_colours_at_both_ends_and_between() -> None:
    colours = dict(zip(ADE20K.classes, ADE20K.palette, strict=True))
    assert colours["wall"] == (120, 120, 120)
    assert colours["sky"] == (6, 230, 230)
    assert colours["swimming pool"] == (0, 184, 255)
    assert colours["flag"] == (92, 0, 255)


def test_generated_colours_are_stable_and_tell_neighbours_apart() -> None:
    palette = np.array(generated_palette(40), int)
    assert generated_palette(40)[:10] == generated_palette(10)
    assert len({tuple(c) for c in palette.tolist()}) == 40
    assert np.abs(np.diff(palette, axis=0)).sum(axis=1).min() > 60


def test_a_taxonomy_needs_a_colour_for_each_class() -> None:
    with pytest.raises(ValueError, match="2 classes but 1 colours"):
        Taxonomy("x", ("a", "b"), ((0, 0, 0),))
