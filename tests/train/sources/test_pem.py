"""The names and shapes below are those of the released code, written down from its modules."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from emca.errors import UserError
from train.config import ModelConfig
from train.models import build_model
from train.models.backbones import build_backbone
from train.sources import pem

CONFIG = ModelConfig(
    backbone="stdc1",
    pixel_decoder="pem",
    conv_dim=32,
    mask_dim=24,
    hidden_dim=48,
    num_queries=11,
    decoder_layers=4,
    feedforward_dim=40,
    pre_norm=True,
    project_levels=True,
)
CLASSES = 7


def conv(name: str, out_dim: int, in_dim: int, kernel: int, *, bias: bool = False) -> dict:
    tensors = {f"{name}.weight": torch.randn(out_dim, in_dim, kernel, kernel)}
    return tensors | ({f"{name}.bias": torch.randn(out_dim)} if bias else {})


def linear(name: str, out_dim: int, in_dim: int) -> dict:
    return {f"{name}.weight": torch.randn(out_dim, in_dim), f"{name}.bias": torch.randn(out_dim)}


def layer_norm(name: str, dim: int) -> dict:
    return {f"{name}.{part}": torch.randn(dim) for part in ("weight", "bias")}


def batch_norm(name: str, dim: int) -> dict:
    parts = ("weight", "bias", "running_mean", "running_var")
    counter = {f"{name}.num_batches_tracked": torch.tensor(3)}
    return {f"{name}.{part}": torch.randn(dim) for part in parts} | counter


def pixel_decoder(channels: list[int], dim: int, mask_dim: int) -> dict[str, Tensor]:
    state = {}
    blocks = {f"in_projections.{i}": (c, dim) for i, c in enumerate(channels)}
    blocks |= {"conv_avg": (channels[-1], dim), "out": (dim, mask_dim)}
    for name, (in_dim, out_dim) in blocks.items():
        state |= conv(f"{name}.conv", out_dim, in_dim, 1) | batch_norm(f"{name}.bn", out_dim)
    for i in range(4):
        mlp = f"csm.{i}.mlp.0.mlp"
        state |= conv(f"{mlp}.0", dim // 2, dim, 1) | batch_norm(f"{mlp}.1", dim // 2)
        state |= conv(f"{mlp}.3", dim, dim // 2, 1)
    for i in range(3):
        state |= conv(f"dcn.{i}.dcn_offset", 27, dim, 3, bias=True)
        state |= conv(f"dcn.{i}.dcn", dim, dim, 3) | batch_norm(f"dcn.{i}.dcn_bn", dim)
        state |= conv(f"dcn.{i}.up_sample", dim, dim, 4) | batch_norm(f"dcn.{i}.up_bn", dim)
    return {f"sem_seg_head.pixel_decoder.{name}": x for name, x in state.items()}


def predictor(config: ModelConfig, classes: int) -> dict[str, Tensor]:
    dim, state = config.hidden_dim, {}
    for i in range(config.decoder_layers):
        attention = f"transformer_self_attention_layers.{i}"
        state[f"{attention}.self_attn.in_proj_weight"] = torch.randn(3 * dim, dim)
        state[f"{attention}.self_attn.in_proj_bias"] = torch.randn(3 * dim)
        state |= linear(f"{attention}.self_attn.out_proj", dim, dim)
        state |= layer_norm(f"{attention}.norm", dim)
        cross = f"transformer_cross_attention_layers.{i}"
        state[f"{cross}.alpha"] = torch.randn(1, 1, dim)
        state |= conv(f"{cross}.feature_proj.to_query_3x3", dim, 1, 3, bias=True)
        state |= batch_norm(f"{cross}.feature_proj.bn", dim)
        state |= layer_norm(f"{cross}.query_proj.0", dim)
        for name in ("feature_proj.out", "query_proj.1", "proj", "final"):
            state |= linear(f"{cross}.{name}", dim, dim)
        ffn = f"transformer_ffn_layers.{i}"
        state |= linear(f"{ffn}.linear1", config.feedforward_dim, dim)
        state |= linear(f"{ffn}.linear2", dim, config.feedforward_dim)
        state |= layer_norm(f"{ffn}.norm", dim)
    state |= layer_norm("decoder_norm", dim) | linear("class_embed", classes + 1, dim)
    for name in ("query_feat", "query_embed"):
        state[f"{name}.weight"] = torch.randn(config.num_queries, dim)
    state["level_embed.weight"] = torch.randn(3, dim)
    for i in range(3):
        state |= conv(f"input_proj.{i}", dim, config.conv_dim, 1, bias=True)
        state |= linear(f"mask_embed.layers.{i}", (dim, dim, config.mask_dim)[i], dim)
    return {f"sem_seg_head.predictor.{name}": x for name, x in state.items()}


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A whole checkpoint with an STDC1, random numbers in it."""
    torch.manual_seed(0)
    backbone = build_backbone("stdc1")
    tensors = {f"backbone.{name}": x for name, x in backbone.state_dict().items()}
    copy = {"backbone.x2.0.0.conv.weight": backbone.features[0].conv.weight}
    criterion = {"criterion.empty_weight": torch.ones(CLASSES + 1)}
    head = pixel_decoder(backbone.channels, CONFIG.conv_dim, CONFIG.mask_dim)
    return tensors | copy | head | predictor(CONFIG, CLASSES) | criterion


