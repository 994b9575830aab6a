"""Exported files of networks with random weights: they are as fast as trained ones."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from export.passes import finish
from export.to_onnx import export_model, model_card
from export.wrapper import DeployModel
from segdata.classes import ADE20K
from train.checkpoint import Checkpoint
from train.config import Config, ModelConfig, load_config
from train.models import build_model


def model_config(preset: str, **changes: object) -> ModelConfig:
    """The network of a preset, with keys of `ModelConfig` changed and random weights."""
    return dataclasses.replace(load_config(preset).model, backbone_weights="", **changes)


def network(config: ModelConfig) -> nn.Module:
    """A network for ADE20K's 150 classes."""
    torch.manual_seed(0)
    return build_model(config, num_classes=len(ADE20K.classes)).eval()


def randomise(model: nn.Module, image: Tensor) -> nn.Module:
    """Every weight random, also where fresh networks have zeros and ones; evaluation mode.

    Fresh queries, position tables and norms hardly tell one place from another, and two networks
    that differ there would look alike. Batch norms take the statistics of the image, as training
    would leave them: with others deep maps hardly vary.

    Args:
        image: 1x3xHxW, normalised.
    """
    generator = torch.Generator().manual_seed(0)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    with torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            if not value.is_floating_point() or name.endswith("empty_weight"):
                continue
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() < 2:  # around one where it multiplies, around zero where it adds
                value.copy_(0.2 * noise + name.endswith(("weight", "running_var")))
            elif id(value) in tables or name.endswith("bias_table"):
                value.copy_(noise)
            else:
                value.copy_(noise * (1.5 / value[0].numel()) ** 0.5)
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        hooks = [norm.register_forward_pre_hook(_fit) for norm in norms]
        model.eval()(image)
    for hook in hooks:
        hook.remove()
    return model


def _fit(norm: nn.modules.batchnorm._BatchNorm, inputs: tuple[Tensor]) -> None:
    """Give a norm the statistics of the map that comes in, unless that is one pixel."""
    x = inputs[0]
    if x[0, 0].numel() > 1:
        norm.running_mean.copy_(x.mean(dim=(0, 2, 3)))
        norm.running_var.copy_(x.var(dim=(0, 2, 3)))


def export_untrained(model: nn.Module, target: Path, *, size: tuple[int, int]) -> float:
    """Write the FP32 file of a network; the seconds it took."""
    began = time.perf_counter()
    source = Checkpoint(
        config=Config(), classes=ADE20K.classes, palette=ADE20K.palette, iterations=0,
        miou=None, model={},
    )  # fmt: skip
    file = export_model(DeployModel(model, head="labels"), size=size)
    finish(file, model_card(source, "", size=size, head="labels", head_order="fast"))
    onnx.save(file, target)
    return time.perf_counter() - began
