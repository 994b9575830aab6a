"""Whole networks on the GPU: FP16 parity with FP32, and FPS with and without the kernels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_kernels import KernelAttention, Kernels, captured, medians
from torch import Tensor, nn
from untrained import model_config, network

from export.wrapper import DeployModel
from train.checkpoint import load_checkpoint
from train.models.emca import PrototypeAttention

PRESETS = ("ade20k_resnet50", "ade20k_swin_tiny", "ade20k_mask2former_resnet50")
SIZE = (512, 512)
IMAGES = 8


def with_kernels(model: nn.Module, kernels: Kernels) -> nn.Module:
    """A copy of the model whose every PrototypeAttention is the kernels."""
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, PrototypeAttention):
            parent, _, child = name.rpartition(".")
            stand_in = KernelAttention(kernels, num_heads=module.num_heads)
            setattr(model.get_submodule(parent), child, stand_in)
    return model


def networks(checkpoint: Path | None) -> Iterator[tuple[str, nn.Module]]:
    """The model of a checkpoint, or those of the presets with random weights."""
    if checkpoint:
        source = load_checkpoint(checkpoint)
        yield checkpoint.stem, source.build()
    else:
        for preset in PRESETS:
            yield f"{preset}, random weights", network(model_config(preset))


def in_half(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Labels of a batch, computed in FP16 where PyTorch's autocast does so."""

    def run(images: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.float16):
            return model(images)

    return run


def measure_model(model: nn.Module, kernels: Kernels, images: Tensor) -> dict[str, Any]:
    """Label agreement with FP32 and images per second of one network, batch 1."""
    reference = DeployModel(model.eval().cuda(), head="labels").eval()
    fused = with_kernels(reference, kernels)
    replaced = sum(isinstance(module, KernelAttention) for module in fused.modules())
    variants = {"fp32": reference, "fp16": in_half(reference)}
    if replaced:
        variants |= {"fp32_kernels": fused, "fp16_kernels": in_half(fused)}
    labels = {
        name: torch.cat([run(image[None]) for image in images]) for name, run in variants.items()
    }
    agreement = {
        name: round(100 * (own == labels["fp32"]).float().mean().item(), 3)
        for name, own in labels.items()
    }
    image = images[:1].clone()
    graphs = {name: captured(partial(run, image)) for name, run in variants.items()}
    milliseconds = medians(graphs, rounds=50, cold=False)
    return {
        "kernel_layers": replaced,
        "labels_equal_to_fp32_percent": agreement,
        "median_ms": {name: round(ms, 3) for name, ms in milliseconds.items()},
        "fps": {name: round(1000 / ms, 1) for name, ms in milliseconds.items()},
        "largest_class_share_percent": round(100 * _largest_share(labels["fp32"]), 1),
    }


def _largest_share(labels: Tensor) -> float:
    """Near 1, agreement means nothing: the model says the same everywhere."""
    return labels.unique(return_counts=True)[1].max().item() / labels.numel()


@torch.no_grad()
def measure(kernels: Kernels, checkpoint: Path | None, images: Tensor | None) -> dict[str, Any]:
    """By network; `images` uint8 [N,H,W,3], or noise.

    FP16 is autocast's, which casts every weight anew in each run: engines do not.
    """
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False  # else convolutions of the FP32 reference are not FP32
    if images is None:
        images = torch.randint(0, 256, (IMAGES, *SIZE, 3), dtype=torch.uint8)
    images = images.cuda()
    return {name: measure_model(model, kernels, images) for name, model in networks(checkpoint)}
