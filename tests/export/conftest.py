"""Checkpoints small enough to export in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segdata.classes import SCENES
from train.checkpoint import Checkpoint, save_checkpoint
from train.config import Config, from_dict
from train.loop import Trainer
from train.models import build_model


def tiny_config(**model: object) -> Config:
    return from_dict(
        {
            "train_data": "scenes:n=16,size=64x96:train",
            "val_data": "scenes:n=2,size=64x96:val",
            "eval_size": [64, 96],
            "model": {
                "backbone": "resnet18",
                "conv_dim": 32,
                "mask_dim": 32,
                "hidden_dim": 32,
                "num_heads": 4,
                "num_queries": 12,
                "decoder_layers": 3,
                "feedforward_dim": 64,
                **model,
            },
            "loss": {"num_points": 128},
            "augment": {"crop": [64, 64], "short_side": 64, "scale": [0.8, 1.2]},
            "iterations": 80,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "backbone_factor": 1.0,
            "gradient_clip": 1.0,
            "precision": "fp32",
            "eval_every": 0,
            "workers": 0,
        }
    )


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., Path]:
    """Writes an untrained checkpoint to a path, with `ModelConfig` keys changed by keyword."""

    def write(path: Path, **model: object) -> Path:
        torch.manual_seed(0)
        config = tiny_config(**model)
        network = build_model(config.model, num_classes=len(SCENES.classes))
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

    return write


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained just long enough to tell a few classes apart."""
    out = tmp_path_factory.mktemp("checkpoint")
    Trainer(tiny_config(), out, resume=False).run()
    return out / "model.pth"
