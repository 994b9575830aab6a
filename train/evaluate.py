"""mIoU of a PyTorch model, by the same preprocessing and counting as an engine's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from emca.cli import progress
from emca.errors import UserError
from segdata.datasets import Dataset
from segdata.metrics import ConfusionMatrix
from segdata.preprocess import fit, restore
from train.data import first_error, one_opencv_thread, raising
from train.models.network import Network

BATCH = 4


class _Fitted(TorchDataset[Any]):
    """Images at the evaluated size with their labels at the source size, one process's share."""

    def __init__(self, dataset: Dataset, size: tuple[int, int], indices: range) -> None:
        self.dataset, self.size, self.indices = dataset, size, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[Tensor, Any] | UserError:
        try:
            sample = self.dataset[self.indices[place]]
        except UserError as error:
            return error
        return torch.from_numpy(fit(sample.image, self.size)), sample.label


def _columns(samples: list[Any]) -> tuple[tuple[Any, ...], ...] | UserError:
    return first_error(samples) or tuple(zip(*samples, strict=True))


def predict_labels(model: Network, images: Tensor) -> Tensor:
    """Labels of a batch.

    Args:
        model: in evaluation mode.
        images: BxHxWx3 uint8 RGB.

    Returns:
        BxHxW uint8.
    """
    scores = model.class_scores(model(images.permute(0, 3, 1, 2)))
    return model.upsample(scores, images.shape[1:3]).argmax(dim=1).to(torch.uint8)


@torch.no_grad()
def evaluate(
    model: Network,
    dataset: Dataset,
    size: tuple[int, int],
    *,
    workers: int = 0,
    process: int = 0,
    processes: int = 1,
) -> ConfusionMatrix:
    """Count this process's share of a labelled data set; `model` is left in evaluation mode.

    Args:
        size: (H, W) the images are fitted to.
    """
    model.eval()
    one_opencv_thread()
    device = next(model.parameters()).device
    loader = DataLoader(
        _Fitted(dataset, size, range(process, len(dataset), processes)),
        batch_size=BATCH,
        num_workers=workers,
        collate_fn=_columns,
    )
    matrix = ConfusionMatrix(len(dataset.taxonomy.classes))
    for images, labels in progress(raising(loader), desc="evaluate", total=len(loader)):
        predicted = predict_labels(model, torch.stack(images).to(device)).cpu().numpy()
        for prediction, label in zip(predicted, labels, strict=True):
            matrix.update(label, restore(prediction, label.shape))
    return matrix
