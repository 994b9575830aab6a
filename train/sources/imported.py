"""What reading a checkpoint of another project yields."""

from __future__ import annotations

from typing import NamedTuple

from train.config import ModelConfig
from train.sources.keymap import Conversion


class Imported(NamedTuple):
    """A foreign checkpoint in our terms."""

    kind: str
    """What it is, for people: "Mask2Former (detectron2)"."""
    model: ModelConfig
    num_classes: int
    conversion: Conversion
    classes: tuple[str, ...] | None = None
    """Class names, where the checkpoint carries them."""
