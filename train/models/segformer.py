"""SegFormer (Xie et al., NeurIPS 2021, arXiv 2105.15203): MiT and an all-MLP head."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from transformers import SegformerConfig
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

from emca.errors import UserError, nearest
from train.models.backbones import MIT
from train.models.pixel_classifier import PixelClassifier, PixelPredictions

DECODER_DIM = {name: 256 if name in ("mit_b0", "mit_b1") else 768 for name in MIT}


class SegFormerHead(SegformerDecodeHead):
    """Every map projected to one width, upsampled to stride 4, concatenated and fused.

    Args:
        in_channels: widths of the maps at strides 4, 8, 16, 32.
        dim: width of the projections and of the fused map.
        num_classes: number of scores a pixel gets.
    """

    float_layers: ClassVar = ("classifier",)

    def __init__(self, *, in_channels: list[int], dim: int, num_classes: int) -> None:
        super().__init__(
            SegformerConfig(
                hidden_sizes=in_channels, decoder_hidden_size=dim, num_labels=num_classes
            )
        )

    def forward(self, features: list[Tensor]) -> PixelPredictions:
        """Four maps BxCxhxw -> scores BxKxH/4xW/4."""
        return PixelPredictions(super().forward(features))


def build_segformer(*, backbone: nn.Module, name: str, num_classes: int) -> PixelClassifier:
    """SegFormer-B0 to -B5.

    Args:
        backbone: the MiT.
        name: its name, `mit_b0` to `mit_b5`; the head's width follows from it.
        num_classes: number of classes.

    Raises:
        UserError: another backbone.
    """
    if name not in DECODER_DIM:
        raise UserError(
            f"model.backbone={name}{nearest(name, list(DECODER_DIM))}: SegFormer goes with "
            f"{', '.join(DECODER_DIM)}"
        )
    head = SegFormerHead(
        in_channels=backbone.channels, dim=DECODER_DIM[name], num_classes=num_classes
    )
    return PixelClassifier(backbone=backbone, head=head)
