"""The loss that belongs to an architecture."""

from __future__ import annotations

from torch import nn

from train.config import Config
from train.loss import MaskLoss

MASK_CLASSIFIERS = ("mask2former", "maskformer")


def build_loss(config: Config, *, num_classes: int) -> nn.Module:
    """Called with (predictions, labels BxHxW, one seed per image); returns the weighted terms."""
    return MaskLoss(config.loss, num_classes=num_classes)
