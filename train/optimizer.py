"""AdamW as Mask2Former sets it up, and the learning-rate schedules."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from train.config import Config

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def build_optimizer(model: nn.Module, config: Config) -> AdamW:
    """AdamW; the backbone learns slower, norms, embeddings and biases do not decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            plain = isinstance(module, (*NORMS, nn.Embedding)) or name.endswith(
                ("bias", "relative_position_bias_table", "alpha", "level_embed")
            )
            factor = config.backbone_factor if module_name.startswith("backbone") else 1.0
            key = (factor, 0.0 if plain else config.weight_decay)
            groups.setdefault(key, []).append(parameter)
    return AdamW(
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (factor, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
    )


def learning_rate(config: Config, step: int) -> float:
    """Base rate of step 0 … iterations-1: linear warm-up, then poly (power 0.9) or cosine to 0."""
    progress = step / config.iterations
    decay = (
        (1 - progress) ** 0.9
        if config.schedule == "poly"
        else (1 + math.cos(math.pi * progress)) / 2
    )
    warmup = min(1.0, (step + 1) / max(1, config.warmup_iterations))
    return config.learning_rate * decay * warmup


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group the base rate times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def freeze_norm(model: nn.Module) -> None:
    """Keep batch-norm statistics as they are; weights and biases still learn."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


class WeightAverage:
    """Exponential moving average of weights and batch-norm statistics; counters are copied.

    The decay grows from 0 as (1 + t) / (10 + t), so early averages follow the model.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Fold in the weights after optimizer step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            average = self.state[key]
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)
