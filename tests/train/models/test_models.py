import dataclasses

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    SegformerConfig,
    SegformerForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

from emca.errors import UserError
from train.config import ModelConfig
from train.models import build_model
from train.models.backbones import build_backbone
from train.models.decoder import sine_positions
from train.models.mask2former import semantic_scores

SMALL = {
    "conv_dim": 32, "mask_dim": 48, "hidden_dim": 64, "num_heads": 4, "num_queries": 7,
    "feedforward_dim": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "swin_tiny",
        "swin_small",
        "mit_b0",
        "mit_b2",
        "stdc1",
        "stdc2",
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_any_backbone_takes_any_size(backbone, size):
    model = build_model(ModelConfig(backbone=backbone, **SMALL), num_classes=5).eval()
    with torch.no_grad():
        output = model(torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8))
    assert output.class_logits.shape == (1, 1, 7, 6)
    assert output.mask_logits.shape[:3] == (1, 1, 7)
    for got, full in zip(output.mask_logits.shape[3:], size, strict=True):
        assert got == -(-full // 4)
    assert output.mask_logits.isfinite().all()


@pytest.mark.parametrize("cross_attention", ["emca", "masked"])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_evaluation_gives_the_last_training_prediction(cross_attention, pre_norm):
    config = ModelConfig(
        backbone="resnet18", cross_attention=cross_attention, pre_norm=pre_norm, **SMALL
    )
    torch.manual_seed(0)
    model = build_model(config, num_classes=5)
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    model.eval()
    with torch.no_grad():
        last = model(image)
        model.decoder.training = True
        every = model(image)
    assert every.class_logits.shape[0] == config.decoder_layers + 1
    torch.testing.assert_close(every.class_logits[-1:], last.class_logits)
    torch.testing.assert_close(every.mask_logits[-1:], last.mask_logits)
    assert not torch.allclose(every.mask_logits[0], every.mask_logits[-1])


def test_masks_at_a_level_are_the_resized_full_masks():
    """Resizing features, then multiplying, equals multiplying, then resizing masks."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone="resnet18", **SMALL), num_classes=5).eval()
    seen = []
    for layer in model.decoder.transformer_cross_attention_layers:
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
    model.decoder.training = True
    with torch.no_grad():
        masks = model(torch.randint(0, 256, (2, 3, 72, 100))).mask_logits
    assert len(seen) == 6
    for full, (_, features, at_level, *_) in zip(masks, seen, strict=False):
        size = features.shape[-2:]
        resized = F.interpolate(full, size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(at_level, resized.flatten(2), atol=1e-4, rtol=1e-4)


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone="resnet18", **SMALL), num_classes=5).train()
    output = model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    (output.class_logits.square().mean() + output.mask_logits.square().mean()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_positions_are_those_of_mask2former():
    theirs = Mask2FormerSinePositionEmbedding(num_position_features=16, normalize=True)
    expected = theirs(torch.Size((1, 8, 5, 7)), torch.device("cpu"), torch.float32)
    torch.testing.assert_close(sine_positions((5, 7), 32, like=torch.zeros(1)), expected)


def test_semantic_scores_are_the_published_sum():
    torch.manual_seed(0)
    classes, masks = torch.randn(2, 3, 5), torch.randn(2, 3, 4, 6)
    scores = semantic_scores(classes, masks)
    expected = torch.einsum("bmk,bmhw->bkhw", classes.softmax(-1)[..., :4], masks.sigmoid())
    torch.testing.assert_close(scores, expected)


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown backbone 'resnet81'.*resnet18"):
        build_backbone("resnet81")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("resnet18", lambda: ResNetForImageClassification(ResNetConfig(
            depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic"))),
        ("swin_tiny", lambda: SwinForImageClassification(SwinConfig())),
        ("mit_b0", lambda: SegformerForImageClassification(SegformerConfig())),
    ],
)  # fmt: skip
def test_imagenet_weights_load_from_a_folder(name, model, tmp_path):
    torch.manual_seed(0)
    classifier = model()
    classifier.save_pretrained(tmp_path)
    backbone = build_backbone(name, weights=str(tmp_path))
    theirs = dict(classifier.named_parameters())
    matched = 0
    for key, value in backbone.model.named_parameters():
        if "hidden_states_norms" in key:
            continue
        original = next(other for other in theirs if other.endswith(key))
        assert torch.equal(value, theirs[original]), key
        matched += 1
    assert matched > 50


def test_weights_of_another_architecture_are_refused(tmp_path):
    SegformerForImageClassification(SegformerConfig()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="backbone weights"):
        build_backbone("resnet18", weights=str(tmp_path))
    with pytest.raises(UserError, match="backbone weights '/nowhere'"):
        build_backbone("resnet18", weights="/nowhere")


def test_stdc_weights_load_and_name_what_is_wrong(tmp_path):
    torch.manual_seed(0)
    state = build_backbone("stdc1").state_dict()
    path = tmp_path / "stdc.pth"
    torch.save({"state_dict": {**state, "fc.weight": torch.ones(1)}}, path)
    loaded = build_backbone("stdc1", weights=str(path)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    with pytest.raises(UserError, match=r"is \(256, 256, 1, 1\), the model has \(128, 256, 1, 1\)"):
        build_backbone("stdc2", weights=str(path))
    torch.save({key: state[key] for key in list(state)[:-1]}, path)
    with pytest.raises(UserError, match="lack 'features"):
        build_backbone("stdc1", weights=str(path))
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot read STDC weights"):
        build_backbone("stdc1", weights=str(path))


def test_masked_attention_is_configuration():
    base = ModelConfig(backbone="resnet18", **SMALL)
    names = [
        set(
            build_model(dataclasses.replace(base, cross_attention=kind), num_classes=3).state_dict()
        )
        for kind in ("emca", "masked")
    ]
    assert {n for n in names[0] if "cross_attention" not in n} == {
        n for n in names[1] if "cross_attention" not in n
    }
