import numpy as np
import pytest

from segdata.classes import IGNORE_INDEX
from train.augment import augment, jitter_colors
from train.config import AugmentConfig

PLAIN = AugmentConfig(
    crop=(48, 64), short_side=96, scale=(1.0, 1.0), flip=False, color_jitter=False
)


def picture(height: int = 96, width: int = 128):
    """Each pixel's colour tells its class, so image and label can be compared afterwards."""
    label = np.arange(height * width, dtype=np.uint16).reshape(height, width) // 700 % 18
    label = label.astype(np.uint8)
    return np.repeat(label[..., None] * 10, 3, axis=2), label


@pytest.mark.parametrize("flip", [False, True])
def test_image_and_label_stay_together(flip):
    image, label = picture()
    config = AugmentConfig(**{**vars(PLAIN), "flip": flip})
    seen = set()
    for seed in range(8):
        out, out_label = augment(image, label, config, np.random.default_rng(seed))
        assert out.shape == (48, 64, 3)
        np.testing.assert_array_equal(out[..., 0], out_label * 10)
        seen.add(out_label.tobytes())
    assert len(seen) > 4


def test_the_generator_decides_everything():
    image, label = picture()
    config = AugmentConfig(crop=(48, 64), short_side=96)
    first, again, other = (
        augment(image, label, config, np.random.default_rng(seed))[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.1


def test_what_lies_outside_is_unlabelled():
    image, label = picture(40, 50)
    config = AugmentConfig(**{**vars(PLAIN), "short_side": 40})
    out, out_label = augment(image, label, config, np.random.default_rng(0))
    assert (out_label[40:] == IGNORE_INDEX).all()
    assert (out_label[:, 50:] == IGNORE_INDEX).all()
    np.testing.assert_array_equal(out_label[:40, :50], label)
    np.testing.assert_array_equal(out[47, 63], [124, 116, 104])


def test_a_crop_of_one_class_is_drawn_again():
    label = np.zeros((96, 512), np.uint8)
    label[:, 448:] = np.arange(64) % 5
    image = np.zeros((96, 512, 3), np.uint8)
    config = AugmentConfig(**{**vars(PLAIN), "max_class_ratio": 0.9})
    kept = [
        np.bincount(augment(image, label, config, np.random.default_rng(s))[1].ravel()).max()
        for s in range(20)
    ]
    plain = [
        np.bincount(augment(image, label, PLAIN, np.random.default_rng(s))[1].ravel()).max()
        for s in range(20)
    ]
    assert np.mean(kept) < np.mean(plain)


def test_colours_change_but_not_wildly():
    image = np.random.default_rng(0).integers(60, 180, (32, 32, 3), dtype=np.uint8)
    changes = [
        np.abs(jitter_colors(image, np.random.default_rng(s)).astype(int) - image).mean()
        for s in range(20)
    ]
    assert max(changes) > 10
    assert max(changes) < 90
