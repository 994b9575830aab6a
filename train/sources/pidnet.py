"""Checkpoints of the PIDNet release (arXiv 2206.02066): its names are ours behind a prefix.

Segmentation files put `model.` before every name, data-parallel training `module.`, and the
criteria's class weights come along. ImageNet files lack the prefix and the three heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from emca.errors import UserError
from train.config import ModelConfig
from train.models.pidnet import VARIANTS
from train.sources.imported import Imported
from train.sources.keymap import Rule, convert

PREFIX = r"(?:(?:module|model)\.)*"
BACKBONE = r"(?:conv1|layer[1-5]|layer[345]_d?|compression[34]|pag[34]|diff[34]|spp|dfm)"
HEAD = r"(?:final_layer|seghead_[pd])"
RULES: tuple[Rule, ...] = (
    (PREFIX + r"(?:sem_loss|bd_loss|loss|criterion)\..+", None),
    (PREFIX + rf"({BACKBONE}\..+)", r"backbone.\1"),
    (PREFIX + rf"({HEAD}\..+)", r"head.\1"),
)
FIRST = "conv1.0.weight"
ATTENTION = "pag3.f_x.0.weight"
CLASSIFIER = "final_layer.conv2.weight"


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a PIDNet, with or without its heads."""
    return {FIRST, ATTENTION} <= _by_bare_name(state).keys()


def read(state: Mapping[str, Tensor]) -> Imported:
    """A PIDNet under our names; variant and number of classes come from names and shapes.

    Raises:
        UserError: no segmentation head, or a PIDNet of none of the published sizes.
    """
    tensors = _by_bare_name(state)
    if CLASSIFIER not in tensors:
        raise UserError(
            f"this PIDNet lacks '{CLASSIFIER}', as weights pretrained on ImageNet do; "
            "give a checkpoint trained for segmentation"
        )
    width, deep = tensors[FIRST].shape[0], "dfm.conv.2.weight" in tensors
    for name, variant in VARIANTS.items():
        if (variant.width, variant.deep) == (width, deep):
            return Imported(
                kind=f"PIDNet-{name[-1].upper()}",
                model=ModelConfig(architecture="pidnet", backbone=name),
                num_classes=tensors[CLASSIFIER].shape[0],
                conversion=convert(state, RULES),
            )
    known = ", ".join(f"{variant.width} ({name})" for name, variant in VARIANTS.items())
    raise UserError(f"no PIDNet has a first convolution of width {width}; known: {known}")


def _by_bare_name(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {re.sub(f"^{PREFIX}", "", name): tensor for name, tensor in state.items()}
