import pytest
import torch

from emca.errors import UserError
from train.models.backbones import SWIN, build_backbone
from train.sources.detectron2_swin import is_swin, swin_name, swin_rules
from train.sources.keymap import convert


def backbone(width, depths, window, heads=3):
    """What tells one Swin from another, in the names of its authors."""
    table = torch.zeros((2 * window - 1) ** 2, heads)
    blocks = {
        f"backbone.layers.{stage}.blocks.{block}.norm1.weight": torch.ones(width << stage)
        for stage, depth in enumerate(depths)
        for block in range(depth)
    }
    return blocks | {
        "backbone.patch_embed.proj.weight": torch.zeros(width, 3, 4, 4),
        "backbone.layers.0.blocks.0.attn.relative_position_bias_table": table,
    }


@pytest.mark.parametrize("name", SWIN)
def test_sizes_are_told_apart(name):
    width, depths, heads, window = SWIN[name]
    state = backbone(width, depths, window, heads[0])
    assert is_swin(state)
    assert swin_name(state) == name


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"width": 64}, "width 64"),
        ({"depths": (2, 2, 4, 2)}, r"depths \(2, 2, 4, 2\)"),
        ({"window": 12}, "window 12"),
        ({"window": 5}, "window None"),
    ],
)
def test_other_sizes_are_refused(changes, found):
    state = backbone(**{"width": 96, "depths": (2, 2, 6, 2), "window": 7} | changes)
    with pytest.raises(UserError, match=rf"a Swin backbone of .*{found}.*supported: swin_tiny"):
        swin_name(state)


def test_query_key_and_value_come_in_this_order():
    qkv = "backbone.layers.1.blocks.0.attn.qkv"
    state = {f"{qkv}.weight": torch.arange(6.0).view(6, 1), f"{qkv}.bias": torch.arange(6.0)}
    tensors = convert(state, swin_rules("swin_tiny")).tensors
    prefix = "backbone.model.swin.encoder.layers.1.blocks.0.attention."
    with torch.device("meta"):
        known = {f"backbone.{name}" for name in build_backbone("swin_tiny").state_dict()}
    assert tensors.keys() <= known
    parts = {name.removeprefix(prefix): value.flatten().tolist() for name, value in tensors.items()}
    assert parts == {
        f"{part}_proj.{kind}": [2 * i, 2 * i + 1]
        for i, part in enumerate("qkv")
        for kind in ("weight", "bias")
    }


def test_resnets_are_none():
    assert not is_swin({"backbone.stem.conv1.weight": torch.ones(1)})
