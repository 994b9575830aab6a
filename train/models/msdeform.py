"""Mask2Former's pixel decoder: a transformer encoder with multi-scale deformable attention.

Deformable DETR (Zhu et al., ICLR 2021, arXiv 2010.04159) as Mask2Former (arXiv 2112.01527, section
3.2.2) uses it. Parameter names follow the released code of the latter.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import GROUPS
from train.models.decoder import sine_positions

LEVELS = 3
POINTS = 4

Sizes = list[tuple[int, int]]


class DeformableSampling(nn.Module):
    """Weighted bilinear samples of several feature levels.

    The one operation that TensorRT has a plugin for. It holds no parameters; an exporter replaces
    it by a custom op.
    """

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        """Sample.

        Args:
            value: BxSxhxd, the levels one after the other, row by row.
            locations: BxQxhxLxPx2, (x, y) of the samples; 0..1 spans a level.
            weights: BxQxhxLxP.
            sizes: (H, W) of each level; their areas add up to S.

        Returns:
            BxQxhxd; samples beyond the border count as zero.
        """
        heads = value.shape[2]
        grids = 2 * locations - 1
        total: Tensor | None = None
        for level, part in enumerate(value.split([h * w for h, w in sizes], dim=1)):
            maps = part.flatten(2).transpose(1, 2).unflatten(1, (heads, -1)).flatten(0, 1)
            sampled = F.grid_sample(
                maps.unflatten(2, sizes[level]),
                grids[:, :, :, level].transpose(1, 2).flatten(0, 1),
                align_corners=False,
            )  # Bh x d x Q x P
            weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
            summed = (sampled * weight.unsqueeze(1)).sum(-1)
            total = summed if total is None else total + summed
        assert total is not None
        return total.unflatten(0, (-1, heads)).permute(0, 3, 1, 2)


class DeformableAttention(nn.Module):
    """Every position attends to a few places near itself on every level."""

    float_layers: ClassVar = ("sampling_offsets", "attention_weights")

    def __init__(self, *, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.sampling_offsets = nn.Linear(dim, num_heads * LEVELS * POINTS * 2)
        self.attention_weights = nn.Linear(dim, num_heads * LEVELS * POINTS)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.sampling = DeformableSampling()
        self._initialise()

    def _initialise(self) -> None:
        """At first each head looks in a direction of its own, point p at p + 1 pixels."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, POINTS + 1)
        offsets = direction[:, None, None] * steps[None, None, :, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, LEVELS, -1, -1).flatten())
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, positions: Tensor, reference: Tensor, sizes: Sizes) -> Tensor:
        """Attend.

        Args:
            x: BxSxC. positions: 1xSxC.
            reference: Sx2, (x, y) of each position; 0..1 spans its level.
            sizes: (H, W) of each level.

        Returns:
            BxSxC.
        """
        query = x + positions
        split = (self.num_heads, LEVELS, POINTS)
        offsets = self.sampling_offsets(query).unflatten(-1, (*split, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        # Filled on the device: a copy from the host cannot be part of a CUDA graph.
        sides = [float(side) for height, width in sizes for side in (width, height)]
        scale = torch.cat([torch.full((1,), side, device=x.device) for side in sides]).view(-1, 2)
        # Places and samples in FP32 whatever the rest is in: bfloat16 would blur the places.
        with torch.autocast(x.device.type, enabled=False):
            locations = reference[:, None, None, None] + offsets.float() / scale[:, None]
            sampled = self.sampling(
                self.value_proj(x.float()).unflatten(-1, (self.num_heads, -1)),
                locations,
                weights.float().unflatten(-1, split[1:]),
                sizes,
            )
        return self.output_proj(sampled.flatten(2))


class DeformableEncoderLayer(nn.Module):
    """Deformable attention and feed-forward, each with residual and norm after it."""

    def __init__(self, *, dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim=dim, num_heads=num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor, positions: Tensor, reference: Tensor, sizes: Sizes) -> Tensor:
        """BxSxC -> BxSxC; arguments as in `DeformableAttention.forward`."""
        x = self.norm1(x + self.self_attn(x, positions, reference, sizes))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class ConvNorm(nn.Conv2d):
    """Convolution without bias, then group norm."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int) -> None:
        super().__init__(in_dim, out_dim, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, out_dim)
        nn.init.kaiming_uniform_(self.weight, a=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class MSDeformPixelDecoder(nn.Module):
    """Encodes strides 32, 16, 8 together; stride 4 joins by one FPN step.

    Args:
        in_channels: channels of the backbone maps at strides 4, 8, 16, 32.
        dim: channels of the encoder, a multiple of 32 and of `num_heads`.
        mask_dim: channels of the mask features.
    """

    def __init__(
        self,
        *,
        in_channels: list[int],
        dim: int,
        mask_dim: int,
        num_heads: int,
        num_layers: int,
        feedforward_dim: int,
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(GROUPS, dim))
            for channels in in_channels[:0:-1]
        )
        self.transformer = nn.Module()
        self.transformer.level_embed = nn.Parameter(torch.randn(LEVELS, dim))
        self.transformer.encoder = nn.Module()
        self.transformer.encoder.layers = nn.ModuleList(
            DeformableEncoderLayer(dim=dim, num_heads=num_heads, feedforward_dim=feedforward_dim)
            for _ in range(num_layers)
        )
        self.adapter_1 = ConvNorm(in_channels[0], dim, 1)
        self.layer_1 = ConvNorm(dim, dim, 3)
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Encode.

        Args:
            features: maps at strides 4, 8, 16, 32 (BxCxhxw; sizes need not divide).

        Returns:
            Mask features BxCmxH/4xW/4, and the maps at strides 32, 16, 8.
        """
        levels = [p(x) for p, x in zip(self.input_proj, features[:0:-1], strict=True)]
        sizes = [(x.shape[2], x.shape[3]) for x in levels]
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in levels], dim=1)
        positions = self._positions(levels)
        reference = torch.cat([pixel_centres(size, device=tokens.device) for size in sizes])
        for layer in self.transformer.encoder.layers:
            tokens = layer(tokens, positions, reference, sizes)
        parts = tokens.split([h * w for h, w in sizes], dim=1)
        maps = [
            part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes, strict=True)
        ]
        lateral = self.adapter_1(features[0])
        coarser = F.interpolate(
            maps[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.mask_features(F.relu(self.layer_1(lateral + coarser))), maps

    def _positions(self, levels: list[Tensor]) -> Tensor:
        """1xSxC: where on its level a token is, and which level that is."""
        parts = []
        for x, level in zip(levels, self.transformer.level_embed, strict=True):
            place = sine_positions(x.shape[-2:], self.out_dim, like=x)
            parts.append(place.flatten(2).transpose(1, 2) + level)
        return torch.cat(parts, dim=1)


def pixel_centres(size: tuple[int, int], *, device: torch.device) -> Tensor:
    """Nx2, the (x, y) of the N = H*W pixels of a map, row by row; 0..1 spans the map."""
    height, width = size
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), dim=-1)
