"""The stream of training samples: a pure function of seed and position, so a run can resume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from emca.errors import UserError
from segdata.datasets import Dataset
from train.augment import augment
from train.config import AugmentConfig

T = TypeVar("T")


class Batch(NamedTuple):
    """B augmented samples."""

    images: Tensor
    """Bx3xHxW uint8 RGB, channels last in memory."""
    labels: Tensor
    """BxHxW uint8, 255 = unlabelled."""
    seeds: list[int]
    """One per sample, for the loss."""


class SampleStream(TorchDataset[Any]):
    """Augmented samples by position in an endless, shuffled sequence of epochs."""

    def __init__(self, dataset: Dataset, config: AugmentConfig, *, seed: int) -> None:
        self.dataset = dataset
        self.config = config
        self.seed = seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, int] | UserError:
        try:
            return self._sample(position)
        except UserError as error:
            return error

    def _sample(self, position: int) -> tuple[Tensor, Tensor, int]:
        epoch, place = divmod(position, len(self.dataset))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
        sample = self.dataset[int(order[place])]
        assert sample.label is not None
        rng = np.random.default_rng((self.seed, epoch, place))
        image, label = augment(sample.image, sample.label, self.config, rng)
        return (
            torch.from_numpy(image),
            torch.from_numpy(label),
            int(rng.integers(1 << 62)),
        )


class PositionSampler:
    """Batches of positions from a given step on; process r of n takes its share of each batch."""

    def __init__(
        self, *, start: int, steps: int, batch_size: int, process: int, processes: int
    ) -> None:
        self.start, self.steps, self.batch_size = start, steps, batch_size
        self.share = batch_size // processes
        self.offset = process * self.share

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.steps):
            first = step * self.batch_size + self.offset
            yield list(range(first, first + self.share))


def training_loader(
    stream: SampleStream, sampler: PositionSampler, *, workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """Batches read ahead by worker processes."""
    one_opencv_thread()
    return DataLoader(
        stream,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )


def one_opencv_thread() -> None:
    """To be called before worker processes start: they run side by side anyway, and a forked one
    would wait for ever for the threads that OpenCV had in its parent."""
    cv2.setNumThreads(1)


def raising(batches: Iterable[T | UserError]) -> Iterator[T]:
    """Raise the mistake that a worker found in the data.

    Workers send it as a value: of an exception the loader would make a traceback.
    """
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def first_error(samples: list[Any]) -> UserError | None:
    """The mistake among the samples of a batch, if there is one."""
    return next((sample for sample in samples if isinstance(sample, UserError)), None)


def _collate(samples: list[Any]) -> Batch | UserError:
    if error := first_error(samples):
        return error
    images, labels, seeds = zip(*samples, strict=True)
    return Batch(
        torch.stack(images).permute(0, 3, 1, 2),
        torch.stack(labels),
        list(seeds),
    )
