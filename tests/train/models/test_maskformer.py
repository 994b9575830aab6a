import foreign
import pytest
import torch
from torch import nn

from emca.errors import UserError
from train.models.backbones import build_backbone
from train.models.maskformer import build_maskformer

SMALL = {
    "num_queries": 7, "dim": 64, "conv_dim": 32, "mask_dim": 48, "num_heads": 4,
    "decoder_layers": 3, "feedforward_dim": 96,
}  # fmt: skip


def small(backbone="resnet18", **changes):
    torch.manual_seed(0)
    return build_maskformer(
        backbone=build_backbone(backbone), num_classes=5, **{**SMALL, **changes}
    )


@pytest.fixture(scope="module", params=["resnet50", "swin_tiny"])
def pair(request):
    return foreign.pair("maskformer", request.param)


@pytest.mark.parametrize("size", [(96, 128), (75, 101)])
def test_equals_transformers(pair, size):
    foreign.check_equal(*pair, size, batch=2)


@pytest.mark.parametrize("backbone", ["resnet18", "mit_b0", "swiftformer_xs"])
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_any_backbone_takes_any_size(backbone, size):
    model = small(backbone).eval()
    with torch.no_grad():
        output = model(torch.randint(0, 256, (1, 3, *size)))
    assert output.class_logits.shape == (1, 1, 7, 6)
    assert output.mask_logits.shape == (1, 1, 7, -(-size[0] // 4), -(-size[1] // 4))
    assert output.mask_logits.isfinite().all()


def test_evaluation_gives_the_last_training_prediction_and_computes_no_other():
    model = small().eval()
    seen = []
    for head in (model.decoder.class_embed, model.decoder.mask_embed):
        head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    image = torch.randint(0, 256, (2, 3, 64, 64))
    with torch.no_grad():
        last = model(image)
        assert seen == [(1, 2, 7, 64)] * 2
        model.decoder.training = True
        every = model(image)
    assert every.class_logits.shape == (3, 2, 7, 6)
    assert every.mask_logits.shape == (3, 2, 7, 16, 16)
    torch.testing.assert_close(every.class_logits[-1:], last.class_logits)
    torch.testing.assert_close(every.mask_logits[-1:], last.mask_logits)


def test_an_inner_prediction_is_that_of_a_shorter_decoder():
    model = small().eval()
    model.decoder.training = True
    image = torch.randint(0, 256, (2, 3, 64, 64))
    with torch.no_grad():
        every = model(image)
        for depth in (2, 1):
            model.decoder.layers = model.decoder.layers[:depth]
            model.decoder.training = False
            shorter = model(image)
            torch.testing.assert_close(shorter.class_logits[0], every.class_logits[depth - 1])
            torch.testing.assert_close(shorter.mask_logits[0], every.mask_logits[depth - 1])
            assert not torch.allclose(shorter.mask_logits[0], every.mask_logits[-1])


def test_the_map_is_projected_only_to_another_width():
    projections = [small(dim=dim).decoder.input_proj for dim in (64, 512)]
    assert [type(projection) for projection in projections] == [nn.Conv2d, nn.Identity]


def test_every_parameter_learns():
    model = small().train()
    output = model(torch.randint(0, 256, (2, 3, 64, 64)))
    (output.class_logits.square().mean() + output.mask_logits.square().mean()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The first self-attention sees zeros: its values are the bias alone, as in DETR.
    assert dead == ["decoder.layers.0.self_attn.v_proj.weight"]


def test_a_pyramid_that_32_groups_do_not_divide_is_refused():
    with pytest.raises(UserError, match=r"model\.conv_dim=48: must be a multiple of 32"):
        small(conv_dim=48)
