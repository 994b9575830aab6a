"""Swin backbones as detectron2 checkpoints of Mask2Former name them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from emca.errors import UserError
from train.models.backbones import SWIN
from train.sources.keymap import Rule

WINDOW_OF_TABLE = {(2 * window - 1) ** 2: window for window in (7, 12)}


def is_swin(state: Mapping[str, Tensor]) -> bool:
    """Whether the backbone of this state dict is a Swin Transformer."""
    return "backbone.patch_embed.proj.weight" in state


def swin_name(state: Mapping[str, Tensor]) -> str:
    """Which of our Swin backbones it is.

    Raises:
        UserError: none of them.
    """
    width = state["backbone.patch_embed.proj.weight"].shape[0]
    blocks = {
        match[0]
        for name in state
        if (match := re.match(r"backbone\.layers\.(\d)\.blocks\.(\d+)\.", name))
    }
    depths = tuple(sum(f".{stage}.blocks." in block for block in blocks) for stage in range(4))
    table = state.get("backbone.layers.0.blocks.0.attn.relative_position_bias_table")
    window = None if table is None else WINDOW_OF_TABLE.get(len(table))
    for name, known in SWIN.items():
        if (known[0], known[1], known[3]) == (width, depths, window):
            return name
    raise UserError(
        f"a Swin backbone of width {width}, depths {depths} and window {window}; supported: "
        + ", ".join(f"{name} {(k[0], k[1], k[3])}" for name, k in SWIN.items())
    )


def swin_rules(name: str) -> list[Rule]:
    """Rules from detectron2's names to ours."""
    stages = len(SWIN[name][1])
    block = r"backbone\.layers\.(\d)\.blocks\.(\d+)\."
    ours = r"backbone.model.swin.encoder.layers.\1.blocks.\2."
    table = "relative_position_bias_table"
    return [
        (
            r"backbone\.patch_embed\.proj\.(.+)",
            r"backbone.model.swin.embeddings.patch_embeddings.projection.\1",
        ),
        (r"backbone\.patch_embed\.norm\.(.+)", r"backbone.model.swin.embeddings.norm.\1"),
        (block + r"norm1\.(.+)", ours + r"layernorm_before.\3"),
        (block + r"norm2\.(.+)", ours + r"layernorm_after.\3"),
        (block + r"attn\.qkv\.(.+)", _split),
        (block + r"attn\.proj\.(.+)", ours + r"attention.o_proj.\3"),
        (block + rf"attn\.({table})", ours + rf"attention.relative_position_bias.{table}"),
        (block + r"attn\.relative_position_index", None),
        (block + r"mlp\.(.+)", ours + r"mlp.\3"),
        (r"backbone\.layers\.(\d)\.downsample\.(.+)",
         r"backbone.model.swin.encoder.layers.\1.downsample.\2"),
        *(
            (
                rf"backbone\.norm{stage}\.(.+)",
                rf"backbone.model.hidden_states_norms.stage{stage + 1}.\1",
            )
            for stage in range(stages)
        ),
    ]  # fmt: skip


def _split(match: re.Match[str], tensor: Tensor) -> dict[str, Tensor]:
    """One matrix for query, key and value becomes three."""
    prefix = match.expand(r"backbone.model.swin.encoder.layers.\1.blocks.\2.attention.")
    parts = zip("qkv", tensor.chunk(3), strict=True)
    return {f"{prefix}{part}_proj.{match[3]}": value for part, value in parts}
