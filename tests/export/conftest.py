"""Checkpoints small enough to export in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from tiny import tiny_config

from runtime.engines.graph import prepare
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


@pytest.fixture
def build_for_t4(tmp_path: Path) -> Callable[[onnx.ModelProto], int]:
    """Builds a model of one node, its function in place of it; how many layers the network had."""
    pytest.importorskip("tensorrt_rtx")
    script = Path(__file__).parents[1] / "plugins" / "build_on_rtx.py"

    def build(model: onnx.ModelProto) -> int:
        file = tmp_path / "node.onnx"
        onnx.save(prepare(model, {}), file)
        result = subprocess.run(
            [sys.executable, script, file], capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        assert report["bytes"], report["errors"]
        return sum(report["network"].values())

    return build
