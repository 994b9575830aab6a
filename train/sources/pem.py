"""PEM checkpoints (Cavagnero et al., CVPR 2024, arXiv 2402.19422), as detectron2 writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from emca.errors import UserError
from train.config import ModelConfig
from train.models.stdc import BLOCKS
from train.sources.detectron2_backbones import backbone_of, resnet_rules, stdc_rules
from train.sources.imported import Imported
from train.sources.keymap import Rule, convert

PIXEL_DECODER = "sem_seg_head.pixel_decoder."
DECODER = "sem_seg_head.predictor."
# All published configurations say so; no shape tells.
NUM_HEADS = 8
PRE_NORM = True

# Below these prefixes our modules are named as PEM's are.
RULES: list[Rule] = [
    (
        re.escape(PIXEL_DECODER) + r"((in_projections|conv_avg|csm|dcn|out)\..*)",
        r"pixel_decoder.\1",
    ),
    (
        re.escape(DECODER)
        + r"((transformer_(cross_attention|self_attention|ffn)_layers|decoder_norm|query_feat"
        r"|query_embed|level_embed|input_proj|class_embed|mask_embed)\..*)",
        r"decoder.\1",
    ),
    (r"criterion\..*", None),
]


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a PEM: its pixel decoder and its cross-attention."""
    return (
        f"{PIXEL_DECODER}dcn.0.dcn_offset.weight" in state
        and f"{DECODER}transformer_cross_attention_layers.0.feature_proj.out.weight" in state
    )


def read(state: Mapping[str, Tensor]) -> Imported:
    """The network's configuration and its tensors in our names.

    Raises:
        UserError: a backbone that we do not build, or a tensor missing that tells a width.
    """
    backbone = backbone_of(state)
    num_queries, hidden_dim = _shape(state, f"{DECODER}query_feat.weight")[:2]
    model = ModelConfig(
        architecture="mask2former",
        backbone=backbone,
        pixel_decoder="pem",
        conv_dim=_shape(state, f"{PIXEL_DECODER}in_projections.0.conv.weight")[0],
        mask_dim=_shape(state, f"{PIXEL_DECODER}out.conv.weight")[0],
        hidden_dim=hidden_dim,
        num_queries=num_queries,
        num_heads=NUM_HEADS,
        decoder_layers=_count(state, f"{DECODER}transformer_ffn_layers."),
        feedforward_dim=_shape(state, f"{DECODER}transformer_ffn_layers.0.linear1.weight")[0],
        pre_norm=PRE_NORM,
        project_levels=f"{DECODER}input_proj.0.weight" in state,
        cross_attention="emca",
    )
    backbone_rules = stdc_rules() if backbone in BLOCKS else resnet_rules()
    return Imported(
        kind=f"PEM with {backbone}",
        model=model,
        num_classes=_shape(state, f"{DECODER}class_embed.weight")[0] - 1,  # the last: no object
        conversion=convert(state, [*backbone_rules, *RULES]),
    )


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise UserError(f"the PEM checkpoint lacks '{name}'; give the whole model's state dict")
    return tuple(state[name].shape)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Entries of the module list whose tensors start with `prefix`."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})