def test_the_whole_network_comes_out(state):
    assert pem.matches(state)
    imported = pem.read(state)
    assert imported.kind == "PEM with stdc1"
    assert imported.model == CONFIG
    assert imported.num_classes == CLASSES
    assert imported.conversion.left_over == []
    assert set(imported.conversion.unneeded) == {
        "backbone.x2.0.0.conv.weight",
        "criterion.empty_weight",
    }
    network = build_model(imported.model, num_classes=imported.num_classes)
    network.load_state_dict(imported.conversion.tensors)
    for theirs, ours in (
        ("pixel_decoder.dcn.1.up_sample.weight", "pixel_decoder.dcn.1.up_sample.weight"),
        ("predictor.query_feat.weight", "decoder.query_feat.weight"),
        ("predictor.class_embed.bias", "decoder.class_embed.bias"),
    ):
        assert torch.equal(network.state_dict()[ours], state[f"sem_seg_head.{theirs}"])


def test_a_resnet_below_the_same_head(state):
    resnet = {
        "stem.conv1.weight": torch.zeros(64, 3, 7, 7),
        "res5.2.conv3.norm.running_var": torch.zeros(2048),
        "res2.0.shortcut.weight": torch.zeros(256, 64, 1, 1),
    }
    for stage, depth in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(depth):
            resnet[f"res{stage}.{block}.conv1.weight"] = torch.zeros(1)
    head = {name: x for name, x in state.items() if not name.startswith("backbone.")}
    imported = pem.read(head | {f"backbone.{name}": x for name, x in resnet.items()})
    assert imported.model == dataclasses.replace(CONFIG, backbone="resnet50")
    assert imported.conversion.left_over == []
    stages = "backbone.model.encoder.stages"
    assert f"{stages}.3.layers.2.layer.2.normalization.running_var" in imported.conversion.tensors
    assert f"{stages}.0.layers.0.shortcut.convolution.weight" in imported.conversion.tensors


def test_levels_without_projection(state):
    plain = {name: x for name, x in state.items() if ".input_proj." not in name}
    assert not pem.read(plain).model.project_levels


def test_what_no_rule_knows_is_left_over(state):
    extra = {"sem_seg_head.pixel_decoder.adapter_1.weight": torch.zeros(1)}
    assert pem.read(state | extra).conversion.left_over == list(extra)


def test_other_networks_are_not_taken_for_one(state):
    without_dcn = {name: x for name, x in state.items() if ".dcn" not in name}
    assert not pem.matches(without_dcn)
    assert not pem.matches(build_model(CONFIG, num_classes=CLASSES).state_dict())


def test_a_part_of_a_checkpoint_is_refused(state):
    del state["sem_seg_head.predictor.class_embed.weight"]
    with pytest.raises(UserError, match=r"lacks 'sem_seg_head\.predictor\.class_embed\.weight'"):
        pem.read(state)
