"""Pixel decoders: backbone features in, stride-4 mask features and three decoder levels out."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; keeps the size at stride 1."""

    def __init__(
        self, in_dim: int, out_dim: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_dim, out_dim, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_dim)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, a=1)


class ContextModulation(nn.Module):
    """Context-based self-modulation: channels weighted by what the whole image holds.

    PEM (arXiv 2402.19422, section 3.3).
    """

    float_layers: ClassVar = ("squeeze", "expand")

    def __init__(self, dim: int, *, reduction: int = 2) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(dim, dim // reduction, 1)
        self.expand = nn.Conv2d(dim // reduction, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """BxCxHxW -> BxCxHxW."""
        context = x.mean(dim=(2, 3), keepdim=True)
        return x + x * self.expand(F.relu(self.squeeze(context))).sigmoid()


class Pyramid(nn.Module):
    """A pixel decoder whose levels all have the same width: each backbone map is projected to it.

    Args:
        in_channels: channels of the backbone maps at strides 4, 8, 16, 32.
        dim: channels of the pyramid.
    """

    def __init__(self, *, in_channels: list[int], dim: int) -> None:
        super().__init__()
        self.out_dim = dim
        self.in_projections = nn.ModuleList(ConvNormAct(c, dim, 1) for c in in_channels)


class FPN(Pyramid):
    """The light pixel decoder: lateral 1x1, context self-modulation, upsampling; nothing deforms.

    Args:
        in_channels, dim: see `Pyramid`.
        mask_dim: channels of the mask features.
    """

    float_layers: ClassVar = ("global_context",)

    def __init__(self, *, in_channels: list[int], dim: int, mask_dim: int) -> None:
        super().__init__(in_channels=in_channels, dim=dim)
        self.global_context = nn.Sequential(nn.Conv2d(in_channels[-1], dim, 1), nn.ReLU())
        self.modulation = nn.ModuleList(ContextModulation(dim) for _ in in_channels)
        # A dense 3x3 at stride 4 would cost as much as a ResNet-18; depth-wise suffices there.
        self.smooth = nn.ModuleList(
            ConvNormAct(dim, dim, 3, groups=dim if level == 0 else 1)
            for level in range(len(in_channels))
        )
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Fuse the pyramid from coarse to fine.

        Args:
            features: maps at strides 4, 8, 16, 32 (BxCxhxw; sizes need not divide).

        Returns:
            Mask features BxCmxH/4xW/4, and the maps at strides 32, 16, 8.
        """
        coarser = self.global_context(features[-1].mean(dim=(2, 3), keepdim=True))
        levels = []
        for level in reversed(range(len(features))):
            x = self.modulation[level](self.in_projections[level](features[level]))
            if level < len(features) - 1:
                coarser = F.interpolate(
                    coarser, size=x.shape[-2:], mode="bilinear", align_corners=False
                )
            coarser = self.smooth[level](x + coarser)
            levels.append(coarser)
        return self.mask_features(levels[-1]), levels[:-1]
