"""STDC backbones (Fan et al., CVPR 2021, arXiv 2104.13188), named as in the released code."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

BLOCKS = {"stdc1": (2, 2, 2), "stdc2": (4, 5, 3)}
CHANNELS = (64, 256, 512, 1024)


class ConvX(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_dim)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class CatBottleneck(nn.Module):
    """Short-term dense concatenation: four convolutions of halving width, all of them kept."""

    def __init__(self, in_dim: int, out_dim: int, *, stride: int) -> None:
        super().__init__()
        self.conv_list = nn.ModuleList(
            [
                ConvX(in_dim, out_dim // 2, kernel=1),
                ConvX(out_dim // 2, out_dim // 4),
                ConvX(out_dim // 4, out_dim // 8),
                ConvX(out_dim // 8, out_dim // 8),
            ]
        )
        self.avd_layer: nn.Module = nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            self.avd_layer = nn.Sequential(
                nn.Conv2d(out_dim // 2, out_dim // 2, 3, 2, 1, groups=out_dim // 2, bias=False),
                nn.BatchNorm2d(out_dim // 2),
            )
            self.skip = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_list[0](x)
        x = self.avd_layer(first)
        parts = [self.skip(first)]
        for conv in self.conv_list[1:]:
            x = conv(x)
            parts.append(x)
        return torch.cat(parts, dim=1)


class STDC(nn.Module):
    """STDC1 or STDC2; returns the maps at strides 4, 8, 16, 32."""

    channels: ClassVar[list[int]] = list(CHANNELS)

    def __init__(self, *, blocks: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvX(3, 32, stride=2), ConvX(32, 64, stride=2)]
        self.ends = [2]
        for in_dim, out_dim, count in zip(CHANNELS, CHANNELS[1:], blocks, strict=False):
            layers.append(CatBottleneck(in_dim, out_dim, stride=2))
            layers += [CatBottleneck(out_dim, out_dim, stride=1) for _ in range(count - 1)]
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Bx3xHxW -> four maps."""
        maps = []
        x = image
        for i, layer in enumerate(self.features, start=1):
            x = layer(x)
            if i in self.ends:
                maps.append(x)
        return maps
