"""Quantisation-aware training: the ranges within which activations are rounded."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from emca.cli import progress
from emca.errors import UserError
from train.data import Batch, raising
from train.models.fake_quantize import ActivationQuantizer

OBSERVED_BATCHES = 16
# The ranges follow the weights for this share of the training; then they stay, so that the
# weights settle on fixed steps.
FOLLOWING = 0.5
MOMENTUM = 0.02


def _quantizers(network: nn.Module) -> list[ActivationQuantizer]:
    return [module for module in network.modules() if isinstance(module, ActivationQuantizer)]


@torch.no_grad()
def observe(network: nn.Module, batches: DataLoader[Batch], accelerator: Accelerator) -> None:
    """Set every range to the mean of the batches' largest absolute values.

    Activations are not rounded meanwhile. The mean, not the largest of all: one rare value would
    cost the resolution of all others.

    Raises:
        UserError: one is not finite.
    """
    network.eval()
    quantizers = _quantizers(network)
    for count, batch in enumerate(progress(raising(batches), desc="ranges", total=len(batches)), 1):
        for quantizer in quantizers:
            quantizer.observes, quantizer.momentum = True, 1 / count
        network(batch.images.to(accelerator.device))
    for quantizer in quantizers:
        quantizer.observes, quantizer.momentum = False, 0.0
    largest = agree(network, accelerator)
    if not math.isfinite(largest):
        raise UserError(
            f"a range of INT8 is {largest} on the training data; give another init= or try "
            "precision=fp32"
        )


def follow(network: nn.Module, done: float) -> None:
    """Let the ranges follow or stay, by the share of the training that is done."""
    for quantizer in _quantizers(network):
        quantizer.momentum = MOMENTUM if done < FOLLOWING else 0.0


def agree(network: nn.Module, accelerator: Accelerator) -> float:
    """Let all processes have the mean of their ranges.

    Returns:
        The largest of these, NaN if any is; 0 of a network without them.
    """
    quantizers = _quantizers(network)
    if not quantizers:
        return 0.0
    ranges = torch.stack([quantizer.range for quantizer in quantizers])
    if accelerator.num_processes > 1:
        ranges = accelerator.reduce(ranges, reduction="mean")
        for quantizer, value in zip(quantizers, ranges, strict=True):
            quantizer.range.copy_(value)
    return float(ranges.max())
