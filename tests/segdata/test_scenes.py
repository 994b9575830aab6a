from __future__ import annotations

import numpy as np
import pytest

from emca.errors import UserError
from segdata.classes import SCENES
from segdata.datasets import open_dataset


def test_defaults() -> None:
    val, train = open_dataset("scenes"), open_dataset("scenes::train")
    assert (len(val), len(train)) == (64, 400)
    assert val.names[:2] == ["val/00000", "val/00001"]
    assert val[0].image.shape == (256, 512, 3)
    assert val.taxonomy is SCENES


def test_options() -> None:
    dataset = open_dataset("scenes:n=500,size=120x160:train")
    assert len(dataset) == 500
    sample = dataset[499]
    assert sample.name == "train/00499"
    assert sample.label is not None
    assert sample.label.shape == sample.image.shape[:2] == (120, 160)
    assert open_dataset("scenes:n=2", labels=False)[0].label is None


def test_a_scene_is_the_same_every_time_and_however_many_there_are() -> None:
    few, many = open_dataset("scenes:n=3,size=96x128"), open_dataset("scenes:n=9,size=96x128")
    many[0]
    for k in (2, 1):
        assert np.array_equal(few[k].image, many[k].image)
        assert np.array_equal(few[k].label, many[k].label)


def test_no_two_scenes_are_alike_within_or_across_splits() -> None:
    pictures = [
        dataset[k].image.astype(float)
        for dataset in (
            open_dataset(f"scenes:n=6,size=64x128:{s}") for s in ("train", "val", "test")
        )
        for k in range(6)
    ]
    for k, first in enumerate(pictures):
        assert all(np.abs(first - second).mean() > 8 for second in pictures[:k])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "scenes::trian",
            r"unknown split 'trian' \(did you mean \"train\"\?\); scenes has train, val",
        ),
        ("scenes:m=5", "unknown option 'm=5'; scenes takes n=COUNT and size=HxW"),
        ("scenes:n=0", "n=0 is no count of scenes; write n=64"),
        ("scenes:n=-1", "n=-1 is no count"),
        ("scenes:size=256", "size 256: write HEIGHTxWIDTH in pixels, at least 32"),
        ("scenes:size=8x512", "size 8x512: write HEIGHTxWIDTH in pixels, at least 32"),
    ],
)
def test_wrong_options(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(spec)
