"""What an exported model says about itself, for tests that care about few of its fields."""

from __future__ import annotations

import dataclasses
from typing import Any

from segdata.card import ModelCard
from segdata.classes import IGNORE_INDEX
from segdata.preprocess import MEAN, STD


def make_card(**changes: Any) -> ModelCard:
    """The card of a model with two classes; keywords change its fields."""
    card = ModelCard(
        classes=("road", "größe"),
        palette=((1, 2, 3), (4, 5, 6)),
        mean=MEAN,
        std=STD,
        ignore_index=IGNORE_INDEX,
        input_size=(64, 96),
        head="labels",
        precision="fp32",
        checkpoint_sha256="ab" * 32,
        trained_iterations=7,
        versions={"torch": "2.13"},
        command="python -m export.to_onnx a.pth",
    )
    return dataclasses.replace(card, **changes)
