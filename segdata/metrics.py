"""Segmentation quality from an integer confusion matrix, by the rules of Cityscapes' own script."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from segdata.classes import IGNORE_INDEX

Labels = npt.NDArray[np.integer[Any]]


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs, exact in integers, and the scores that follow.

    The rules are those of cityscapesScripts' `evalPixelLevelSemanticLabeling`: pixels whose truth
    is `ignore_index` count nowhere; a prediction of `ignore_index` on any other pixel is a miss
    of the true class; a class that is neither in the truth nor predicted has no IoU and does not
    enter the mean.
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        # The last column counts pixels predicted as `ignore_index`.
        self._counts = np.zeros((num_classes, num_classes + 1), np.int64)

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        """Pixel counts int64 [K,K]: rows are the truth, columns the prediction."""
        return self._counts[:, : self.num_classes]

    def update(self, truth: Labels, prediction: Labels) -> None:
        """Count the pixels of one or many label maps of equal shape.

        Raises:
            ValueError: the shapes differ, or a label is neither a class nor `ignore_index`.
        """
        if truth.shape != prediction.shape:
            raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
        counted = truth != self.ignore_index
        rows = truth[counted].astype(np.int64)
        columns = prediction[counted].astype(np.int64)
        missed = columns == self.ignore_index
        self._check("truth", rows)
        self._check("prediction", columns[~missed])
        columns[missed] = self.num_classes
        width = self.num_classes + 1
        pairs = np.bincount(rows * width + columns, minlength=self._counts.size)
        self._counts += pairs.reshape(self._counts.shape)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """The counts of both, as if one matrix had seen every pixel."""
        if (self.num_classes, self.ignore_index) != (other.num_classes, other.ignore_index):
            raise ValueError("confusion matrices of different classes cannot be added")
        total = ConfusionMatrix(self.num_classes, self.ignore_index)
        total._counts = self._counts + other._counts
        return total

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union per class, float64 [K] in 0..1; nan where a class is absent."""
        hits = np.diag(self.matrix)
        union = self._counts.sum(axis=1) + self.matrix.sum(axis=0) - hits
        iou = np.full(self.num_classes, np.nan)
        np.divide(hits, union, out=iou, where=union > 0)
        return iou

    @property
    def miou(self) -> float:
        """Mean IoU over the classes in truth or prediction, 0..1; nan when nothing was counted."""
        iou = self.iou
        present = ~np.isnan(iou)
        return float(iou[present].mean()) if present.any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of counted pixels that are right, 0..1; nan when nothing was counted."""
        total = int(self._counts.sum())
        return int(np.trace(self.matrix)) / total if total else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain values for JSON; None stands for a score that does not exist."""
        return {
            "miou": _plain(self.miou),
            "pixel_accuracy": _plain(self.pixel_accuracy),
            "iou": [_plain(value) for value in self.iou],
            "pixels": int(self._counts.sum()),
        }

    def _check(self, what: str, ids: npt.NDArray[np.int64]) -> None:
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
            wrong = ids[(ids < 0) | (ids >= self.num_classes)]
            raise ValueError(f"{what} holds label {wrong[0]}, outside 0..{self.num_classes - 1}")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
