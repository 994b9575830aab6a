"""The transformer decoder: queries refined over strides 32, 16, 8, each round masked by the last.

Mask2Former (Cheng et al., CVPR 2022, arXiv 2112.01527, section 3.2). Parameter names follow its
released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 3


class Predictions(NamedTuple):
    """What the decoder says: P predictions, the last one is the result, the others supervise."""

    class_logits: Tensor
    """PxBxMx(K+1), the last class is "no object"."""
    mask_logits: Tensor
    """PxBxMxHxW at stride 4."""


class SelfAttentionLayer(nn.Module):
    """Queries look at each other; residual and norm included."""

    def __init__(self, *, dim: int, num_heads: int, pre_norm: bool) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.pre_norm = pre_norm

    def forward(self, queries: Tensor, query_pos: Tensor) -> Tensor:
        """BxMxC and 1xMxC -> BxMxC."""
        x = self.norm(queries) if self.pre_norm else queries
        placed = x + query_pos
        queries = queries + self.self_attn(placed, placed, x, need_weights=False)[0]
        return queries if self.pre_norm else self.norm(queries)


class FeedForwardLayer(nn.Module):
    """Two linear layers with a ReLU between; residual and norm included."""

    def __init__(self, *, dim: int, hidden: int, pre_norm: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)
        self.pre_norm = pre_norm

    def forward(self, queries: Tensor) -> Tensor:
        """BxMxC -> BxMxC."""
        x = self.norm(queries) if self.pre_norm else queries
        queries = queries + self.linear2(F.relu(self.linear1(x)))
        return queries if self.pre_norm else self.norm(queries)


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *, dim: int, out_dim: int, depth: int) -> None:
        super().__init__()
        widths = [dim] * depth + [out_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskProduct(nn.Module):
    """Masks of every prediction round: each query's embedding times the mask features."""

    def forward(self, embedding: Tensor, mask_features: Tensor) -> Tensor:
        """PxBxMxC and BxCxHxW -> PxBxMxHxW."""
        # One matrix product per image, BxPMxC @ BxCxHW: broadcasting would copy the mask features.
        masks = embedding.transpose(0, 1).flatten(1, 2) @ mask_features.flatten(2)
        masks = masks.unflatten(1, embedding.shape[0:3:2]).transpose(0, 1)
        return masks.unflatten(-1, mask_features.shape[-2:])


