"""Deploy-only steps around a model: uint8 image in, labels, scores or masks out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from train.models.decoder import Predictions
from train.models.mask2former import semantic_scores
from train.models.network import Network

OUTPUTS = {
    "labels": ["labels"],
    "scores": ["scores"],
    "masks": ["class_logits", "mask_logits"],
}


class DeployModel(nn.Module):
    """What an exported file computes.

    Args:
        head: "labels" (NxHxW uint8), "scores" (NxKxhxw at the model's own stride) or, for mask
            classification, "masks" (class logits NxMx(K+1), mask logits NxMxH/4xW/4).
        head_order: "fast" combines classes and masks at stride 4 and upsamples K class maps;
            "official" upsamples all M masks first, as the papers' code does. The same for
            networks that classify pixels.
    """

    def __init__(self, model: Network, *, head: str, head_order: str = "fast") -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.head_order = head_order

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """NxHxWx3 uint8 RGB -> see `head`."""
        if self.head == "labels":
            return self.full_scores(image).argmax(dim=1).to(torch.uint8)
        predictions = self._predict(image)
        if self.head == "masks":
            return predictions.class_logits[-1], predictions.mask_logits[-1]
        return self.model.class_scores(predictions)

    def full_scores(self, image: Tensor) -> Tensor:
        """Class scores at the size of the image, NxKxHxW."""
        size = image.shape[1:3]
        predictions = self._predict(image)
        if self.head_order == "official" and isinstance(predictions, Predictions):
            masks = self.model.upsample(predictions.mask_logits[-1], size)
            return semantic_scores(predictions.class_logits[-1], masks)
        return self.model.upsample(self.model.class_scores(predictions), size)

    def _predict(self, image: Tensor) -> Any:
        # The cast comes first: TensorRT takes uint8 as input of a cast only.
        return self.model(image.float().permute(0, 3, 1, 2))
