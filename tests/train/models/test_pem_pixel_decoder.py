from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emca.errors import UserError
from train.models.pem_pixel_decoder import PEMPixelDecoder

CHANNELS = [8, 12, 16, 20]


def decoder(dim: int = 16, mask_dim: int = 24) -> PEMPixelDecoder:
    """In evaluation mode; statistics, offsets and masks are not those of an untrained one."""
    torch.manual_seed(0)
    model = PEMPixelDecoder(in_channels=CHANNELS, dim=dim, mask_dim=mask_dim).eval()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.3)
        if name.endswith("dcn_offset"):
            torch.nn.init.normal_(module.weight, 0, 0.2)
            torch.nn.init.normal_(module.bias)
    return model


def maps(height: int, width: int, batch: int = 2) -> list[Tensor]:
    """What a backbone gives for an image of this size: every side halved and rounded up."""
    torch.manual_seed(1)
    sizes = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    return [torch.randn(batch, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)]


def by_the_book(model: PEMPixelDecoder, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The released code's formulas on the same tensors, upsampled maps cut to the finer size."""
    w = model.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            w[f"{name}.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def conv_norm_relu(x: Tensor, name: str) -> Tensor:
        return norm(F.conv2d(x, w[f"{name}.conv.weight"]), f"{name}.bn").relu()

    def pooled(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 1)

    up = conv_norm_relu(pooled(features[3]), "conv_avg")
    levels = []
    for i, feature in enumerate(features[::-1]):
        x = conv_norm_relu(feature, f"in_projections.{3 - i}")
        context = F.conv2d(pooled(x), w[f"csm.{i}.mlp.0.mlp.0.weight"])
        context = norm(context, f"csm.{i}.mlp.0.mlp.1").relu()
        context = F.conv2d(context, w[f"csm.{i}.mlp.0.mlp.3.weight"])
        x = x * (1 + context.sigmoid().sigmoid()) + up[..., : x.shape[-2], : x.shape[-1]]
        if i == 3:
            return conv_norm_relu(x, "out"), levels
        layer = f"dcn.{i}"
        shift_and_mask = F.conv2d(
            x, w[f"{layer}.dcn_offset.weight"], w[f"{layer}.dcn_offset.bias"], padding=1
        )
        first, second, mask = shift_and_mask.chunk(3, dim=1)
        x = model.dcn[i].dcn(x, torch.cat((first, second), dim=1), mask.sigmoid())
        x = norm(x, f"{layer}.dcn_bn").relu()
        levels.append(x)
        up = F.conv_transpose2d(x, w[f"{layer}.up_sample.weight"], stride=2, padding=1)
        up = norm(up, f"{layer}.up_bn").relu()
    raise AssertionError


@pytest.mark.parametrize("size", [(64, 96), (33, 65), (100, 36), (4, 4)])
def test_it_is_the_formula_at_any_size(size):
    model, features = decoder(), maps(*size)
    with torch.no_grad():
        mask_features, levels = model(features)
        expected_mask_features, expected_levels = by_the_book(model, features)
    assert mask_features.shape == (2, 24, *features[0].shape[-2:])
    assert [x.shape[-2:] for x in levels] == [x.shape[-2:] for x in features[:0:-1]]
    for ours, theirs in zip(
        [*levels, mask_features], [*expected_levels, expected_mask_features], strict=True
    ):
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs)


def test_names_are_those_of_the_released_code():
    names = {name.rpartition(".")[0] for name in decoder().state_dict()}
    expected = {"conv_avg.conv", "conv_avg.bn", "out.conv", "out.bn"}
    for i in range(4):
        expected |= {f"in_projections.{i}.conv", f"in_projections.{i}.bn"}
        expected |= {f"csm.{i}.mlp.0.mlp.{layer}" for layer in (0, 1, 3)}
    for i in range(3):
        layers = ("dcn_offset", "dcn", "dcn_bn", "up_sample", "up_bn")
        expected |= {f"dcn.{i}.{layer}" for layer in layers}
    assert names == expected


def test_an_untrained_one_shifts_nothing_and_learns_to():
    torch.manual_seed(0)
    model = PEMPixelDecoder(in_channels=CHANNELS, dim=16, mask_dim=24)
    mask_features, levels = model(maps(64, 96))
    assert not model.dcn[0].dcn_offset(levels[0]).any()
    (mask_features.square().mean() + sum(x.square().mean() for x in levels)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_training_on_one_image_is_refused_unless_norms_are_frozen():
    model = decoder().train()
    with pytest.raises(
        UserError, match=r"pixel_decoder=pem trains on 2 or more images.*batch_size"
    ):
        model(maps(64, 96, batch=1))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert model(maps(64, 96, batch=1))[0].std() > 0
