"""Quantisation-aware training: the ranges within which activations are rounded."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segdata.cli import progress
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
    """
    network.eval()
    quantizers = _quantizers(network)
    for count, batch in enumerate(progress(raising(batches), desc="ranges", total=len(batches)), 1):
        for quantizer in quantizers:
            quantizer.observes, quantizer.momentum = True, 1 / count
        network(batch.images.to(accelerator.device))
    for quantizer in quantizers:
        quantizer.observes, quantizer.momentum = False, 0.0
    agree(network, accelerator)


def follow(network: nn.Module, done: float) -> None:
    """Let the ranges follow or stay, by the share of the training that is done."""
    for quantizer in _quantizers(network):
        quantizer.momentum = MOMENTUM if done < FOLLOWING else 0.0


def agree(network: nn.Module, accelerator: Accelerator) -> None:
    """Let all processes have the mean of their ranges."""
    quantizers = _quantizers(network)
    if accelerator.num_processes == 1 or not quantizers:
        return
    ranges = torch.stack([quantizer.range for quantizer in quantizers])
    mean: Tensor = accelerator.reduce(ranges, reduction="mean")
    for quantizer, value in zip(quantizers, mean, strict=True):
        quantizer.range.copy_(value)
