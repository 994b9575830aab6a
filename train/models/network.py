"""What every architecture offers, whatever it is made of."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segdata.preprocess import MEAN, STD


class Network(nn.Module):
    """A segmentation network: image in, predictions out, and class scores from predictions.

    `forward` takes Bx3xHxW RGB in 0..255, any dtype, any size from 32x32. In training its
    predictions hold what the loss wants besides, in evaluation the result alone.

    A network and its parts may tell `train.quantize` names of submodules: `float_layers`, which
    INT8 leaves in floating point, and `residuals`, whose output is added to a convolution's.

    Attributes:
        align_corners: how maps are brought to the size of the image, as `F.interpolate` means it.
    """

    align_corners = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def normalize(self, image: Tensor) -> Tensor:
        """Bx3xHxW in 0..255 -> float with the mean and deviation of ImageNet taken out."""
        return (image.float() - self.mean) / self.std

    def class_scores(self, predictions: Any) -> Tensor:
        """BxKxhxw float scores from what `forward` returned; the argmax is the label."""
        raise NotImplementedError

    def upsample(self, maps: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """BxCxhxw -> BxCxHxW, bilinear."""
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=self.align_corners)
