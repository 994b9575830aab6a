"""Networks that score the classes of every pixel directly: a backbone and a head."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from train.models.network import Network


class PixelPredictions(NamedTuple):
    """Scores of every class at a fraction of the image's size."""

    scores: Tensor
    """BxKxhxw logits."""
    auxiliary: Tensor | None = None
    """BxKxhxw logits of an inner head; in training, where the network has one."""
    boundary: Tensor | None = None
    """Bx1xhxw logits of being on the edge of a segment; likewise."""


class PixelClassifier(Network):
    """Semantic segmentation by classifying pixels.

    Args:
        backbone: Bx3xHxW -> maps at strides 4, 8, 16, 32.
        head: those maps -> `PixelPredictions`.
        align_corners: see `Network`.
    """

    def __init__(
        self, *, backbone: nn.Module, head: nn.Module, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> PixelPredictions:
        """Bx3xHxW RGB, 0..255."""
        return self.head(self.backbone(self.normalize(image)))

    def class_scores(self, predictions: PixelPredictions) -> Tensor:
        """BxKxhxw logits."""
        return predictions.scores.float()
