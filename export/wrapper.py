"""Deploy-only steps around a model: uint8 image in, labels, scores or masks out."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
import torch.onnx.ops
from torch import Tensor, nn

from export.prototype_attention import attributes
from plugins import DOMAIN, OP_TYPE
from train.models.emca import PrototypeAttention
from train.models.mask2former import Mask2Former, semantic_scores

OUTPUTS = {
    "labels": ["labels"],
    "scores": ["scores"],
    "masks": ["class_logits", "mask_logits"],
}


class DeployModel(nn.Module):
    """What an exported file computes.

    Args:
        head: "labels" (NxHxW uint8), "scores" (NxKxH/4xW/4) or "masks" (class logits NxMx(K+1),
            mask logits NxMxH/4xW/4).
    """

    def __init__(self, model: Mask2Former, *, head: str) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """NxHxWx3 uint8 RGB -> see `head`."""
        if self.head == "labels":
            return self.full_scores(image).argmax(dim=1).to(torch.uint8)
        class_logits, mask_logits = self._predict(image)
        if self.head == "masks":
            return class_logits, mask_logits
        return semantic_scores(class_logits, mask_logits)

    def full_scores(self, image: Tensor) -> Tensor:
        """Class scores at the size of the image, NxKxHxW."""
        # Classes and masks meet at stride 4, so that K scores are upsampled instead of M masks.
        scores = semantic_scores(*self._predict(image))
        return F.interpolate(scores, size=image.shape[1:3], mode="bilinear", align_corners=False)

    def _predict(self, image: Tensor) -> tuple[Tensor, Tensor]:
        # The cast comes first: TensorRT takes uint8 as input of a cast only.
        output = self.model(image.float().permute(0, 3, 1, 2))
        return output.class_logits[-1], output.mask_logits[-1]


class PrototypeAttentionNode(nn.Module):
    """Stands in for `PrototypeAttention` during export and leaves one node of the custom op."""

    def __init__(self, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, query: Tensor, feature: Tensor, mask_logits: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `PrototypeAttention.forward`."""
        return torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{OP_TYPE}",
            (query, feature, mask_logits),
            attributes(self.num_heads),
            dtypes=(query.dtype, query.dtype),
            shapes=(query.shape, query.shape),
            version=1,
        )


def with_custom_op(model: DeployModel) -> DeployModel:
    """A copy in which every `PrototypeAttention` is a node of the custom op."""
    model = copy.deepcopy(model)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, PrototypeAttention):
                setattr(module, name, PrototypeAttentionNode(num_heads=child.num_heads))
    return model
