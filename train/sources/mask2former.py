"""Mask2Former checkpoints: Hugging Face folders and detectron2 files (the authors' model zoo)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import Mask2FormerConfig

from emca.errors import UserError
from train.config import ModelConfig
from train.sources.detectron2_backbones import backbone_of, resnet_rules
from train.sources.detectron2_swin import is_swin, swin_name, swin_rules
from train.sources.hf_backbones import backbone_name, backbone_rules
from train.sources.imported import Imported
from train.sources.keymap import Convert, Rule, convert

NUM_HEADS = 8  # of every released model; shapes do not tell it
POINTS_AND_LEVELS = (4, 3)
ENCODER = "transformer.encoder.layers."
_PIXEL_DECODER = re.compile(
    r"sem_seg_head\.(?:pixel_decoder\.)?"
    r"((?:input_proj|transformer|adapter_1|layer_1|mask_features)\..+)"
)


def read_hugging_face(state: Mapping[str, Tensor], config: Mask2FormerConfig) -> Imported:
    """`transformers.Mask2FormerForUniversalSegmentation` in our terms.

    Args:
        state: its `state_dict()`.

    Raises:
        UserError: a backbone or an option that we do not have.
    """
    for name, wanted in (("pre_norm", False), ("activation_function", "relu")):
        if (value := getattr(config, name)) != wanted:
            raise UserError(
                f"Mask2Former with {name}={value} is not supported; the released models have "
                f"{name}={wanted}"
            )
    backbone = backbone_name(config.backbone_config)
    model = ModelConfig(
        backbone=backbone,
        pixel_decoder="msdeform",
        encoder_layers=config.encoder_layers,
        encoder_feedforward_dim=config.encoder_feedforward_dim,
        conv_dim=config.feature_size,
        mask_dim=config.mask_feature_size,
        hidden_dim=config.hidden_dim,
        num_queries=config.num_queries,
        num_heads=config.num_attention_heads,
        decoder_layers=config.decoder_layers - 1,
        feedforward_dim=config.dim_feedforward,
        pre_norm=False,
        project_levels=config.enforce_input_projection,
        cross_attention="masked",
    )
    rules = [
        *backbone_rules("model.pixel_level_module.encoder.", backbone),
        *_hugging_face_rules(state),
    ]
    return Imported(
        "Mask2Former (Hugging Face)", model, len(config.id2label), convert(state, rules)
    )


def _hugging_face_rules(state: Mapping[str, Tensor]) -> list[Rule]:
    pixel = r"model\.pixel_level_module\.decoder\."
    encoder = pixel + r"encoder\.layers\.(\d+)\."
    encoder_layer = r"pixel_decoder.transformer.encoder.layers.\1."
    decoder = r"model\.transformer_module\.decoder\."
    layer = decoder + r"layers\.(\d+)\."
    attention = r"decoder.transformer_self_attention_layers.\1."
    cross = r"decoder.transformer_cross_attention_layers.\1."
    ffn = r"decoder.transformer_ffn_layers.\1."
    return [
        (pixel + "level_embed", "pixel_decoder.transformer.level_embed"),
        (pixel + r"input_projections\.(.+)", r"pixel_decoder.input_proj.\1"),
        (encoder + r"self_attn\.(.+)", encoder_layer + r"self_attn.\2"),
        (encoder + r"self_attn_layer_norm\.(.+)", encoder_layer + r"norm1.\2"),
        (encoder + r"fc([12])\.(.+)", encoder_layer + r"linear\2.\3"),
        (encoder + r"final_layer_norm\.(.+)", encoder_layer + r"norm2.\2"),
        (pixel + r"mask_projection\.(.+)", r"pixel_decoder.mask_features.\1"),
        (pixel + r"(adapter_1|layer_1)\.0\.(.+)", r"pixel_decoder.\1.\2"),
        (pixel + r"(adapter_1|layer_1)\.1\.(.+)", r"pixel_decoder.\1.norm.\2"),
        (r"model\.transformer_module\.queries_embedder\.(.+)", r"decoder.query_embed.\1"),
        (r"model\.transformer_module\.queries_features\.(.+)", r"decoder.query_feat.\1"),
        (r"model\.transformer_module\.level_embed\.(.+)", r"decoder.level_embed.\1"),
        (r"model\.transformer_module\.input_projections\.(.+)", r"decoder.input_proj.\1"),
        (layer + r"self_attn\.q_proj\.(weight|bias)", stacked(state, attention + "self_attn")),
        (layer + r"self_attn\.[kv]_proj\.(weight|bias)", stacked_elsewhere),
        (layer + r"self_attn\.out_proj\.(.+)", attention + r"self_attn.out_proj.\2"),
        (layer + r"self_attn_layer_norm\.(.+)", attention + r"norm.\2"),
        (layer + r"cross_attn\.(.+)", cross + r"multihead_attn.\2"),
        (layer + r"cross_attn_layer_norm\.(.+)", cross + r"norm.\2"),
        (layer + r"fc([12])\.(.+)", ffn + r"linear\2.\3"),
        (layer + r"final_layer_norm\.(.+)", ffn + r"norm.\2"),
        (decoder + r"layernorm\.(.+)", r"decoder.decoder_norm.\1"),
        (
            decoder + r"mask_predictor\.mask_embedder\.(\d)\.0\.(.+)",
            r"decoder.mask_embed.layers.\1.\2",
        ),
        (r"class_predictor\.(.+)", r"decoder.class_embed.\1"),
        (r"criterion\.empty_weight", None),
    ]


def stacked(state: Mapping[str, Tensor], target: str) -> Convert:
    """A conversion of the query projection that adds those of key and value beneath it."""

    def make(match: re.Match[str], tensor: Tensor) -> dict[str, Tensor]:
        others = [match.string.replace("q_proj", f"{part}_proj") for part in "kv"]
        parts = [tensor, *(state[name] for name in others if name in state)]
        return {f"{match.expand(target)}.in_proj_{match[2]}": torch.cat(parts)}

    return make


def stacked_elsewhere(match: re.Match[str], tensor: Tensor) -> dict[str, Tensor]:
    """Nothing of its own: `stacked` has taken it along."""
    return {}


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether this is a Mask2Former state dict in detectron2's names."""
    return any(_PIXEL_DECODER.match(name) and f".{ENCODER}" in name for name in state)