class MaskedDecoder(nn.Module):
    """L rounds of cross-attention, self-attention and feed-forward over three feature levels.

    Args:
        in_dim: channels of the feature levels.
        dim: channels of the queries.
        mask_dim: channels of the mask features.
        num_layers: rounds L; round i looks at level i % 3, coarsest first.
        project_levels: 1x1 convolution on each level even where in_dim equals dim.
        cross_attention: builds one cross-attention block; called once per round. Its attribute
            `query_layer` names what projects the queries.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        num_queries: int,
        in_dim: int,
        dim: int,
        mask_dim: int,
        num_heads: int,
        num_layers: int,
        feedforward_dim: int,
        pre_norm: bool,
        project_levels: bool,
        cross_attention: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.transformer_cross_attention_layers = nn.ModuleList(
            cross_attention() for _ in range(num_layers)
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(dim=dim, num_heads=num_heads, pre_norm=pre_norm)
            for _ in range(num_layers)
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FeedForwardLayer(dim=dim, hidden=feedforward_dim, pre_norm=pre_norm)
            for _ in range(num_layers)
        )
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(num_queries, dim)
        self.query_embed = nn.Embedding(num_queries, dim)
        self.level_embed = nn.Embedding(LEVELS, dim)
        self.input_proj = nn.ModuleList(
            nn.Conv2d(in_dim, dim, 1) if project_levels or in_dim != dim else nn.Identity()
            for _ in range(LEVELS)
        )
        self.class_embed = nn.Linear(dim, num_classes + 1)
        self.mask_embed = MLP(dim=dim, out_dim=mask_dim, depth=3)
        self.mask_product = MaskProduct()
        self._initialise()

    @property
    def float_layers(self) -> tuple[str, ...]:
        """What INT8 leaves alone: the heads, and what exporters compute: the queries of round 0."""
        first = self.transformer_cross_attention_layers[0]
        constant = f"transformer_cross_attention_layers.0.{first.query_layer}"
        return "class_embed", "mask_embed", constant

    def _initialise(self) -> None:
        for layers in (self.transformer_self_attention_layers, self.transformer_ffn_layers):
            for parameter in layers.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        for projection in self.input_proj:
            if isinstance(projection, nn.Conv2d):
                nn.init.kaiming_uniform_(projection.weight, a=1)
                nn.init.zeros_(projection.bias)

    def forward(self, mask_features: Tensor, levels: list[Tensor]) -> Predictions:
        """Decode.

        Args:
            mask_features: BxCmxH/4xW/4.
            levels: three maps BxCxhxw at strides 32, 16, 8.

        Returns:
            In training L+1 predictions, the first from the untouched queries. In evaluation the
            last one only: inner class heads and full-size inner masks are never computed.
        """
        batch = mask_features.shape[0]
        positions = [
            sine_positions(level.shape[-2:], self.query_feat.embedding_dim, like=mask_features)
            for level in levels
        ]
        features = [
            projection(level) + embedding.view(1, -1, 1, 1)
            for projection, level, embedding in zip(
                self.input_proj, levels, self.level_embed.weight, strict=True
            )
        ]
        # Resizing commutes with the dot product over channels: resize the features once per
        # level, not every mask at every round.
        resized = [
            F.interpolate(
                mask_features, size=level.shape[-2:], mode="bilinear", align_corners=False
            ).flatten(2)
            for level in levels
        ]
        query_pos = self.query_embed.weight.unsqueeze(0)
        queries = self.query_feat.weight.unsqueeze(0).expand(batch, -1, -1)
        kept = [queries]
        for i, (cross, self_attention, ffn) in enumerate(
            zip(
                self.transformer_cross_attention_layers,
                self.transformer_self_attention_layers,
                self.transformer_ffn_layers,
                strict=True,
            )
        ):
            level = i % LEVELS
            with torch.no_grad():
                mask = self.mask_embed(self.decoder_norm(queries)) @ resized[level]
            queries = cross(queries, features[level], mask, query_pos, positions[level])
            queries = ffn(self_attention(queries, query_pos))
            kept.append(queries)
        return self._predict(torch.stack(kept if self.training else kept[-1:]), mask_features)

    def _predict(self, queries: Tensor, mask_features: Tensor) -> Predictions:
        queries = self.decoder_norm(queries)
        masks = self.mask_product(self.mask_embed(queries), mask_features)
        return Predictions(self.class_embed(queries), masks)


class MaskedCrossAttention(nn.Module):
    """Mask2Former's own cross-attention: softmax over the visible tokens of all positions."""

    query_layer: ClassVar = "multihead_attn.query"

    def __init__(self, *, dim: int, num_heads: int, pre_norm: bool) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.num_heads = num_heads
        self.pre_norm = pre_norm

    def forward(
        self,
        queries: Tensor,
        features: Tensor,
        mask_logits: Tensor,
        query_pos: Tensor,
        feature_pos: Tensor,
    ) -> Tensor:
        """Shapes as in `PrototypeCrossAttention.forward`."""
        hidden = (mask_logits < 0) & (mask_logits >= 0).any(dim=-1, keepdim=True)
        tokens = features.flatten(2).transpose(1, 2)
        x = self.norm(queries) if self.pre_norm else queries
        attended = self.multihead_attn(
            x + query_pos,
            tokens + feature_pos.flatten(2).transpose(1, 2),
            tokens,
            attn_mask=hidden.repeat_interleave(self.num_heads, dim=0),
            need_weights=False,
        )[0]
        queries = queries + attended
        return queries if self.pre_norm else self.norm(queries)


def sine_positions(size: torch.Size, dim: int, *, like: Tensor) -> Tensor:
    """DETR's normalised sine position encoding (arXiv 2005.12872, appendix A.4).

    Args:
        size: (H, W). dim: channels C, a multiple of 4.
        like: gives dtype and device.

    Returns:
        1xCxHxW, the first half of the channels encodes y, the second x.
    """
    height, width = size

    def axis(length: int) -> Tensor:
        place = torch.arange(1, length + 1, device=like.device, dtype=torch.float32)
        place = place / (length + 1e-6) * 2 * math.pi
        power = torch.arange(dim // 4, device=like.device, dtype=torch.float32) * 4 / dim
        angle = place[:, None] / 10000**power
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)

    y = axis(height).t()[:, :, None].expand(-1, -1, width)
    x = axis(width).t()[:, None, :].expand(-1, height, -1)
    return torch.cat((y, x)).unsqueeze(0).to(like.dtype)
