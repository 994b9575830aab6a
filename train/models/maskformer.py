"""MaskFormer: a feature pyramid for the masks, a DETR decoder for the queries.

Cheng et al., NeurIPS 2021, arXiv 2107.06278. The decoder looks at the coarsest backbone map alone
and attends to all of it; the pyramid serves nothing but the mask features.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emca.errors import UserError
from train.config import GROUPS
from train.models.decoder import MLP, MaskProduct, Predictions, sine_positions
from train.models.mask2former import Mask2Former


def build_maskformer(
    *,
    backbone: nn.Module,
    num_classes: int,
    num_queries: int = 100,
    dim: int = 256,
    conv_dim: int = 256,
    mask_dim: int = 256,
    num_heads: int = 8,
    decoder_layers: int = 6,
    feedforward_dim: int = 2048,
) -> Mask2Former:
    """MaskFormer on any backbone with attribute `channels`.

    Args:
        dim: channels of the queries.
        conv_dim: channels of the pyramid, a multiple of 32.
        mask_dim: channels of the mask features.

    Raises:
        UserError: `conv_dim` that group norm cannot divide.
    """
    if conv_dim % GROUPS:
        raise UserError(
            f"model.conv_dim={conv_dim}: must be a multiple of {GROUPS} in a MaskFormer, "
            "whose norms have that many groups"
        )
    return Mask2Former(
        backbone=backbone,
        pixel_decoder=MaskFormerPixelDecoder(
            in_channels=backbone.channels, dim=conv_dim, mask_dim=mask_dim
        ),
        decoder=MaskFormerDecoder(
            num_classes=num_classes,
            num_queries=num_queries,
            in_dim=backbone.channels[-1],
            dim=dim,
            mask_dim=mask_dim,
            num_heads=num_heads,
            num_layers=decoder_layers,
            feedforward_dim=feedforward_dim,
        ),
    )


class ConvNorm(nn.Sequential):
    """Convolution without bias, then group norm; keeps the size."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, out_dim)
        nn.init.kaiming_uniform_(self.conv.weight, a=1)


class MaskFormerPixelDecoder(nn.Module):
    """A feature pyramid (arXiv 1612.03144) with group norm; the finest level makes the masks.

    Args:
        in_channels: channels of the backbone maps at strides 4, 8, 16, 32.
        dim: channels of the pyramid.
        mask_dim: channels of the mask features.
    """

    def __init__(self, *, in_channels: list[int], dim: int, mask_dim: int) -> None:
        super().__init__()
        *lateral, coarsest = in_channels
        self.out_dim = coarsest
        self.adapters = nn.ModuleList(ConvNorm(channels, dim, 1) for channels in lateral)
        self.layers = nn.ModuleList(
            [*(ConvNorm(dim, dim, 3) for _ in lateral), ConvNorm(coarsest, dim, 3)]
        )
        self.mask_features = nn.Conv2d(dim, mask_dim, 3, padding=1)
        nn.init.kaiming_uniform_(self.mask_features.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Fuse the pyramid from coarse to fine.

        Args:
            features: maps at strides 4, 8, 16, 32 (BxCxhxw; sizes need not divide).

        Returns:
            Mask features BxCmxH/4xW/4, and the backbone's map at stride 32 as the only level.
        """
        x = F.relu(self.layers[-1](features[-1]))
        for level in reversed(range(len(self.adapters))):
            fine = self.adapters[level](features[level])
            x = fine + F.interpolate(x, size=fine.shape[-2:], mode="nearest")
            x = F.relu(self.layers[level](x))
        return self.mask_features(x), [features[-1]]


class Attention(nn.Module):
    """Multi-head attention with a projection each for query, key, value and output."""

    def __init__(self, *, dim: int, num_heads: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.o_proj = nn.Linear(dim, dim)
        self.num_heads = num_heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """BxMxC, BxNxC, BxNxC -> BxMxC."""
        # Written out: Swin's fused attention does not survive the ONNX export, and the plain
        # products are what runtimes quantise.
        q, k, v = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1)
        return self.o_proj((weights @ v).transpose(1, 2).flatten(-2))


class DecoderLayer(nn.Module):
    """DETR's decoder layer (arXiv 2005.12872), norms after the residuals."""

    def __init__(self, *, dim: int, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(dim=dim, num_heads=num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn = Attention(dim=dim, num_heads=num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, query_pos: Tensor, tokens: Tensor, pos: Tensor) -> Tensor:
        """Update the queries.

        Args:
            queries: BxMxC. query_pos: 1xMxC. tokens: BxNxC. pos: 1xNxC, of the tokens.

        Returns:
            BxMxC.
        """
        placed = queries + query_pos
        x = self.self_attn(placed, placed, queries)
        queries = self.norm1(queries + self.dropout(x))
        x = self.cross_attn(queries + query_pos, tokens + pos, tokens)
        queries = self.norm2(queries + self.dropout(x))
        x = self.linear2(F.relu(self.linear1(queries)))
        return self.norm3(queries + self.dropout(x))


class MaskFormerDecoder(nn.Module):
    """Queries refined over the stride-32 map, then classes and masks (arXiv 2107.06278, 3.3).

    Args:
        in_dim: channels of the map; a 1x1 convolution precedes where it is not `dim`.
        dim: channels of the queries.
        mask_dim: channels of the mask features.
        dropout: of every residual branch, in training.
    """

    # The queries of the first layer are the same for every image: exporters compute them.
    float_layers: ClassVar = (
        "class_embed",
        "mask_embed",
        "layers.0.self_attn",
        "layers.0.cross_attn.q_proj",
    )

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
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.input_proj = nn.Conv2d(in_dim, dim, 1) if in_dim != dim else nn.Identity()
        self.query_embed = nn.Embedding(num_queries, dim)
        self.layers = nn.ModuleList(
            DecoderLayer(dim=dim, num_heads=num_heads, hidden=feedforward_dim, dropout=dropout)
            for _ in range(num_layers)
        )
        self.decoder_norm = nn.LayerNorm(dim)
        self.class_embed = nn.Linear(dim, num_classes + 1)
        self.mask_embed = MLP(dim=dim, out_dim=mask_dim, depth=3)
        self.mask_product = MaskProduct()
        self._initialise()

    def _initialise(self) -> None:
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        if isinstance(self.input_proj, nn.Conv2d):
            nn.init.kaiming_uniform_(self.input_proj.weight, a=1)
            nn.init.zeros_(self.input_proj.bias)

    def forward(self, mask_features: Tensor, levels: list[Tensor]) -> Predictions:
        """Decode.

        Args:
            mask_features: BxCmxH/4xW/4.
            levels: one map BxCxhxw at stride 32.

        Returns:
            In training one prediction per layer; in evaluation that of the last layer alone.
        """
        features = self.input_proj(levels[0])
        tokens = features.flatten(2).transpose(1, 2)
        pos = sine_positions(features.shape[-2:], features.shape[1], like=features)
        pos = pos.flatten(2).transpose(1, 2)
        query_pos = self.query_embed.weight.unsqueeze(0)
        queries = torch.zeros_like(query_pos).expand(tokens.shape[0], -1, -1)
        kept = []
        for layer in self.layers:
            queries = layer(queries, query_pos, tokens, pos)
            kept.append(queries)
        stacked = self.decoder_norm(torch.stack(kept if self.training else kept[-1:]))
        masks = self.mask_product(self.mask_embed(stacked), mask_features)
        return Predictions(self.class_embed(stacked), masks)