def read(state: Mapping[str, Tensor]) -> Imported:
    """A detectron2 checkpoint of Mask2Former in our terms.

    Raises:
        UserError: a backbone or form of the decoder that we do not have.
    """
    rules = _detectron2_rules()
    if is_swin(state):
        backbone = swin_name(state)
        rules = [*swin_rules(backbone), *rules]
    else:
        backbone = backbone_of(state)
        rules = [*resnet_rules(), *rules]
    conversion = convert(state, rules)
    try:
        classes = conversion.tensors["decoder.class_embed.weight"].shape[0] - 1
        model = _config(conversion.tensors, backbone)
    except KeyError as error:
        raise UserError(
            f"the Mask2Former checkpoint lacks what becomes '{error.args[0]}'; give the whole "
            "model's state dict"
        ) from None
    return Imported("Mask2Former (detectron2)", model, classes, conversion)


def _config(tensors: Mapping[str, Tensor], backbone: str) -> ModelConfig:
    """All that the shapes of the converted tensors tell."""
    encoder = f"pixel_decoder.{ENCODER}"
    encoder_feedforward, conv_dim = tensors[encoder + "0.linear1.weight"].shape
    num_queries, hidden_dim = tensors["decoder.query_feat.weight"].shape
    samples = tensors[encoder + "0.self_attn.attention_weights.weight"].shape[0]
    points, levels = POINTS_AND_LEVELS
    if samples != NUM_HEADS * points * levels:
        raise UserError(
            f"deformable attention takes {samples} samples, not {NUM_HEADS} heads x {levels} "
            f"levels x {points} points; only that form of Mask2Former is supported"
        )
    return ModelConfig(
        backbone=backbone,
        pixel_decoder="msdeform",
        encoder_layers=_count(tensors, encoder),
        encoder_feedforward_dim=encoder_feedforward,
        conv_dim=conv_dim,
        mask_dim=tensors["pixel_decoder.mask_features.weight"].shape[0],
        hidden_dim=hidden_dim,
        num_queries=num_queries,
        num_heads=NUM_HEADS,
        decoder_layers=_count(tensors, "decoder.transformer_ffn_layers."),
        feedforward_dim=tensors["decoder.transformer_ffn_layers.0.linear1.weight"].shape[0],
        pre_norm=False,
        project_levels="decoder.input_proj.0.weight" in tensors,
        cross_attention="masked",
    )


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Entries of the module list whose tensors start with `prefix`."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _detectron2_rules() -> list[Rule]:
    predictor = r"sem_seg_head\.predictor\."
    return [
        # Names from before the code was released, which files of the model zoo may still have:
        # static_query, and the pixel decoder's tensors right beneath the head.
        (predictor + r"static_query\.(.+)", r"decoder.query_feat.\1"),
        (predictor + r"(.+)", r"decoder.\1"),
        (_PIXEL_DECODER.pattern, r"pixel_decoder.\1"),
        (r"criterion\.empty_weight", None),
        (r"pixel_(mean|std)", None),
    ]
