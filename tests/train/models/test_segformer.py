import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from emca.errors import UserError
from train.models.backbones import MIT, build_backbone
from train.models.segformer import build_segformer
from train.sources.keymap import convert
from train.sources.segformer import RULES


def build(name, num_classes=5):
    return build_segformer(backbone=build_backbone(name), name=name, num_classes=num_classes)


@pytest.mark.parametrize("name", ["mit_b0", "mit_b2"])
def test_equals_the_reference(name):
    depths, widths = MIT[name]
    reference = SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=list(depths),
            hidden_sizes=list(widths),
            decoder_hidden_size=256 if name == "mit_b0" else 768,
            num_labels=5,
        )
    ).eval()
    torch.nn.init.normal_(reference.decode_head.batch_norm.running_mean)
    torch.nn.init.uniform_(reference.decode_head.batch_norm.running_var, 0.5, 2)
    model = build(name).eval()
    model.load_state_dict(convert(reference.state_dict(), RULES).tensors)
    image = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        got = model(image)
        expected = reference(model.normalize(image)).logits
    assert expected.std() > 0.01
    assert got.auxiliary is None
    assert got.boundary is None
    torch.testing.assert_close(model.class_scores(got), expected)


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_any_size(size):
    model = build("mit_b0").eval()
    with torch.no_grad():
        scores = model(torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)).scores
    assert scores.shape == (1, 5, -(-size[0] // 4), -(-size[1] // 4))
    assert scores.isfinite().all()


def test_gradient_reaches_every_parameter():
    model = build("mit_b0").train()
    model(torch.rand(2, 3, 64, 96) * 255).scores.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_other_backbones_are_refused():
    with pytest.raises(UserError, match=r"model\.backbone=resnet18.*mit_b0"):
        build("resnet18")
