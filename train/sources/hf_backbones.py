"""Swin and ResNet backbones inside Hugging Face segmentation models, in our terms."""

from __future__ import annotations

import re

from transformers import PreTrainedConfig, ResNetConfig, SwinConfig

from emca.errors import UserError
from train.models.backbones import RESNET, STAGES, SWIN
from train.sources.keymap import Rule

SWIN_TYPES = ("swin", "maskformer-swin")

# What changes the computation and which our backbones do not vary.
FIXED = {
    "resnet": (
        "num_channels", "embedding_size", "hidden_act", "downsample_in_first_stage",
        "downsample_in_bottleneck",
    ),
    "swin": (
        "num_channels", "patch_size", "mlp_ratio", "qkv_bias", "hidden_act",
        "use_absolute_embeddings", "layer_norm_eps",
    ),
}  # fmt: skip


def backbone_name(config: PreTrainedConfig) -> str:
    """Our name of the backbone that a `backbone_config` of transformers describes.

    Raises:
        UserError: a kind, size, window or variant that we do not have.
    """
    if config.model_type == "resnet":
        name = _resnet_name(config)
        _check_fixed(config, ResNetConfig(), FIXED["resnet"], name)
    elif config.model_type in SWIN_TYPES:
        name = _swin_name(config)
        _check_fixed(config, SwinConfig(), FIXED["swin"], name)
    else:
        # For timm backbones the name of the network stands in `backbone`.
        inner = getattr(config, "backbone", None)
        raise UserError(
            f"backbone '{config.model_type}{f' {inner}' if inner else ''}' is not supported; "
            "use a checkpoint with a ResNet or Swin backbone of transformers"
        )
    return name


def backbone_rules(prefix: str, name: str) -> list[Rule]:
    """Rules for the tensors `{prefix}...` of a transformers backbone.

    Args:
        prefix: what precedes the backbone's names, dot included.
        name: from `backbone_name`. Swin tensors may be named as in `SwinBackbone` (Mask2Former)
            or as in `MaskFormerSwinBackbone`, which computes the same.
    """
    start = re.escape(prefix)
    ours = "backbone.model."
    if name in RESNET:
        return [(start + r"(.+)", ours + r"\1")]
    layer = start + r"(?:swin|model)\.(.+)\."
    bias = "relative_position_bias"
    return [
        (start + r"(?:swin|model)\.layernorm\.\w+", None),  # read by no feature map
        (layer + r"attention\.self\.relative_position_index", None),
        (
            layer + rf"attention\.self\.{bias}_table",
            ours + rf"swin.\1.attention.{bias}.{bias}_table",
        ),
        (
            layer + r"attention\.self\.([qkv])(?:uery|ey|alue)\.(\w+)",
            ours + r"swin.\1.attention.\2_proj.\3",
        ),
        (layer + r"attention\.output\.dense\.(\w+)", ours + r"swin.\1.attention.o_proj.\2"),
        (layer + r"intermediate\.dense\.(\w+)", ours + r"swin.\1.mlp.fc1.\2"),
        (layer + r"output\.dense\.(\w+)", ours + r"swin.\1.mlp.fc2.\2"),
        (start + r"(?:swin|model)\.(.+)", ours + r"swin.\1"),
        *(
            (
                start + rf"hidden_states_norms\.(?:{i}|{stage})\.(\w+)",
                ours + rf"hidden_states_norms.{stage}.\1",
            )
            for i, stage in enumerate(STAGES)
        ),
    ]


def _resnet_name(config: PreTrainedConfig) -> str:
    found = (tuple(config.depths), tuple(config.hidden_sizes), config.layer_type)
    for name, known in RESNET.items():
        if found == known:
            return name
    depths, widths, block = found
    raise UserError(
        f"ResNet backbone with depths={depths}, hidden_sizes={widths}, layer_type={block} "
        f"is not supported; known: {', '.join(RESNET)}"
    )


def _swin_name(config: PreTrainedConfig) -> str:
    found = (config.embed_dim, tuple(config.depths), tuple(config.num_heads))
    for name, (*known, window) in SWIN.items():
        if found == tuple(known):
            if config.window_size != window:
                raise UserError(
                    f"{name} backbone with window_size={config.window_size} is not supported; "
                    f"use a checkpoint with window {window}"
                )
            return name
    width, depths, heads = found
    raise UserError(
        f"Swin backbone with embed_dim={width}, depths={depths}, num_heads={heads} "
        f"is not supported; known: {', '.join(SWIN)}"
    )


def _check_fixed(
    config: PreTrainedConfig, ours: PreTrainedConfig, fields: tuple[str, ...], name: str
) -> None:
    for field in fields:
        value, wanted = getattr(config, field), getattr(ours, field)
        if value != wanted:
            raise UserError(
                f"{name} backbone with {field}={value} is not supported; "
                f"use a checkpoint with {field}={wanted}"
            )
