"""Checkpoints small enough to export in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import tiny_config

from segdata.classes import SCENES
from train.checkpoint import Checkpoint, save_checkpoint
from train.loop import Trainer
from train.models import build_model


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., Path]:
    """Writes an untrained checkpoint to a path, with `ModelConfig` keys changed by keyword."""

    def write(path: Path, **model: object) -> Path:
        torch.manual_seed(0)
        config = tiny_config(model=model)
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
    config = tiny_config(train_data="scenes:n=16,size=64x96:train", iterations=80, eval_every=0)
    Trainer(config, out, resume=False).run()
    return out / "model.pth"
