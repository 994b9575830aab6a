"""MaskFormer checkpoints of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import MaskFormerConfig

from emca.errors import UserError
from train.config import ModelConfig
from train.sources.hf_backbones import backbone_name, backbone_rules
from train.sources.imported import Imported
from train.sources.keymap import Rule, convert

ENCODER = "model.pixel_level_module.encoder."
_PYRAMID = r"model\.pixel_level_module\.decoder\."
_QUERIES = r"model\.transformer_module\."
_LAYER = _QUERIES + r"decoder\.layers\.(\d+)\."

# All but the backbone. The alternatives are what files hold (fc1, out_proj) and what the model in
# memory is named (mlp.fc1, o_proj).
RULES: list[Rule] = [
    (_PYRAMID + r"fpn\.stem\.0\.weight", "pixel_decoder.layers.3.conv.weight"),
    (_PYRAMID + r"fpn\.stem\.1\.(\w+)", r"pixel_decoder.layers.3.norm.\1"),
    # Theirs count from coarse to fine, ours from fine to coarse.
    *(
        rule
        for i in range(3)
        for rule in (
            (
                _PYRAMID + rf"fpn\.layers\.{i}\.proj\.0\.weight",
                f"pixel_decoder.adapters.{2 - i}.conv.weight",
            ),
            (
                _PYRAMID + rf"fpn\.layers\.{i}\.proj\.1\.(\w+)",
                rf"pixel_decoder.adapters.{2 - i}.norm.\1",
            ),
            (
                _PYRAMID + rf"fpn\.layers\.{i}\.block\.0\.weight",
                f"pixel_decoder.layers.{2 - i}.conv.weight",
            ),
            (
                _PYRAMID + rf"fpn\.layers\.{i}\.block\.1\.(\w+)",
                rf"pixel_decoder.layers.{2 - i}.norm.\1",
            ),
        )
    ),
    (_PYRAMID + r"mask_projection\.(\w+)", r"pixel_decoder.mask_features.\1"),
    (_QUERIES + r"queries_embedder\.weight", "decoder.query_embed.weight"),
    (_QUERIES + r"input_projection\.(\w+)", r"decoder.input_proj.\1"),
    (_LAYER + r"self_attn\.([qkv]_proj\.\w+)", r"decoder.layers.\1.self_attn.\2"),
    (_LAYER + r"self_attn\.(?:o|out)_proj\.(\w+)", r"decoder.layers.\1.self_attn.o_proj.\2"),
    (_LAYER + r"self_attn_layer_norm\.(\w+)", r"decoder.layers.\1.norm1.\2"),
    (_LAYER + r"encoder_attn\.([qkv]_proj\.\w+)", r"decoder.layers.\1.cross_attn.\2"),
    (_LAYER + r"encoder_attn\.(?:o|out)_proj\.(\w+)", r"decoder.layers.\1.cross_attn.o_proj.\2"),
    (_LAYER + r"encoder_attn_layer_norm\.(\w+)", r"decoder.layers.\1.norm2.\2"),
    (_LAYER + r"(?:mlp\.)?fc([12])\.(\w+)", r"decoder.layers.\1.linear\2.\3"),
    (_LAYER + r"final_layer_norm\.(\w+)", r"decoder.layers.\1.norm3.\2"),
    (_QUERIES + r"decoder\.layernorm\.(\w+)", r"decoder.decoder_norm.\1"),
    (r"class_predictor\.(\w+)", r"decoder.class_embed.\1"),
    (r"mask_embedder\.(\d)\.0\.(\w+)", r"decoder.mask_embed.layers.\1.\2"),
    (r"criterion\.empty_weight", None),
]


def read_hugging_face(state: Mapping[str, Tensor], config: MaskFormerConfig) -> Imported:
    """`transformers.MaskFormerForInstanceSegmentation` in our terms.

    Args:
        state: its `state_dict()`, or the tensors of its file.

    Raises:
        UserError: a backbone or an option that we do not have.
    """
    decoder = config.decoder_config
    # With auxiliary_loss transformers feeds each layer the normed output of the one before.
    for name, wanted in (("activation_function", "relu"), ("auxiliary_loss", False)):
        if getattr(decoder, name) != wanted:
            raise UserError(
                f"MaskFormer with decoder_config.{name}={getattr(decoder, name)} is not "
                f"supported; use a checkpoint with {wanted}"
            )
    backbone = backbone_name(config.backbone_config)
    model = ModelConfig(
        architecture="maskformer",
        backbone=backbone,
        conv_dim=config.fpn_feature_size,
        mask_dim=config.mask_feature_size,
        hidden_dim=decoder.d_model,
        num_queries=decoder.num_queries,
        num_heads=decoder.decoder_attention_heads,
        decoder_layers=decoder.decoder_layers,
        feedforward_dim=decoder.decoder_ffn_dim,
    )
    conversion = convert(state, [*backbone_rules(ENCODER, backbone), *RULES])
    return Imported("MaskFormer (Hugging Face)", model, config.num_labels, conversion)
