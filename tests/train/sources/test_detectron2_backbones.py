"""The reference network below is a ResNet with detectron2's module tree, written for this test."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emca.errors import UserError
from train.models.backbones import RESNET, build_backbone
from train.sources.detectron2_backbones import backbone_of, resnet_rules, stdc_rules
from train.sources.keymap import convert


class Conv(nn.Conv2d):
    """A convolution that holds its norm, as detectron2's wrapper does."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_dim, out_dim, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class Block(nn.Module):
    def __init__(self, in_dim: int, out_dim: int, stride: int, kind: str) -> None:
        super().__init__()
        if in_dim != out_dim:
            self.shortcut = Conv(in_dim, out_dim, 1, stride)
        if kind == "bottleneck":
            self.conv1 = Conv(in_dim, out_dim // 4, 1)
            self.conv2 = Conv(out_dim // 4, out_dim // 4, 3, stride)
            self.conv3 = Conv(out_dim // 4, out_dim, 1)
        else:
            self.conv1 = Conv(in_dim, out_dim, 3, stride)
            self.conv2 = Conv(out_dim, out_dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = (
            self.get_submodule(f"conv{i}") for i in (1, 2, 3) if hasattr(self, f"conv{i}")
        )
        out = x
        for conv in inner:
            out = F.relu(conv(out))
        return F.relu(last(out) + (self.shortcut(x) if hasattr(self, "shortcut") else x))


class ResNet(nn.Module):
    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], kind: str) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = Conv(3, 64, 7, 2)
        in_dim = 64
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            stage = nn.Sequential()
            for block in range(depth):
                stage.append(Block(in_dim, width, 2 if i and not block else 1, kind))
                in_dim = width
            self.add_module(f"res{i + 2}", stage)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.stem.conv1(image)), 3, 2, 1)
        maps = []
        for i in range(2, 6):
            x = self.get_submodule(f"res{i}")(x)
            maps.append(x)
        return maps


def randomize(module: nn.Module) -> nn.Module:
    """Statistics and scales that a swapped pair of tensors would betray."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.3, 0.8)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return module.eval()


def prefixed(module: nn.Module, prefix: str = "backbone.") -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_converted_resnet_computes_the_same(name):
    torch.manual_seed(0)
    theirs = randomize(ResNet(*RESNET[name]))
    ours = build_backbone(name).eval()
    state = prefixed(theirs, "net.")
    assert backbone_of(state, "net.") == name
    conversion = convert(state, resnet_rules("net."))
    assert not conversion.left_over
    ours.load_state_dict(
        {key.removeprefix("backbone."): value for key, value in conversion.tensors.items()}
    )
    image = torch.randn(1, 3, 65, 96)
    with torch.no_grad():
        for a, b in zip(ours(image), theirs(image), strict=True):
            assert b.std() > 0.01
            torch.testing.assert_close(a, b)


def test_resnet101_is_told_from_resnet50_by_its_blocks():
    with torch.device("meta"):
        state = prefixed(ResNet(*RESNET["resnet101"]))
    assert backbone_of(state) == "resnet101"


def test_a_frozen_norm_has_no_counter_and_converts_all_the_same():
    with torch.device("meta"):
        state = prefixed(ResNet(*RESNET["resnet18"]))
        ours = {f"backbone.{name}" for name in build_backbone("resnet18").state_dict()}
    frozen = {name: x for name, x in state.items() if "num_batches" not in name}
    conversion = convert(frozen, resnet_rules())
    assert {name for name in ours if "num_batches" not in name} == set(conversion.tensors)


@pytest.mark.parametrize("name", ["stdc1", "stdc2"])
def test_stdc_keeps_its_names_and_drops_the_second_copy(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
    state = prefixed(backbone)
    ends = dict(zip((2, 4, 8, 16, 32), [1, *backbone.ends], strict=True))
    copies, start = {}, 0
    for stride, end in ends.items():
        copies |= prefixed(backbone.features[start:end], f"backbone.x{stride}.0.")
        start = end
    assert len(copies) == len(state)
    assert backbone_of(state | copies) == name
    conversion = convert(state | copies, stdc_rules())
    assert conversion.tensors == state
    assert set(conversion.unneeded) == set(copies)
    assert not conversion.left_over


def test_sizes_that_we_do_not_build_are_refused():
    with torch.device("meta"):
        deep = prefixed(ResNet((3, 8, 36, 3), *RESNET["resnet50"][1:]))
        stdc = prefixed(build_backbone("stdc1"))
    with pytest.raises(UserError, match=r"ResNet of \(3, 8, 36, 3\) bottleneck blocks is none of"):
        backbone_of(deep)
    shortened = {name: x for name, x in stdc.items() if not name.startswith("backbone.features.7")}
    with pytest.raises(UserError, match=r"STDC of \(2, 2, 1\) blocks is none of stdc1, stdc2"):
        backbone_of(shortened)
    with pytest.raises(UserError, match=r"no ResNet or STDC backbone under 'backbone\.'"):
        backbone_of({"backbone.patch_embed.proj.weight": torch.zeros(1)})
