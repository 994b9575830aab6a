"""Counts per image that parity is judged by, and intervals by resampling the images.

IoU is a ratio of sums over images, so its spread has no simple formula. The percentile bootstrap
(Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13) draws as many images
as there are, with replacement, again and again, and scores both files on the same draw. The counts
of an image are all that it takes: a draw is a row of weights, all draws one matrix product. Such
intervals are a little narrow for few images: those of 60 simulated ones hold the truth in about 92
of 100 cases instead of 95.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segdata.classes import IGNORE_INDEX

Labels = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A measure and its confidence interval; all None where it does not exist."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Interval:
        """The same in another unit; `factor` is positive."""
        ends = (self.value, self.low, self.high)
        return Interval(*(None if end is None else factor * end for end in ends))


@dataclass(frozen=True)
class Counts:
    """Pixels of n images and K classes, labelled by one file.

    Attributes:
        hits: int64 [n,K], pixels of each class that are labelled so.
        truth: int64 [n,K], pixels of each class in the truth.
        predicted: int64 [n,K], pixels labelled as each class, where the truth counts.
        equal, pixels: int64 [n], pixels labelled as by the reference, and all pixels.
        near_equal, near: int64 [n], the same among those near a border of the reference's labels.
    """

    hits: Integers
    truth: Integers
    predicted: Integers
    equal: Integers
    pixels: Integers
    near_equal: Integers
    near: Integers

    @classmethod
    def join(cls, images: Sequence[Counts]) -> Counts:
        """The counts of several sets of images as those of one set."""
        return cls(
            **{
                name: np.concatenate([getattr(image, name) for image in images])
                for name in cls.__dataclass_fields__
            }
        )

    @property
    def agreement(self) -> Floats:
        """Share of pixels labelled as by the reference, float64 [n] in 0..1."""
        return np.asarray(self.equal / self.pixels, dtype=np.float64)

    @property
    def iou(self) -> Floats:
        """IoU of each class over all images, float64 [K]; nan where a class is absent."""
        return np.asarray(_iou(self, np.ones((1, len(self.pixels))))[0])

    @property
    def miou(self) -> float:
        """Mean IoU over the classes in truth or prediction; nan when nothing was counted."""
        present = self.iou[~np.isnan(self.iou)]
        return float(present.mean()) if len(present) else float("nan")


def count(
    labels: Labels, reference: Labels, near: NDArray[np.bool_], truth: Labels | None, classes: int
) -> Counts:
    """The counts of one image.

    The rules for IoU are those of `segdata.metrics.ConfusionMatrix`: what the truth ignores counts
    nowhere, and a label that is no class, IGNORE_INDEX or any other, is a miss of the true one.

    Args:
        labels, reference: uint8 [H,W] by the file and by the reference.
        near: bool [H,W], see `near_borders`.
        truth: uint8 [H,W]; None leaves the counts for IoU at zero.
        classes: how many, K.
    """
    equal = labels == reference
    true, found = np.zeros(0, np.uint8), np.zeros(0, np.uint8)
    if truth is not None:
        counted = truth != IGNORE_INDEX
        true, found = truth[counted], labels[counted]

    def of_each(ids: Labels) -> Integers:
        return np.bincount(ids, minlength=classes)[None, :classes].astype(np.int64)

    def total(mask: NDArray[np.bool_]) -> Integers:
        return np.array([np.count_nonzero(mask)], np.int64)

    return Counts(
        hits=of_each(true[true == found]),
        truth=of_each(true),
        predicted=of_each(found),
        equal=total(equal),
        pixels=np.array([labels.size], np.int64),
        near_equal=total(equal & near),
        near=total(near),
    )


def near_borders(labels: Labels, width: int) -> NDArray[np.bool_]:
    """Pixels that have another class within `width` pixels, along either axis; bool [H,W].

    The band of the trimap measure (Kohli et al., "Robust Higher Order Potentials for Enforcing
    Label Consistency", IJCV 2009). The frame of the image is no border.
    """
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.dilate(labels, square) != cv2.erode(labels, square))


def draws(images: int, *, resamples: int, seed: int) -> Floats:
    """How often each image is in each resample, float64 [resamples, images]."""
    chances = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, chances, resamples).astype(np.float64)


def share(equal: Integers, pixels: Integers, weights: Floats) -> Interval:
    """Of all pixels the share that is equal, 0..1, from counts per image [n]."""
    if not pixels.sum():
        return Interval()
    return _interval(float(equal.sum() / pixels.sum()), _divided(weights @ equal, weights @ pixels))


def miou(counts: Counts, weights: Floats) -> Interval:
    """mIoU over all images, 0..1."""
    return _interval(counts.miou, _mean(_iou(counts, weights)))


def miou_difference(reference: Counts, candidate: Counts, weights: Floats) -> Interval:
    """mIoU of the candidate less that of the reference, 0..1, on the same images."""
    drawn = _mean(_iou(candidate, weights)) - _mean(_iou(reference, weights))
    return _interval(candidate.miou - reference.miou, drawn)


def iou_differences(reference: Counts, candidate: Counts, weights: Floats) -> list[Interval]:
    """The same for each class; one that is absent has none."""
    drawn = _iou(candidate, weights) - _iou(reference, weights)
    values = candidate.iou - reference.iou
    return [_interval(float(value), drawn[:, k]) for k, value in enumerate(values)]


def _iou(counts: Counts, weights: Floats) -> Floats:
    """IoU [R,K] of images that count as often as each row of `weights` [R,n] says."""
    hits = weights @ counts.hits
    return _divided(hits, weights @ (counts.truth + counts.predicted) - hits)


def _divided(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """nan where there is nothing to divide by."""
    result = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _mean(iou: Floats) -> Floats:
    """Mean [R] over the classes that are there."""
    return _divided(np.nansum(iou, axis=1), np.count_nonzero(~np.isnan(iou), axis=1))


def _interval(value: float, drawn: Floats) -> Interval:
    """The value with the middle of what was drawn; draws without the class say nothing."""
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(known):
        return Interval()
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))
