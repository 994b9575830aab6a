import pytest
import torch
import torch.nn.functional as F

from train.models.backbones import build_backbone
from train.models.pixel_classifier import PixelClassifier
from train.models.semantic_fpn import SemanticFPN

WIDTHS = [8, 12, 16, 20]


def head(**changes):
    torch.manual_seed(0)
    module = SemanticFPN(
        **{"in_channels": WIDTHS, "num_classes": 5, "dim": 24, "head_dim": 16, **changes}
    )
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(module.classifier.weight)
    return module


def maps(height, width, batch=2):
    return [
        torch.randn(batch, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(WIDTHS, (4, 8, 16, 32), strict=True)
    ]


def test_scores_are_the_published_sum():
    """Written with fixed factors of two, as MMSegmentation does."""
    module, features = head().eval(), maps(64, 96)
    pyramid = [lateral(x) for lateral, x in zip(module.laterals, features, strict=True)]
    for i in (2, 1, 0):
        pyramid[i] = pyramid[i] + F.interpolate(pyramid[i + 1], scale_factor=2, mode="nearest")
    total = 0
    for i, doublings in enumerate((0, 1, 2, 3)):
        x = module.smooth[i](pyramid[i])
        convolutions = module.scale_heads[i]
        assert len(convolutions) == max(1, doublings)
        for layer in convolutions:
            x = F.relu(layer.bn(layer.conv(x)))
            if doublings:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    expected = module.classifier(total)
    got = module(features)
    assert got.auxiliary is None
    assert got.boundary is None
    assert expected.std() > 0.1
    torch.testing.assert_close(got.scores, expected)


@pytest.mark.parametrize("backbone", ["resnet18", "swin_tiny", "swiftformer_xs"])
def test_any_backbone_takes_any_size(backbone):
    backbone = build_backbone(backbone)
    network = PixelClassifier(
        backbone=backbone, head=SemanticFPN(in_channels=backbone.channels, num_classes=5)
    ).eval()
    with torch.no_grad():
        scores = network(torch.randint(0, 256, (1, 3, 75, 101))).scores
    assert scores.shape == (1, 5, 19, 26)
    assert scores.std(dim=(2, 3)).min() > 0


@pytest.mark.parametrize(("name", "millions"), [("resnet50", 28.5), ("resnet101", 47.5)])
def test_parameters_are_as_many_as_published(name, millions):
    """PVT (arXiv 2102.12122), table 4; 150 classes."""
    backbone = build_backbone(name)
    module = SemanticFPN(in_channels=backbone.channels, num_classes=150)
    count = sum(p.numel() for part in (backbone, module) for p in part.parameters())
    assert round(count / 1e6, 1) == millions


def test_dropout_is_of_training_alone():
    module, features = head(), maps(64, 64)
    module.eval()
    assert torch.equal(module(features).scores, module(features).scores)
    module.dropout.train()
    assert not torch.equal(module(features).scores, module(features).scores)


def test_every_parameter_learns():
    module = head().train()
    module(maps(64, 96)).scores.square().mean().backward()
    dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
