"""PIDNet (Xu et al., CVPR 2023, arXiv 2206.02066), with parameters named as in the released code.

Three branches meet at stride 8: P keeps detail, I gathers context down to stride 64, D finds
boundaries and decides between the two.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from emca.errors import UserError, nearest
from train.models.pidnet_blocks import (
    DAPPM,
    PAPPM,
    Bag,
    BasicBlock,
    Bottleneck,
    LightBag,
    PixelAttention,
    SegmentationHead,
    conv_norm,
    resize,
)
from train.models.pixel_classifier import PixelClassifier, PixelPredictions


class Variant(NamedTuple):
    """The size of a PIDNet; the deep one also has heavier modules where the branches meet."""

    width: int
    depths: tuple[int, int]
    """Blocks of a stage at strides 4 and 8, and of one at strides 16 and 32."""
    pool_dim: int
    head_dim: int
    deep: bool = False


VARIANTS = {
    "pidnet_s": Variant(32, (2, 3), 96, 128),
    "pidnet_m": Variant(64, (2, 3), 96, 128),
    "pidnet_l": Variant(64, (3, 4), 112, 256, deep=True),
}


class Branches(NamedTuple):
    """Maps at stride 8."""

    fused: Tensor
    detail: Tensor
    """What the auxiliary head sees in training."""
    boundary: Tensor
    """What the boundary head sees in training."""


class PIDNetBackbone(nn.Module):
    """The three branches and their fusion."""

    # Of the blocks whose sum, not resized, is the input of a convolution.
    residuals: ClassVar = tuple(f"layer{stage}.0.downsample" for stage in (2, 3, 4, 5))

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        width, (short, long) = variant.width, variant.depths
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.layer1 = _stage(width, width, short)
        self.layer2 = _stage(width, width * 2, short, stride=2)
        self.layer3 = _stage(width * 2, width * 4, long, stride=2)
        self.layer4 = _stage(width * 4, width * 8, long, stride=2)
        self.layer5 = nn.Sequential(
            Bottleneck(width * 8, width * 8, stride=2), Bottleneck(width * 16, width * 8)
        )

        self.compression3 = conv_norm(width * 4, width * 2)
        self.compression4 = conv_norm(width * 8, width * 2)
        self.pag3 = PixelAttention(width * 2, width)
        self.pag4 = PixelAttention(width * 2, width)
        self.layer3_ = _stage(width * 2, width * 2, short)
        self.layer4_ = _stage(width * 2, width * 2, short)
        self.layer5_ = nn.Sequential(Bottleneck(width * 2, width * 2))

        narrow = width * 2 if variant.deep else width
        self.layer3_d = BasicBlock(width * 2, narrow, relu=False)
        self.layer4_d: nn.Module
        if variant.deep:
            self.layer4_d = BasicBlock(width * 2, width * 2, relu=False)
        else:
            self.layer4_d = nn.Sequential(Bottleneck(width, width))
        self.layer5_d = nn.Sequential(Bottleneck(width * 2, width * 2))
        self.diff3 = conv_norm(width * 4, narrow, 3)
        self.diff4 = conv_norm(width * 8, width * 2, 3)

        pyramid = DAPPM if variant.deep else PAPPM
        self.spp = pyramid(width * 16, variant.pool_dim, width * 4)
        self.dfm = Bag(width * 4) if variant.deep else LightBag(width * 4)

    def forward(self, image: Tensor) -> Branches:
        """Bx3xHxW -> maps at stride 8."""
        x = F.relu(self.layer1(self.conv1(image)))
        x = F.relu(self.layer2(x))
        p = self.layer3_(x)
        d = self.layer3_d(x)

        x = F.relu(self.layer3(x))
        detail = F.relu(self.pag3(p, self.compression3(x)))
        d = F.relu(d + resize(self.diff3(x), d))

        x = F.relu(self.layer4(x))
        p = self.layer4_(detail)
        d = self.layer4_d(d)
        p = F.relu(self.pag4(p, self.compression4(x)))
        boundary = F.relu(d + resize(self.diff4(x), d))

        p = self.layer5_(p)
        d = self.layer5_d(boundary)
        context = resize(self.spp(self.layer5(x)), p)
        return Branches(fused=self.dfm(p, context, d), detail=detail, boundary=boundary)


class PIDNetHead(nn.Module):
    """The final head, and in training the heads of branches P and D."""

    float_layers: ClassVar = ("seghead_p", "seghead_d", "final_layer.conv2")

    def __init__(self, variant: Variant, *, num_classes: int) -> None:
        super().__init__()
        width = variant.width
        self.seghead_p = SegmentationHead(width * 2, variant.head_dim, num_classes)
        self.seghead_d = SegmentationHead(width * 2, width, 1)
        self.final_layer = SegmentationHead(width * 4, variant.head_dim, num_classes)

    def forward(self, branches: Branches) -> PixelPredictions:
        """Scores BxKxH/8xW/8; in training also those of P, and the boundary's from D."""
        scores = self.final_layer(branches.fused)
        if not self.training:
            return PixelPredictions(scores)
        return PixelPredictions(
            scores,
            auxiliary=self.seghead_p(branches.detail),
            boundary=self.seghead_d(branches.boundary),
        )


def build_pidnet(*, name: str, num_classes: int) -> PixelClassifier:
    """PIDNet-S, -M or -L with random weights.

    Raises:
        UserError: unknown name.
    """
    if name not in VARIANTS:
        raise UserError(
            f"model.backbone={name}{nearest(name, list(VARIANTS))}: PIDNet comes as "
            f"{', '.join(VARIANTS)}"
        )
    variant = VARIANTS[name]
    model = PixelClassifier(
        backbone=PIDNetBackbone(variant),
        head=PIDNetHead(variant, num_classes=num_classes),
        align_corners=True,  # in the released training and evaluation code
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def _stage(in_dim: int, dim: int, depth: int, *, stride: int = 1) -> nn.Sequential:
    """Basic blocks, the last without a ReLU of its own."""
    blocks = [BasicBlock(in_dim, dim, stride=stride)]
    blocks += [BasicBlock(dim, dim, relu=i < depth - 1) for i in range(1, depth)]
    return nn.Sequential(*blocks)
