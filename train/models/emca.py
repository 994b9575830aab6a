"""EMCA, the efficient masked cross-attention: every query meets one prototype per head.

Prototype-based cross-attention of PEM (Cavagnero et al., CVPR 2024, arXiv 2402.19422, section 3.2);
parameter names follow that work's released code, so its weights load.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def visible_tokens(mask_logits: Tensor) -> Tensor:
    """Which tokens a query may look at: those its mask covers, or all where it covers none.

    Args:
        mask_logits: BxMxN, the previous mask prediction at this level; negative means background.

    Returns:
        BxMxN boolean.
    """
    visible = mask_logits >= 0
    return visible | ~visible.any(dim=-1, keepdim=True)


class PrototypeAttention(nn.Module):
    """Pick each query's most similar visible token per head and multiply the two.

    The one operation that has a TensorRT plugin. It holds no parameters; an exporter replaces it
    by a custom op of the same signature.
    """

    def __init__(self, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, query: Tensor, feature: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: BxMxC, L2-normalised.
            feature: BxNxC, L2-normalised.
            mask_logits: BxMxN; tokens below zero are hidden, see `visible_tokens`.

        Returns:
            attended = query * prototype, and prototype, both BxMxC.
        """
        prototype = select_prototypes(query, feature, mask_logits, num_heads=self.num_heads)
        return query * prototype, prototype


class MeanPrototype(nn.Module):
    """Ablation: the prototype is the mean of a query's visible tokens instead of the nearest."""

    def forward(self, query: Tensor, feature: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes as in `PrototypeAttention.forward`."""
        weight = visible_tokens(mask_logits).to(feature.dtype)
        prototype = (weight / weight.sum(-1, keepdim=True)) @ feature
        return query * prototype, prototype


def select_prototypes(
    query: Tensor, feature: Tensor, mask_logits: Tensor, *, num_heads: int
) -> Tensor:
    """Gather, per head, the visible token with the largest dot product; BxMxC.

    Shapes as in `PrototypeAttention.forward`. Of equal candidates the lowest index wins. The
    choice has no gradient; the gathered token has.
    """
    batch, _, channels = feature.shape
    heads = (batch, -1, num_heads, channels // num_heads)
    keys = feature.view(heads).transpose(1, 2)
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        # In FP32 whatever the tokens are in: the nearest must be the one that inference picks.
        similarity = query.view(heads).transpose(1, 2).float() @ keys.transpose(2, 3).float()
        similarity.masked_fill_(~visible_tokens(mask_logits).unsqueeze(1), float("-inf"))
        nearest = similarity.argmax(dim=-1, keepdim=True)
    picked = keys.gather(2, nearest.expand(-1, -1, -1, keys.shape[-1]))
    return picked.transpose(1, 2).reshape(query.shape)


class LocalProjection(nn.Module):
    """Features to keys: batch norm, depth-wise 3x3 convolution, linear; BxCxHxW -> BxNxC."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(dim)
        self.to_query_3x3 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.to_query_3x3(self.bn(x)).flatten(2).transpose(1, 2))


class PrototypeCrossAttention(nn.Module):
    """One EMCA block, residual included.

    Args:
        dim: channels C.
        num_heads: heads h; must divide C.
        prototype: "argmax" (EMCA) or "mean" (ablation).
        interaction: "product" (EMCA) or "identity" (ablation: the prototype alone goes on).
    """

    query_layer: ClassVar = "query_proj"

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        prototype: str = "argmax",
        interaction: str = "product",
    ) -> None:
        super().__init__()
        self.feature_proj = LocalProjection(dim=dim)
        self.query_proj = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.attention = (
            PrototypeAttention(num_heads=num_heads) if prototype == "argmax" else MeanPrototype()
        )
        self.interaction = interaction
        self.proj = nn.Linear(dim, dim)
        self.final = nn.Linear(dim, dim)
        self.alpha = nn.Parameter(torch.ones(1, 1, dim))

    def forward(
        self,
        queries: Tensor,
        features: Tensor,
        mask_logits: Tensor,
        query_pos: Tensor,
        feature_pos: Tensor,
    ) -> Tensor:
        """Update the queries.

        Args:
            queries: BxMxC. features: BxCxHxW. mask_logits: BxMx(HW).
            query_pos: 1xMxC. feature_pos: 1xCxHxW.

        Returns:
            BxMxC.
        """
        key = l2_normalize(self.feature_proj(features + feature_pos), dim=-1)
        query = l2_normalize(self.query_proj(queries + query_pos), dim=-1)
        attended, prototype = self.attention(query, key, mask_logits)
        if self.interaction == "identity":
            attended = prototype
        update = l2_normalize(self.proj(attended), dim=1) * self.alpha + prototype
        return queries + self.final(update)


def l2_normalize(x: Tensor, *, dim: int) -> Tensor:
    """Unit length along `dim`, reduced in FP32: the square of a small FP16 value is zero."""
    return F.normalize(x.float(), dim=dim).to(x.dtype)
