"""SegFormer checkpoints of transformers (`SegformerForSemanticSegmentation`), in our terms.

Files keep the names that the class had before transformers 5, `segformer.encoder.block.…`; in
memory it has newer ones, `segformer.stages.…`. Both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from emca.errors import UserError
from train.config import ModelConfig
from train.models.backbones import MIT
from train.models.segformer import DECODER_DIM
from train.sources.imported import Imported
from train.sources.keymap import Rule, convert

STAGE = r"backbone.model.stages.\1."
OF_BLOCK = {
    "attention.self.query": "attention.q_proj",
    "attention.self.key": "attention.k_proj",
    "attention.self.value": "attention.v_proj",
    "attention.self.sr": "attention.sequence_reduction.sequence_reduction",
    "attention.self.layer_norm": "attention.sequence_reduction.layer_norm",
    "attention.output.dense": "attention.o_proj",
    "layer_norm_1": "layernorm_before",
    "layer_norm_2": "layernorm_after",
    "mlp.dense1": "mlp.fc1",
    "mlp.dense2": "mlp.fc2",
    "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
}
RULES: tuple[Rule, ...] = (
    (r"segformer\.(stages\..+)", r"backbone.model.\1"),
    (r"segformer\.encoder\.patch_embeddings\.(\d)\.(.+)", STAGE + r"patch_embeddings.\2"),
    (r"segformer\.encoder\.layer_norm\.(\d)\.(.+)", STAGE + r"layer_norm.\2"),
    *(
        (
            rf"segformer\.encoder\.block\.(\d)\.(\d+)\.{re.escape(theirs)}\.(weight|bias)",
            STAGE + rf"blocks.\2.{ours}.\3",
        )
        for theirs, ours in OF_BLOCK.items()
    ),
    (r"decode_head\.linear_c\.(.+)", r"head.linear_projections.\1"),
    (r"decode_head\.(.+)", r"head.\1"),
)
CLASSIFIER = "head.classifier.weight"
FUSE = "head.linear_fuse.weight"


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a SegFormer with its segmentation head."""
    names = {"decode_head.linear_fuse.weight", "decode_head.classifier.weight"}
    return names <= state.keys() and any(name.startswith("segformer.") for name in state)


def read(state: Mapping[str, Tensor]) -> Imported:
    """A SegFormer under our names; variant and number of classes come from names and shapes.

    Raises:
        UserError: depths or widths of none of the published sizes.
    """
    conversion = convert(state, RULES)
    tensors = conversion.tensors
    blocks = {
        (int(match[1]), int(match[2]))
        for name in tensors
        if (match := re.match(r"backbone\.model\.stages\.(\d)\.blocks\.(\d+)\.", name))
    }
    depths = tuple(sum(stage == i for stage, _ in blocks) for i in range(4))
    embeddings = (f"backbone.model.stages.{i}.patch_embeddings.proj.weight" for i in range(4))
    widths = tuple(tensors[name].shape[0] if name in tensors else 0 for name in embeddings)
    dim = tensors[FUSE].shape[0]
    for name, published in MIT.items():
        if published == (depths, widths) and DECODER_DIM[name] == dim:
            return Imported(
                kind=f"SegFormer-{name.removeprefix('mit_').upper()}",
                model=ModelConfig(architecture="segformer", backbone=name),
                num_classes=tensors[CLASSIFIER].shape[0],
                conversion=conversion,
            )
    raise UserError(
        f"no SegFormer has depths {depths}, widths {widths} and a head of width {dim}; "
        "known are B0 to B5"
    )
