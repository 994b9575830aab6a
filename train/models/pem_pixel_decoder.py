"""PEM's pixel decoder (Cavagnero et al., CVPR 2024, arXiv 2402.19422, section 3.3).

Parameters are named as in the released code, so its weights load.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from emca.errors import UserError
from train.models.deform_conv import ModulatedDeformConv2d
from train.models.pixel_decoder import ConvNormAct, Pyramid

KERNEL = 3
POINTS = KERNEL * KERNEL


class Squeeze(nn.Module):
    """1x1 convolution to half the channels, batch norm, ReLU, 1x1 convolution back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, dim // 2, 1, bias=False),
            nn.BatchNorm2d(dim // 2),
            nn.ReLU(),
            nn.Conv2d(dim // 2, dim, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """BxCxHxW -> BxCxHxW."""
        return self.mlp(x)


class SelfModulation(nn.Module):
    """Context-based self-modulation: channels weighted by what the whole image holds."""

    float_layers: ClassVar = ("mlp",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Squeeze(dim), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """BxCxHxW -> BxCxHxW."""
        # A second sigmoid: the paper has one, but published weights were trained with two.
        return x + x * self.mlp(x.mean(dim=(2, 3), keepdim=True)).sigmoid()


class DeformLayer(nn.Module):
    """A deformable 3x3 convolution, and its result upsampled by a transposed convolution."""

    float_layers: ClassVar = ("dcn_offset",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dcn_offset = nn.Conv2d(dim, 3 * POINTS, KERNEL, padding=KERNEL // 2)
        self.dcn = ModulatedDeformConv2d(
            in_dim=dim, out_dim=dim, kernel_size=KERNEL, padding=KERNEL // 2, bias=False
        )
        self.dcn_bn = nn.BatchNorm2d(dim)
        self.up_sample = nn.ConvTranspose2d(dim, dim, 4, stride=2, padding=1, bias=False)
        self.up_bn = nn.BatchNorm2d(dim)
        # At first nothing is shifted and every mask is one half.
        nn.init.zeros_(self.dcn_offset.weight)
        nn.init.zeros_(self.dcn_offset.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """BxCxHxW -> the same size, and BxCx2Hx2W."""
        # The released code calls the first two thirds x and y and joins them again: the
        # convolution reads them as (dy, dx) per kernel point all the same.
        offset, mask = self.dcn_offset(x).split((2 * POINTS, POINTS), dim=1)
        x = self.dcn_bn(self.dcn(x, offset, mask.sigmoid())).relu()
        return x, self.up_bn(self.up_sample(x)).relu()


class PEMPixelDecoder(Pyramid):
    """Top-down fusion with context self-modulation and deformable convolutions.

    Args:
        in_channels, dim: see `Pyramid`.
        mask_dim: channels of the mask features.
    """

    float_layers: ClassVar = ("conv_avg",)

    def __init__(self, *, in_channels: list[int], dim: int, mask_dim: int) -> None:
        super().__init__(in_channels=in_channels, dim=dim)
        self.conv_avg = ConvNormAct(in_channels[-1], dim, 1)
        self.csm = nn.ModuleList(SelfModulation(dim) for _ in in_channels)
        self.dcn = nn.ModuleList(DeformLayer(dim) for _ in in_channels[1:])
        self.out = ConvNormAct(dim, mask_dim, 1)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Fuse the pyramid from coarse to fine.

        Args:
            features: maps BxCxhxw at strides 4, 8, 16, 32; each side is half, rounded up, of the
                one before.

        Returns:
            Mask features BxCmxH/4xW/4, not negative, and the maps at strides 32, 16, 8.

        Raises:
            UserError: training on a single image. The norms over pooled maps need two.
        """
        if self.conv_avg.bn.training and len(features[0]) < 2:
            raise UserError(
                "model.pixel_decoder=pem trains on 2 or more images at a time, not on 1: "
                "raise batch_size or set freeze_norm=true"
            )
        coarser = self.conv_avg(features[-1].mean(dim=(2, 3), keepdim=True))
        projected = [
            project(feature) for project, feature in zip(self.in_projections, features, strict=True)
        ]
        levels = []
        for modulate, deform, x in zip(self.csm, self.dcn, projected[:0:-1], strict=False):
            x, coarser = deform(add(modulate(x), coarser))
            levels.append(x)
        return self.out(add(self.csm[-1](projected[0]), coarser)), levels


def add(x: Tensor, coarser: Tensor) -> Tensor:
    """Add an upsampled map, without the last row or column where the finer side is odd.

    Args:
        x: BxCxHxW. coarser: BxCxhxw with h from H to H + 1, w likewise, or BxCx1x1.
    """
    height, width = x.shape[-2:]
    if coarser.shape[-2] > height or coarser.shape[-1] > width:
        coarser = coarser[..., :height, :width]
    return x + coarser
