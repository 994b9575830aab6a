"""Augmentation with OpenCV; every random number comes from the generator handed in."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from segdata.classes import IGNORE_INDEX
from segdata.preprocess import MEAN
from train.config import AugmentConfig

Image = NDArray[np.uint8]
CROP_ATTEMPTS = 10


def augment(
    image: Image, label: Image, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Random scale, crop, flip and colours.

    Args:
        image: HxWx3 RGB. label: HxW class indices.

    Returns:
        Image and label of size `config.crop`; what lies outside the picture is mean-coloured
        and unlabelled.
    """
    image, label = _rescale(image, label, config, rng)
    image, label = _crop(image, label, config, rng)
    if config.flip and rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    if config.color_jitter:
        image = jitter_colors(image, rng)
    return np.ascontiguousarray(image), np.ascontiguousarray(label)


def _rescale(
    image: Image, label: Image, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Image, Image]:
    factor = config.short_side * rng.uniform(*config.scale) / min(label.shape)
    size = (max(1, round(label.shape[1] * factor)), max(1, round(label.shape[0] * factor)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image, cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)


def _crop(
    image: Image, label: Image, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Image, Image]:
    height, width = config.crop
    for _ in range(CROP_ATTEMPTS):
        top = rng.integers(max(0, label.shape[0] - height) + 1)
        left = rng.integers(max(0, label.shape[1] - width) + 1)
        window = label[top : top + height, left : left + width]
        counts = np.bincount(window.ravel(), minlength=256)[:IGNORE_INDEX]
        if counts.max() <= config.max_class_ratio * max(1, counts.sum()):
            break
    image = image[top : top + height, left : left + width]
    border = (0, height - window.shape[0], 0, width - window.shape[1], cv2.BORDER_CONSTANT)
    if any(border[:4]):
        image = cv2.copyMakeBorder(image, *border, value=[round(m) for m in MEAN])
        window = cv2.copyMakeBorder(window, *border, value=IGNORE_INDEX)
    return image, window


def jitter_colors(image: Image, rng: np.random.Generator) -> Image:
    """Brightness, contrast, saturation, hue, each in half of the cases (SSD, arXiv 1512.02325)."""
    brightness = rng.uniform(-32, 32) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    image = cv2.convertScaleAbs(np.clip(image * contrast + brightness, 0, 255))
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    hue = rng.integers(-18, 19) if rng.random() < 0.5 else 0
    if saturation != 1.0 or hue:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + hue) % 180
        hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return image
