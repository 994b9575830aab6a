"""An untrained checkpoint small enough to export in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segdata.classes import SCENES
from train.checkpoint import Checkpoint, save_checkpoint
from train.config import Config, from_dict
from train.models import build_model

MODEL = {
    "backbone": "resnet18",
    "conv_dim": 32,
    "mask_dim": 32,
    "hidden_dim": 32,
    "num_heads": 4,
    "num_queries": 12,
    "decoder_layers": 3,
    "feedforward_dim": 64,
}


def _write(path: Path, **model: object) -> Path:
    torch.manual_seed(0)
    config: Config = from_dict({"eval_size": [64, 96], "model": {**MODEL, **model}})
    network = build_model(config.model, num_classes=len(SCENES.classes))
    with torch.no_grad():  # untrained class heads are all alike; these tell classes apart
        network.decoder.class_embed.weight.mul_(20)
        network.decoder.mask_embed.layers[-1].weight.mul_(20)
    save_checkpoint(
        Checkpoint(
            config=config,
            classes=SCENES.classes,
            palette=SCENES.palette,
            iterations=0,
            miou=None,
            model=network.state_dict(),
        ),
        path,
    )
    return path


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., Path]:
    """Writes a checkpoint to a path, with `ModelConfig` keys changed by keyword."""
    return _write


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("checkpoint") / "tiny.pth")
