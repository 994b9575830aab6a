"""Layers that round as INT8 does, and pass gradients straight through (arXiv 1712.05877, 3).

Signed, symmetric, -127..127: a scale per output channel for weights, one per tensor for
activations, as in the files that calibration makes. Everything else stays in floating point.

Batch norm is not folded into the convolution before rounding: it multiplies whole output channels,
each of which has a scale of its own that is multiplied likewise. The integers stay the same.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 127


class ActivationQuantizer(nn.Module):
    """Rounds a tensor within a range that may follow the running mean of the maxima.

    Attributes:
        range: the largest absolute value represented; what is larger is clipped.
        momentum: in training, the weight of the next tensor's maximum in `range`; 0: it stays.
        observes: follow whatever the mode, and let tensors through as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("range", torch.zeros(()))
        self.momentum = 0.0
        self.observes = False

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; FP32 out. What is not finite makes everything NaN, so that the loss tells.

        Autocast then casts to its own format: in BF16, which cannot hold 255 even steps, large
        values move by up to a quarter of a step. precision=fp32 is exact.
        """
        low, high = x.detach().aminmax()
        largest = torch.maximum(-low, high).float()
        if self.momentum and (self.training or self.observes):
            self.range.lerp_(largest, self.momentum)
        if self.observes:
            return x
        # Rounding alone would make a finite number of NaN.
        scale = torch.where(largest.isfinite(), step(self.range), torch.nan)
        zero = torch.zeros((), dtype=torch.int32, device=x.device)
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, -LEVELS, LEVELS)


class WeightQuantizer(nn.Module):
    """Rounds a weight, each output channel within its own range of the moment."""

    def forward(self, weight: Tensor) -> Tensor:
        """Output channels first."""
        weight = weight.float()
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        scale = torch.where(largest == 0, 1.0, largest / LEVELS)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -LEVELS, LEVELS)


def step(largest: Tensor) -> Tensor:
    """Step of INT8 for a largest absolute value: rounded up to FP16, in which files hold scales."""
    exact = largest / LEVELS
    half = exact.half()
    # The bits of positive floats, read as integers, count upwards.
    next_up = (half.view(torch.int16) + 1).view(torch.float16)
    half = torch.where(half.float() < exact, next_up, half)
    return torch.where(half == 0, torch.ones_like(half), half).float()


class _Weighted(nn.Module):
    def _add_quantizers(self) -> None:
        self.input_quantizer = ActivationQuantizer()
        self.weight_quantizer = WeightQuantizer()


class _Convolution(_Weighted):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # What nn.Conv2d.forward and whatever extends it go through.
        return super()._conv_forward(self.input_quantizer(x), self.weight_quantizer(weight), bias)


class _Linear(_Weighted):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.input_quantizer(x), self.weight_quantizer(self.weight), self.bias)


class Projection(nn.Module):
    """A linear layer whose weight belongs to another module."""

    def __init__(self) -> None:
        super().__init__()
        self.input_quantizer = ActivationQuantizer()
        self.weight_quantizer = WeightQuantizer()

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """BxMxC, CxC and C -> BxMxC."""
        return F.linear(self.input_quantizer(x), self.weight_quantizer(weight), bias)


class _Attention(nn.Module):
    """`nn.MultiheadAttention` with `batch_first`, in plain operations."""

    def _add_quantizers(self) -> None:
        self.query, self.key, self.value = Projection(), Projection(), Projection()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        attn_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, None]:
        """BxMxC, BxNxC, BxNxC -> BxMxC; a mask is BhxMxN and True where a token is hidden."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        parts = (self.query, query), (self.key, key), (self.value, value)
        q, k, v = (
            project(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for (project, x), weight, bias in zip(parts, weights, biases, strict=True)
        )
        scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
        if attn_mask is not None:
            hidden = attn_mask.unflatten(0, (-1, self.num_heads))
            scores = scores.masked_fill(hidden, float("-inf"))
        attended = scores.softmax(dim=-1) @ v
        return self.out_proj(attended.transpose(1, 2).flatten(-2)), None


class _Output(nn.Module):
    def _add_quantizers(self) -> None:
        self.output_quantizer = ActivationQuantizer()

    def forward(self, x: Tensor) -> Tensor:
        return self.output_quantizer(super().forward(x))


_KINDS = {nn.Conv2d: _Convolution, nn.Linear: _Linear, nn.MultiheadAttention: _Attention}


def quantize_layer(module: nn.Module) -> None:
    """Let a convolution, linear layer or attention round its inputs and weights, in place.

    Its class gets a subclass and its parameters keep their names; others are left alone.
    """
    for base, kind in _KINDS.items():
        if isinstance(module, base):
            _become(module, kind)


def quantize_output(module: nn.Module) -> None:
    """Let a module of one input round its output, in place."""
    if isinstance(module, nn.Sequential):  # which runs whatever is added to it
        module.add_module("output_quantizer", ActivationQuantizer())
    else:
        _become(module, _Output)


def remove_quantizers(module: nn.Module) -> None:
    """Let a module and all below it compute in floating point, in place."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, (ActivationQuantizer, WeightQuantizer)):
                setattr(parent, name, nn.Identity())


def _become(module: nn.Module, kind: type[nn.Module]) -> None:
    module.__class__ = _subclass(kind, type(module))
    module._add_quantizers()


@functools.cache
def _subclass(kind: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    return type(f"Quantized{base.__name__}", (kind, base), {})
