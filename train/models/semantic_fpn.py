"""Semantic FPN: the semantic branch of Panoptic FPN (Kirillov et al., CVPR 2019, arXiv 1901.02446).

Widths, norms and dropout as SwiftFormer (arXiv 2303.15446) and PoolFormer (arXiv 2111.11418) take
them from MMSegmentation.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from train.models.pixel_classifier import PixelPredictions
from train.models.pixel_decoder import ConvNormAct


class SemanticFPN(nn.Module):
    """A feature pyramid; each level convolved and doubled up to stride 4, the sum classified.

    Args:
        in_channels: channels of the backbone maps at strides 4, 8, 16, 32.
        dim: channels of the pyramid.
        head_dim: channels after it.
    """

    float_layers: ClassVar = ("classifier",)
    residuals: ClassVar = ("upsampled.0", "upsampled.1", "upsampled.2")

    def __init__(
        self, *, in_channels: list[int], num_classes: int, dim: int = 256, head_dim: int = 128
    ) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, dim, 1) for channels in in_channels)
        # What is added to a lateral convolution.
        self.upsampled = nn.ModuleList(nn.Identity() for _ in in_channels[1:])
        self.smooth = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in in_channels)
        for conv in (*self.laterals, *self.smooth):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        # One convolution per doubling; stride 4 has nothing to double and gets one all the same.
        self.scale_heads = nn.ModuleList(
            nn.ModuleList(
                ConvNormAct(dim if i == 0 else head_dim, head_dim, 3) for i in range(max(1, level))
            )
            for level in range(len(in_channels))
        )
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(head_dim, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: list[Tensor]) -> PixelPredictions:
        """Classify pixels.

        Args:
            features: maps at strides 4, 8, 16, 32 (BxCxhxw; sizes need not divide).

        Returns:
            Scores BxKxH/4xW/4.
        """
        sizes = [feature.shape[-2:] for feature in features]
        finest, *coarser = self._pyramid(features)
        total = self.scale_heads[0][0](finest)
        for level, x in enumerate(coarser, start=1):
            # To the size of the next finer map, which is twice its own where sizes divide.
            for conv, size in zip(self.scale_heads[level], reversed(sizes[:level]), strict=True):
                x = F.interpolate(conv(x), size=size, mode="bilinear", align_corners=False)
            total = total + x
        return PixelPredictions(self.classifier(self.dropout(total)))

    def _pyramid(self, features: list[Tensor]) -> list[Tensor]:
        maps = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        for level in reversed(range(len(maps) - 1)):
            coarser = F.interpolate(maps[level + 1], size=maps[level].shape[-2:], mode="nearest")
            maps[level] = maps[level] + self.upsampled[level](coarser)
        return [smooth(x) for smooth, x in zip(self.smooth, maps, strict=True)]
