"""Exported files of networks with random weights: they are as fast as trained ones."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import onnx
import torch
from torch import nn

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
