import pytest
import torch
from torch import nn
from transformers import (
    ConvNextConfig,
    MaskFormerSwinConfig,
    ResNetBackbone,
    ResNetConfig,
    SwinBackbone,
    SwinConfig,
    TimmBackboneConfig,
)
from transformers.models.maskformer.modeling_maskformer_swin import MaskFormerSwinBackbone

from emca.errors import UserError
from train.models.backbones import RESNET, STAGES, SWIN, build_backbone
from train.sources.hf_backbones import backbone_name, backbone_rules
from train.sources.keymap import convert

BACKBONES = {
    "resnet": lambda: ResNetBackbone(ResNetConfig(out_features=STAGES)),
    "swin": lambda: SwinBackbone(SwinConfig(out_features=STAGES)),
    "maskformer-swin": lambda: MaskFormerSwinBackbone(MaskFormerSwinConfig(out_features=STAGES)),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_renamed_backbone_computes_the_same(kind):
    theirs = BACKBONES[kind]().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            else:
                parameter.uniform_(0.1, 1)
    name = backbone_name(theirs.config)
    state = {f"model.encoder.{key}": value for key, value in theirs.state_dict().items()}
    conversion = convert(state, backbone_rules("model.encoder.", name))
    assert conversion.left_over == []
    holder = nn.Module()
    holder.backbone = build_backbone(name).eval()
    holder.load_state_dict(conversion.tensors)  # neither missing nor left over
    for size in ((64, 96), (75, 101)):
        image = torch.randn(1, 3, *size)
        with torch.no_grad():
            expected, got = theirs(image).feature_maps, holder.backbone(image)
        assert len(got) == 4
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
            assert b.std() > 1e-2


def test_another_prefix_is_left_alone():
    conversion = convert({"other.conv.weight": torch.ones(1)}, backbone_rules("enc.", "resnet50"))
    assert conversion.left_over == ["other.conv.weight"]


@pytest.mark.parametrize("name", SWIN)
@pytest.mark.parametrize("kind", [SwinConfig, MaskFormerSwinConfig])
def test_every_swin_of_ours_is_recognised(name, kind):
    width, depths, heads, window = SWIN[name]
    found = kind(embed_dim=width, depths=list(depths), num_heads=list(heads), window_size=window)
    assert backbone_name(found) == name


@pytest.mark.parametrize("name", RESNET)
def test_every_resnet_of_ours_is_recognised(name):
    depths, widths, block = RESNET[name]
    found = ResNetConfig(depths=list(depths), hidden_sizes=list(widths), layer_type=block)
    assert backbone_name(found) == name


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SwinConfig(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
         r"swin_base backbone with window_size=7 .* window 12"),
        (SwinConfig(embed_dim=64), r"Swin backbone with embed_dim=64, .* known: swin_tiny"),
        (SwinConfig(use_absolute_embeddings=True),
         r"swin_tiny backbone with use_absolute_embeddings=True"),
        (SwinConfig(mlp_ratio=2.0), r"swin_tiny backbone with mlp_ratio=2.0 .* mlp_ratio=4.0"),
        (ResNetConfig(depths=[3, 8, 36, 3]), r"ResNet backbone with depths=\(3, 8, 36, 3\)"),
        (ResNetConfig(downsample_in_bottleneck=True),
         r"resnet50 backbone with downsample_in_bottleneck=True"),
        (ConvNextConfig(), r"backbone 'convnext' is not supported"),
        (TimmBackboneConfig(backbone="resnet50"), r"backbone 'timm_backbone resnet50'"),
    ],
)  # fmt: skip
def test_what_we_do_not_have_is_named(config, message):
    with pytest.raises(UserError, match=message):
        backbone_name(config)
