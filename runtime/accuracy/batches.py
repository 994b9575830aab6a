"""Whether a model labels images in batches as it labels them one by one.

Builders have been silently wrong for batches above 1 (NVIDIA/TensorRT#4853).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Backend, EngineFile, is_engine
from runtime.evaluate import to_labels
from segdata.datasets import Dataset
from segdata.preprocess import fit

# Different images in every batch; a batch that is wrong is wrong on any of them.
IMAGES = 16


@dataclass(frozen=True)
class Batch:
    """One batch size.

    Attributes:
        size: images in a batch.
        agreement: share of pixels labelled as one by one, 0..1; None where the file refuses it.
        worst: the same of the image that it is lowest for.
    """

    size: int
    agreement: float | None
    worst: float | None = None


@dataclass(frozen=True)
class BatchCheck:
    """Every batch size that was asked for.

    Attributes:
        batches: those above the smallest; a file of a fixed batch has that one alone.
        images: how many were run.
        fixed: the one batch size that the file takes; None where it takes several.
        least: the smallest batch, which the others are compared with.
    """

    batches: tuple[Batch, ...]
    images: int
    fixed: int | None
    least: int = 1

    @property
    def agreement(self) -> float | None:
        """The lowest of the batch sizes; None when none was run."""
        return min((b.agreement for b in self.batches if b.agreement is not None), default=None)

    @property
    def text(self) -> str:
        """What was run, in a few words."""
        if self.fixed is not None:
            return "batch 1 only" if self.fixed == 1 else f"fixed batch {self.fixed}"
        run = ", ".join(str(batch.size) for batch in self.batches if batch.agreement is not None)
        refused = ", ".join(str(batch.size) for batch in self.batches if batch.agreement is None)
        found = f"batch {run} against batch {self.least}" if run else f"no batch above {self.least}"
        return found + (f"; its profiles lack batch {refused}" if refused else "")


def check_batches(
    backend: Backend, dataset: Dataset, images: int, sizes: Sequence[int]
) -> BatchCheck:
    """Label some images one by one and in batches of each size.

    A file of a fixed batch is run at that size alone: with different images in a batch, against
    batches of one image repeated.

    Args:
        dataset: its first `images` may be used; some of them are, evenly spread.
        sizes: batch sizes to try; the smallest that the file takes is what they are compared with.
    """
    fixed = backend.input_shape[0]
    asked = [fixed] if fixed else sorted(set(sizes))
    least = 1 if fixed else backend.least_batch
    runs = {size: _takes(backend, size) for size in asked if size > least}
    if not any(runs.values()):
        return BatchCheck(tuple(Batch(size, None) for size in runs), 0, fixed, least)
    picked = np.linspace(0, images - 1, min(IMAGES, images)).round().astype(int)
    height, width = backend.input_shape[1:3]
    fitted = np.stack([fit(dataset[int(index)].image, (height, width)) for index in picked])
    repeated = (np.repeat(image[None], backend.least_batch, axis=0) for image in fitted)
    alone = np.concatenate([labels_of(backend, batch)[:1] for batch in repeated])
    batches = [
        _compared(backend, fitted, alone, size) if taken else Batch(size, None)
        for size, taken in runs.items()
    ]
    return BatchCheck(tuple(batches), len(fitted), fixed, least)


def labels_of(backend: Backend, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels uint8 [N,H,W] of one batch uint8 [N,H,W,3] of the model's own size."""
    outputs = backend.infer(images)
    size = (images.shape[1], images.shape[2])
    return np.stack(
        [
            to_labels({name: value[k] for name, value in outputs.items()}, size)
            for k in range(len(images))
        ]
    )


def _takes(backend: Backend, size: int) -> bool:
    """Whether the file runs this batch; of an engine with open batches its profiles know."""
    if backend.input_shape[0] is not None or not is_engine(backend.path):
        return True
    shape = (size, *backend.input_shape[1:])
    return any(shape in profile for profile in EngineFile.read(backend.path).profiles)


def _compared(
    backend: Backend, images: NDArray[np.uint8], alone: NDArray[np.uint8], size: int
) -> Batch:
    """In batches of `size`; the last one is filled up from the start."""
    rounds = -(-len(images) // size)
    order = np.arange(rounds * size) % len(images)
    shares: list[Any] = []
    for places in order.reshape(rounds, size):
        equal = labels_of(backend, images[places]) == alone[places]
        shares += list(equal.mean(axis=(1, 2)))
    return Batch(size, float(np.mean(shares)), float(np.min(shares)))
