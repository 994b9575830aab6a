"""A network and a training run that take seconds."""

from __future__ import annotations

from typing import Any

from train.config import Config, from_dict


def tiny_config(*, model: dict[str, Any] | None = None, **changes: Any) -> Config:
    """Six steps on generated scenes; keywords change keys, `model` those of the network."""
    return from_dict(
        {
            "train_data": "scenes:n=12,size=64x96:train",
            "val_data": "scenes:n=3,size=64x96:val",
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
                **(model or {}),
            },
            "loss": {"num_points": 128},
            "augment": {"crop": [64, 64], "short_side": 64, "scale": [0.8, 1.2]},
            "iterations": 6,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "backbone_factor": 1.0,
            "gradient_clip": 1.0,
            "precision": "fp32",
            "eval_every": 3,
            "save_every": 2,
            "workers": 0,
            **changes,
        }
    )
