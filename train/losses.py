"""The loss that belongs to an architecture."""

from __future__ import annotations

from torch import nn

from train.config import Config
from train.loss import MaskLoss
from train.pixel_loss import PixelLoss


def build_loss(config: Config, *, num_classes: int) -> nn.Module:
    """Called with (predictions, labels BxHxW, one seed per image); returns the weighted terms."""
    architecture = config.model.architecture
    if architecture == "pidnet":
        return PixelLoss(ohem_threshold=0.9, align_corners=True)
    if architecture in ("segformer", "semantic_fpn"):
        return PixelLoss()
    return MaskLoss(config.loss, num_classes=num_classes)
